import assert from "node:assert/strict";
import { test } from "node:test";

import { imageAsked } from "../address.js";
import { sizeText } from "../files.js";

const base = "https://example.org/lab/rmae/?image=x";

test("pictures of this site are fetched, relative to the page", () => {
  const near = imageAsked("gallery/cat%20one.jpg", base);
  assert.deepEqual([near.kind, near.url.href, near.name], ["fetch", "https://example.org/lab/rmae/gallery/cat%20one.jpg", "cat one.jpg"]);
  assert.equal(imageAsked("/other/", base).name, "photo");
  assert.equal(imageAsked("/bad%ZZname.jpg", base).kind, "fetch");
});

test("nothing of other sites is", () => {
  for (const value of ["https://elsewhere.org/x.jpg", "//elsewhere.org/x.jpg", "http://example.org/x.jpg"]) {
    const asked = imageAsked(value, base);
    assert.equal(asked.kind, "refused", value);
    assert.match(asked.reason, /other sites/);
  }
  for (const value of ["javascript:alert(1)", "file:///etc/passwd", "ftp://example.org/x", "http://["]) assert.equal(imageAsked(value, base).kind, "refused", value);
});

test("data addresses are read here", async () => {
  const { kind, blob, name } = imageAsked("data:image/png;base64,iVBORw0KGgo=", base);
  assert.equal(kind, "data");
  assert.deepEqual([...new Uint8Array(await blob.arrayBuffer())], [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  assert.deepEqual([blob.type, name], ["image/png", "photo.png"]);
  assert.equal(await imageAsked("data:image/svg+xml,%3Csvg/%3E", base).blob.text(), "<svg/>");
  assert.equal(imageAsked("data:image/png;base64,***", base).kind, "refused");
  assert.equal(imageAsked("data:nothing", base).kind, "refused");
});

test("sizes for people", () => {
  assert.deepEqual([0, 999, 1000, 24_500_000, 3.2e9].map(sizeText), ["0 bytes", "999 bytes", "1.0 kB", "24.5 MB", "3.2 GB"]);
});
