// What a visitor takes away.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { inflateSync } from "node:zlib";

import { scene } from "./lib/images.mjs";
import { browserForTests } from "./lib/page.mjs";

const chrome = browserForTests({ webgpu: false });
const [WIDTH, HEIGHT] = [360, 240];

/** Two objects in one photo, each with clicks that say where it is and where not, and the panel that exports them. */
async function ready(t) {
  const visit = await chrome.visit(t);
  await visit.open(scene(WIDTH, HEIGHT), "two things.png");
  const [disc, corner, others] = [[180, 120], [60, 50], [[340, 20], [20, 220], [340, 220]]];
  for (const [inside, outside] of [[disc, corner], [corner, disc]]) {
    await visit.page.keyboard.press("n");
    await visit.click(inside[0], inside[1]);
    for (const [x, y] of [outside, ...others]) await visit.click(x, y, { shift: true });
  }
  const masks = await visit.masks();
  assert.equal(Object.keys(masks).length, 2);
  assert.ok(Object.values(masks).every(({ area }) => area > 0 && area < WIDTH * HEIGHT), JSON.stringify(masks));
  await visit.page.locator("#tab-export").click();
  return { visit, masks: Object.values(masks) };
}

/** @param {import("./lib/page.mjs").Visit} visit @param {string} id */
async function download(visit, id) {
  const [file] = await Promise.all([visit.page.waitForEvent("download"), visit.by(id).click()]);
  return { name: file.suggestedFilename(), bytes: readFileSync(await file.path()) };
}

/** A PNG without interlacing: its head, and its samples row by row. @param {Buffer} file */
function readPng(file) {
  assert.equal(file.subarray(1, 4).toString(), "PNG");
  const [width, height, depth, kind] = [file.readUInt32BE(16), file.readUInt32BE(20), file[24], file[25]];
  const parts = [];
  for (let at = 8; at < file.length; at += 12 + file.readUInt32BE(at)) {
    if (file.subarray(at + 4, at + 8).toString() === "IDAT") parts.push(file.subarray(at + 8, at + 8 + file.readUInt32BE(at)));
  }
  const rows = inflateSync(Buffer.concat(parts));
  const channels = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 }[kind];
  const pixel = Math.max(1, (channels * depth) / 8);
  const stride = Math.ceil((width * channels * depth) / 8);
  const out = Buffer.alloc(stride * height);
  for (let y = 0; y < height; y++) {
    const filter = rows[y * (stride + 1)];
    for (let x = 0; x < stride; x++) {
      const a = x >= pixel ? out[y * stride + x - pixel] : 0;
      const b = y > 0 ? out[(y - 1) * stride + x] : 0;
      const c = x >= pixel && y > 0 ? out[(y - 1) * stride + x - pixel] : 0;
      const p = a + b - c;
      const [pa, pb, pc] = [Math.abs(p - a), Math.abs(p - b), Math.abs(p - c)];
      const paeth = pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
      out[y * stride + x] = rows[y * (stride + 1) + 1 + x] + [0, a, b, (a + b) >> 1, paeth][filter];
    }
  }
  return { width, height, depth, channels, stride, data: out };
}

test("PNG mask: the photo's size, white where an object is", async (t) => {
  const { visit, masks } = await ready(t);
  await visit.screenshot("export-panel");
  const { name, bytes } = await download(visit, "export-png");
  assert.match(name, /\.png$/);
  const { width, height, depth, stride, data, channels } = readPng(bytes);
  assert.deepEqual([width, height, channels], [WIDTH, HEIGHT, 1]);
  let white = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) white += depth === 8 ? data[y * stride + x] > 127 : (data[y * stride + (x >> 3)] >> (7 - (x & 7))) & 1;
  }
  const most = masks.reduce((sum, { area }) => sum + area, 0);
  assert.ok(white <= most && white >= Math.max(...masks.map(({ area }) => area)), `${white} white pixels`);
});

test("cut-out: the photo's colours, transparent elsewhere", async (t) => {
  const { visit } = await ready(t);
  const { bytes } = await download(visit, "export-cutout");
  const { channels, data } = readPng(bytes);
  assert.equal(channels, 4);
  let [clear, solid] = [0, 0];
  for (let at = 3; at < data.length; at += 4) data[at] === 0 ? clear++ : data[at] === 255 && solid++;
  assert.ok(clear > 0 && solid > 0, `${clear} transparent pixels, ${solid} opaque ones`);
});

/** Area of COCO's compressed run lengths. @param {string} counts */
function rleRuns(counts) {
  const runs = [];
  for (let at = 0; at < counts.length; ) {
    let [value, shift, byte] = [0, 0, 0];
    do {
      byte = counts.charCodeAt(at++) - 48;
      value |= (byte & 31) << shift;
      shift += 5;
    } while (byte & 32);
    if (byte & 16) value |= -1 << shift;
    runs.push(runs.length > 2 ? value + runs[runs.length - 2] : value);
  }
  return runs;
}

