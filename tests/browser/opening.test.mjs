// Ways for a photo to get onto the page.

import assert from "node:assert/strict";
import { test } from "node:test";

import { jpegOf, scene, withOrientation } from "./lib/images.mjs";
import { browserForTests } from "./lib/page.mjs";

const chrome = browserForTests({ webgpu: false });
const photo = scene(320, 240);

test("the gallery opens a photo, and tells where it comes from", async (t) => {
  const visit = await chrome.visit(t);
  const item = visit.by("gallery-item-0");
  await item.waitFor();
  await visit.screenshot("first-visit");
  const items = await visit.page.locator('[data-testid^="gallery-item-"]').count();
  assert.ok(items >= 4, `${items} photos in the gallery`);
  await item.click();
  await visit.page.waitForFunction(() => globalThis.rmae.store.get().document.image);
  await visit.settled();
  const { image } = await visit.document();
  assert.ok(image.width >= 300 && image.height >= 200, JSON.stringify(image));
  await visit.screenshot("gallery-photo");
  assert.match(await visit.by("status").textContent(), /\w/);
});

test("the file picker opens a photo", async (t) => {
  const visit = await chrome.visit(t);
  await visit.open(photo, "picked.png");
  assert.deepEqual((await visit.document()).image, { ...(await visit.document()).image, name: "picked.png", width: 320, height: 240 });
  const encoded = await visit.page.evaluate(() => globalThis.rmae.segmenter.image);
  assert.deepEqual({ width: encoded.width, height: encoded.height }, { width: 320, height: 240 });
});

/** Hands files to the page as a drop or a paste would. @param {import("./lib/page.mjs").Visit} visit */
async function hand(visit, kind, { buffer, name, type }) {
  await visit.page.evaluate(
    ({ kind, base64, name, type }) => {
      const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
      const data = new DataTransfer();
      data.items.add(new File([bytes], name, { type }));
      const target = document.querySelector('[data-testid="canvas"]');
      if (kind === "paste") return target.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
      for (const step of ["dragenter", "dragover", "drop"]) {
        target.dispatchEvent(new DragEvent(step, { dataTransfer: data, bubbles: true, cancelable: true, clientX: 300, clientY: 300 }));
      }
    },
    { kind, base64: buffer.toString("base64"), name, type },
  );
}

test("a dropped photo opens", async (t) => {
  const visit = await chrome.visit(t);
  await hand(visit, "drop", { buffer: photo, name: "dropped.png", type: "image/png" });
  await visit.shown("dropped.png");
});

test("a pasted photo opens", async (t) => {
  const visit = await chrome.visit(t);
  await hand(visit, "paste", { buffer: photo, name: "copied.png", type: "image/png" });
  await visit.shown("copied.png");
});

test("a photo on the clipboard opens by the button", async (t) => {
  const visit = await chrome.visit(t);
  await visit.page.bringToFront();
  await visit.page.evaluate(async (base64) => {
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    await navigator.clipboard.write([new ClipboardItem({ "image/png": new Blob([bytes], { type: "image/png" }) })]);
  }, photo.toString("base64"));
  await visit.by("paste").click();
  await visit.page.waitForFunction(() => globalThis.rmae.store.get().document.image?.width === 320);
});

test("the camera takes a photo", async (t) => {
  const visit = await chrome.visit(t);
  await visit.by("camera").click();
  await visit.by("camera-shoot").click();
  await visit.page.waitForFunction(() => globalThis.rmae.store.get().document.image);
  await visit.settled();
  assert.match((await visit.document()).image.name, /^camera-/);
  const live = await visit.page.evaluate(() => document.querySelectorAll("video").length);
  assert.equal(live, 0, "the camera is still on");
});

test("the address names a photo of this site", async (t) => {
  const visit = await chrome.visit(t, { path: "?image=test/photo.png", prepare: ({ server }) => server.override("test/photo.png", photo) });
  await visit.shown("photo.png");
  assert.equal((await visit.document()).image.width, 320);
});

test("the address names no photo of another site", async (t) => {
  const visit = await chrome.visit(t, { path: "?image=https://example.com/photo.jpg" });
  await visit.toast(/other sites/);
  assert.equal((await visit.document()).image, null);
});

test("EXIF orientation: the photo stands upright, and clicks mean what is seen", async (t) => {
  const visit = await chrome.visit(t);
  // The disc is at the upper left of what the sensor saw.
  const jpeg = await jpegOf(visit.page, scene(320, 240, { x: 0.25, y: 0.3 }));
  // Orientation, size, and where the disc's middle comes to lie.
  const cases = [
    [1, 320, 240, 80, 72],
    [3, 320, 240, 240, 168],
    [6, 240, 320, 168, 80],
    [8, 240, 320, 72, 240],
  ];
  for (const [orientation, width, height, x, y] of cases) {
    const name = `turned-${orientation}.jpg`;
    await visit.open(withOrientation(jpeg, orientation), name, "image/jpeg");
    const { image } = await visit.document();
    assert.deepEqual([image.width, image.height], [width, height], name);
    const [cx, cy] = await visit.at(x, y);
    const shown = await visit.page.evaluate(
      ([cx, cy]) => {
        const { canvas } = globalThis.rmae.viewport;
        const { left, top, width } = canvas.getBoundingClientRect();
        const ratio = canvas.width / width;
        return [...canvas.getContext("2d").getImageData((cx - left) * ratio, (cy - top) * ratio, 1, 1).data];
      },
      [cx, cy],
    );
    assert.ok(shown[0] > 180 && shown[2] < 110, `${name}: the disc is not where it should be, but ${shown}`);
    const seen = await visit.page.evaluate(() => globalThis.rmae.segmenter.image);
    assert.deepEqual([seen.width, seen.height], [width, height], `${name}, as the model has it`);
  }
});

test("a photo of 50 megapixels gets a mask in its own resolution", { timeout: 180_000 }, async (t) => {
  const visit = await chrome.visit(t);
  visit.context.setDefaultTimeout(120_000);
  // Made in the browser, as no PNG of this size is made quickly here.
  await visit.page.evaluate(async () => {
    const canvas = new OffscreenCanvas(8688, 5792);
    const context = canvas.getContext("2d");
    context.fillStyle = "#234";
    context.fillRect(0, 0, 8688, 5792);
    context.fillStyle = "#e93";
    context.beginPath();
    context.arc(4344, 2896, 1500, 0, 7);
    context.fill();
    const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.8 });
    globalThis.opened = globalThis.rmae.engine.openImage(blob, "large.jpg");
  });
  await visit.shown("large.jpg");
  const { image } = await visit.document();
  assert.deepEqual([image.width, image.height], [8688, 5792]);
  await visit.click(4344, 2896);
  const full = await visit.page.evaluate(async () => {
    const masks = await globalThis.rmae.engine.exportMasks();
    const [mask] = masks.values();
    return { width: mask.width, height: mask.height, area: mask.data.reduce((sum, value) => sum + (value > 0), 0) };
  });
  assert.deepEqual([full.width, full.height], [8688, 5792]);
  assert.ok(full.area > 0, "the mask is empty");
});
