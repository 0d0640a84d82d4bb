import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { MAX_PIXELS, refusal, sizeOf, sniff, undecodable } from "../sniff.js";

const bytes = (text) => Uint8Array.from(text, (c) => c.charCodeAt(0));
const u16 = (n) => [n >> 8, n & 255];
const root = new URL("../../../", import.meta.url);

/** The head of a JPEG of this size after an application segment, as cameras write it. */
function jpeg(width, height) {
  const app = [0xff, 0xe1, ...u16(2 + 300), ...new Array(300).fill(7)];
  return Uint8Array.from([0xff, 0xd8, ...app, 0xff, 0xff, 0xc2, ...u16(17), 8, ...u16(height), ...u16(width), 3]);
}

/** The head of a PNG. */
function png(width, height) {
  const head = new Uint8Array(33);
  head.set(bytes("\x89PNG\r\n\x1a\n\0\0\0\rIHDR"));
  new DataView(head.buffer).setUint32(16, width);
  new DataView(head.buffer).setUint32(20, height);
  return head;
}

test("files are told by their bytes, not by their names", () => {
  const cases = {
    jpeg: jpeg(4, 4), png: png(4, 4), gif: bytes("GIF89a"), webp: bytes("RIFF\0\0\0\0WEBPVP8 "), bmp: bytes("BM12345678"),
    heic: bytes("\0\0\0\x18ftypheic"), avif: bytes("\0\0\0\x18ftypavif"), video: bytes("\0\0\0\x18ftypisom"), pdf: bytes("%PDF-1.7"),
    svg: bytes('<?xml version="1.0"?>\n<svg xmlns="x">'), html: bytes("\xef\xbb\xbf<!DOCTYPE html><html>"), zip: bytes("PK\x03\x04"),
    json: bytes(' {"a": 1}'), text: bytes("hello"), empty: bytes(""), unknown: bytes("\x01\x02\x03\x04\x05\x06\x07\x08\x00"), tiff: bytes("II*\0"),
    safetensors: bytes("\x40\0\0\0\0\0\0\0{\"__metadata__\""),
  };
  for (const [kind, head] of Object.entries(cases)) assert.equal(sniff(head), kind);
});

test("sizes come from the head of the file", () => {
  assert.deepEqual(sizeOf(jpeg(8192, 6144), "jpeg"), { width: 8192, height: 6144 });
  assert.deepEqual(sizeOf(png(20000, 10), "png"), { width: 20000, height: 10 });
  assert.equal(sizeOf(jpeg(80, 60).subarray(0, 100), "jpeg"), null, "cut off within the head");
  assert.equal(sizeOf(bytes("\0\0\0\x18ftypavif"), "avif"), null);
  assert.deepEqual(sizeOf(Uint8Array.from([...bytes("RIFF\0\0\0\0WEBPVP8X\0\0\0\0\0\0\0\0"), 0x1f, 0x03, 0, 0x57, 0x02, 0]), "webp"), { width: 800, height: 600 });
});

test("real pictures of the gallery", () => {
  for (const { file, width, height } of JSON.parse(readFileSync(new URL("web/gallery/index.json", root), "utf8"))) {
    const data = readFileSync(new URL(`web/gallery/${file}`, root));
    assert.equal(sniff(data), "jpeg", file);
    assert.deepEqual(sizeOf(data, "jpeg"), { width, height }, file);
    assert.equal(refusal("jpeg", { width, height }, file), null);
    assert.ok(data.length <= 150_000, `${file} has ${data.length} bytes`);
  }
});

test("what will not do is refused with a reason", () => {
  assert.match(refusal("png", { width: 1, height: 1 }, "dot.png"), /dot\.png has 1 × 1 pixels/);
  assert.match(refusal("png", { width: 20000, height: 10 }, "line.png"), /20,000 × 10/);
  assert.match(refusal("png", { width: 60000, height: 60000 }, "bomb.png"), /megapixels/);
  assert.match(refusal("html", null, "photo.jpg"), /web page/);
  assert.match(refusal("svg", null, "logo.svg"), /Export it as PNG/);
  assert.match(refusal("empty", null, "x.jpg"), /empty/);
  assert.equal(refusal("heic", null, "x.heic"), null, "Safari reads it: ask the decoder first");
  assert.match(undecodable("heic", "x.heic"), /HEIC/);
  assert.match(undecodable("jpeg", "x.jpg"), /damaged/);
  assert.equal(refusal("jpeg", { width: 8660, height: 5774 }, "50mp.jpg"), null);
  assert.ok(MAX_PIXELS >= 100e6);
});