test("COCO: image, RLE and polygons agree with the masks", async (t) => {
  const { visit, masks } = await ready(t);
  const { name, bytes } = await download(visit, "export-coco");
  assert.match(name, /\.json$/);
  const coco = JSON.parse(bytes.toString("utf8"));
  assert.deepEqual([coco.images[0].width, coco.images[0].height], [WIDTH, HEIGHT]);
  assert.equal(coco.annotations.length, 2);
  assert.deepEqual(coco.annotations.map(({ area }) => area), masks.map(({ area }) => area));
  const rles = coco.annotations.map(({ segmentation, rle, ...rest }) => (segmentation?.counts ? segmentation : rle ?? rest.segmentation_rle));
  for (const [index, rle] of rles.entries()) {
    assert.deepEqual(rle.size, [HEIGHT, WIDTH]);
    const runs = typeof rle.counts === "string" ? rleRuns(rle.counts) : rle.counts;
    assert.equal(runs.reduce((sum, run) => sum + run, 0), WIDTH * HEIGHT);
    const area = runs.reduce((sum, run, i) => sum + (i % 2 ? run : 0), 0);
    assert.equal(area, masks[index].area);
  }
  const text = bytes.toString("utf8");
  assert.match(text, /"(segmentation|polygons?)":\s*\[\s*\[/, "no polygons");
  for (const { bbox } of coco.annotations) assert.ok(bbox.length === 4 && bbox[2] > 0 && bbox[3] > 0);
});

test("SVG: a path for each object, and it is well-formed", async (t) => {
  const { visit } = await ready(t);
  const { bytes } = await download(visit, "export-svg");
  const found = await visit.page.evaluate((text) => {
    const parsed = new DOMParser().parseFromString(text, "image/svg+xml");
    return { error: parsed.querySelector("parsererror")?.textContent, paths: parsed.querySelectorAll("path").length, box: parsed.documentElement.getAttribute("viewBox") };
  }, bytes.toString("utf8"));
  assert.equal(found.error, undefined);
  assert.ok(found.paths >= 2, `${found.paths} paths`);
  assert.equal(found.box, `0 0 ${WIDTH} ${HEIGHT}`);
});

test("label map: 0 the ground, 1 and 2 the objects", async (t) => {
  const { visit } = await ready(t);
  const { bytes } = await download(visit, "export-labelmap");
  const { width, height, channels, depth, data } = readPng(bytes);
  assert.deepEqual([width, height, channels], [WIDTH, HEIGHT, 1]);
  const values = new Set(depth === 16 ? Array.from({ length: data.length / 2 }, (_, i) => data.readUInt16BE(2 * i)) : data);
  assert.deepEqual([...values].sort((a, b) => a - b), [0, 1, 2]);
});

test("the mask goes to the clipboard", async (t) => {
  const { visit } = await ready(t);
  await visit.page.bringToFront();
  await visit.by("export-copy").click();
  await visit.toast(/clipboard/);
  const size = await visit.page.evaluate(async () => {
    const [item] = await navigator.clipboard.read();
    const bitmap = await createImageBitmap(await item.getType("image/png"));
    return [bitmap.width, bitmap.height];
  });
  assert.deepEqual(size, [WIDTH, HEIGHT]);
});

test("a session brings everything back, in another browser too", async (t) => {
  const { visit, masks } = await ready(t);
  const before = (await visit.document()).objects;
  const session = await download(visit, "save-session");
  const other = await chrome.visit(t);
  await other.page.locator("#tab-export").click();
  const [chooser] = await Promise.all([other.page.waitForEvent("filechooser"), other.by("load-session").click()]);
  await chooser.setFiles({ name: session.name, mimeType: "application/json", buffer: session.bytes });
  await other.shown("two things.png");
  const after = (await other.document()).objects;
  const essence = (objects) => objects.map(({ name, colour, visible, prompts, granularity }) => ({ name, colour, visible, prompts, granularity }));
  assert.deepEqual(essence(after), essence(before));
  assert.deepEqual(Object.values(await other.masks()), masks);
});

test("a file that is no session is refused", async (t) => {
  const visit = await chrome.visit(t);
  await visit.page.locator("#tab-export").click();
  for (const [text, message] of [["{", /cannot be loaded|damaged|session/i], ['{"format":"other"}', /cannot be loaded|session/i]]) {
    const [chooser] = await Promise.all([visit.page.waitForEvent("filechooser"), visit.by("load-session").click()]);
    await chooser.setFiles({ name: "x.json", mimeType: "application/json", buffer: Buffer.from(text) });
    await visit.toast(message);
  }
});
