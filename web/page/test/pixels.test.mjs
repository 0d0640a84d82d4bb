import assert from "node:assert/strict";
import { test } from "node:test";
import { inflateSync } from "node:zlib";

import { alphaRows, baseName, boundingBox, fromRuns, heat, labelBytes, labelColour, toRuns, union, withAlpha } from "../pixels.js";
import { encodePng } from "../png.js";

/** A mask from rows of text: `#` is set. */
function mask(...rows) {
  return { width: rows[0].length, height: rows.length, data: Uint8Array.from(rows.join(""), (c) => (c === "#" ? 255 : 0)) };
}

/** Reads a PNG back, with its filters undone: an independent reader of what encodePng writes. */
async function decode(blob, channels, depth = 8) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  const view = new DataView(bytes.buffer);
  const idat = [];
  let [width, height, type] = [0, 0, 0];
  for (let at = 8; at < bytes.length; ) {
    const length = view.getUint32(at);
    const name = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (name === "IHDR") [width, height, type] = [view.getUint32(at + 8), view.getUint32(at + 12), bytes[at + 17]];
    if (name === "IDAT") idat.push(bytes.subarray(at + 8, at + 8 + length));
    at += length + 12;
  }
  const raw = inflateSync(Buffer.concat(idat));
  const step = (channels * depth) / 8;
  const stride = width * step;
  const out = new Uint8Array(stride * height);
  for (let y = 0; y < height; y++) {
    const filter = raw[y * (stride + 1)];
    for (let i = 0; i < stride; i++) {
      const left = i >= step ? out[y * stride + i - step] : 0;
      const above = y > 0 ? out[(y - 1) * stride + i] : 0;
      assert.ok(filter === 0 || filter === 3);
      out[y * stride + i] = raw[y * (stride + 1) + 1 + i] + (filter === 3 ? (left + above) >> 1 : 0);
    }
  }
  return { width, height, type, data: out };
}

test("a PNG holds exactly the bytes that were given, in every kind", async () => {
  for (const [kind, channels, type] of [["grey", 1, 0], ["rgb", 3, 2], ["rgba", 4, 6]]) {
    const [width, height] = [1501, 1503]; // several strips, and a short last one
    const data = Uint8Array.from({ length: width * height * channels }, (_, i) => (i * 31 + (i >> 7) * 17) & 255);
    const stride = width * channels;
    const blob = await encodePng({ width, height, kind }, (y, n) => data.subarray(y * stride, (y + n) * stride));
    const back = await decode(blob, channels);
    assert.deepEqual([back.width, back.height, back.type], [width, height, type]);
    assert.ok(Buffer.compare(back.data, data) === 0, kind);
  }
});

test("a PNG that is cancelled or fed wrongly rejects", async () => {
  const head = { width: 10, height: 10, kind: "grey" };
  await assert.rejects(encodePng(head, () => new Uint8Array(3)), /not 100/);
  const signal = AbortSignal.abort();
  await assert.rejects(encodePng(head, (y, n) => new Uint8Array(10 * n), { signal }), { name: "AbortError" });
});

test("masks: union, box, soft edge", () => {
  const a = mask("....", ".#..", "....");
  const b = mask("....", "..#.", "..#.");
  assert.deepEqual(union([a, b]).data, mask("....", ".##.", "..#.").data);
  assert.throws(() => union([a, mask("#")]), /among masks/);
  assert.deepEqual(boundingBox(union([a, b])), { x: 1, y: 1, width: 2, height: 2 });
  assert.equal(boundingBox(mask("...")), null);
  const full = mask("####", "####");
  assert.deepEqual(alphaRows(full, 0, 2, true), full.data, "no edge, nothing to soften");
  const soft = alphaRows(a, 0, 3, true);
  assert.equal(soft[5], 64);
  assert.ok(soft[4] > 0 && soft[4] < soft[5]);
  assert.deepEqual(alphaRows(a, 1, 1, true), soft.subarray(4, 8), "rows do not depend on the strip");
  assert.deepEqual([...withAlpha(Uint8ClampedArray.of(1, 2, 3, 255, 5, 6, 7, 255, 8, 9, 10, 100), Uint8Array.of(9, 0, 128))], [1, 2, 3, 9, 0, 0, 0, 0, 8, 9, 10, 50]);
});

test("runs are the mask, and foreign ones are refused", () => {
  const made = mask("#..#", "##..");
  assert.deepEqual(toRuns(made.data), [0, 1, 2, 3, 2]);
  assert.deepEqual(fromRuns(toRuns(made.data), 8), made.data);
  for (const bad of [[4], [9], [-1, 9], [1.5, 6.5], [8, 1]]) assert.equal(fromRuns(bad, 8), null);
});

test("labels in one byte or two", () => {
  assert.deepEqual([...labelBytes([0, 7, 255], 1, 3, 8)], [7, 255]);
  assert.deepEqual([...labelBytes([0, 258], 0, 2, 16)], [0, 0, 1, 2]);
});

test("heat grows brighter all the way, and label colours differ", () => {
  const bright = ([r, g, b]) => 0.2126 * r + 0.7152 * g + 0.0722 * b;
  for (let i = 1; i <= 50; i++) assert.ok(bright(heat(i / 50)) > bright(heat((i - 1) / 50)), `at ${i}`);
  assert.equal(new Set(Array.from({ length: 40 }, (_, i) => labelColour(i).join())).size, 40);
});

test("file names", () => {
  assert.equal(baseName("My photo (1).JPEG"), "My-photo-(1)");
  assert.equal(baseName("../../etc/passwd"), "passwd");
  assert.equal(baseName('a<b>:"c?.png'), "a-b-c");
  assert.equal(baseName(undefined), "photo");
  assert.equal(baseName(".jpg"), "photo");
  assert.equal(baseName("Ünïcode 猫.webp"), "Ünïcode-猫");
});
