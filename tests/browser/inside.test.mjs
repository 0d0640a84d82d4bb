// What is around the canvas: looking inside the model, the tour, the engine's panel, the last session.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { png, scene } from "./lib/images.mjs";
import { browserForTests, env } from "./lib/page.mjs";

/** @typedef {import("./lib/page.mjs").Visit} Visit */

const chrome = browserForTests({ webgpu: false });
const [WIDTH, HEIGHT] = [360, 240];
const photo = scene(WIDTH, HEIGHT);

/** A page with a photo, and the panel that looks inside. */
async function inside(t, view, options) {
  const visit = await chrome.visit(t, options);
  await visit.open(photo);
  await visit.page.evaluate(() => globalThis.rmae.store.setView({ panel: "inside", sheet: true }));
  await visit.by(`inside-${view}`).click();
  return visit;
}

/** Pixels of what is on the stage, and a digest that changes with any of them. @param {Visit} visit */
function stage(visit) {
  return visit.page.evaluate(async () => {
    await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
    const { canvas } = globalThis.rmae.viewport;
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return data.reduce((sum, value, at) => (sum * 31 + value + (at & 1)) | 0, 7);
  });
}

/** Waits until the stage shows something else. @param {Visit} visit @param {number} before */
async function stageChanges(visit, before) {
  for (let tries = 0; tries < 100; tries++) {
    const now = await stage(visit);
    if (now !== before) return now;
    await visit.page.waitForTimeout(50);
  }
  return assert.fail("the stage stayed as it was");
}

test("masking: the slider and the dice give other masks, and a figure lies over the photo", async (t) => {
  const visit = await inside(t, "reconstruct");
  const masked = visit.by("figure-masked");
  await masked.waitFor();
  assert.equal(await masked.getAttribute("aria-pressed"), "true");
  await visit.screenshot("inside-masking");
  const asked = await visit.page.evaluate(() => {
    const { segmenter } = globalThis.rmae;
    const [asked, inner] = [[], segmenter.reconstruct.bind(segmenter)];
    segmenter.reconstruct = (wish) => (asked.push(wish), inner(wish));
    globalThis.asked = asked;
    return asked.length;
  });
  assert.equal(asked, 0);
  await visit.page.locator("#mask-ratio").fill("0.4");
  await visit.page.waitForFunction(() => globalThis.asked.length === 1);
  await visit.by("new-mask").click();
  await visit.page.waitForFunction(() => globalThis.asked.length === 2);
  const [first, second] = await visit.page.evaluate(() => globalThis.asked);
  assert.deepEqual([first.maskRatio, second.maskRatio], [0.4, 0.4]);
  assert.notEqual(first.seed, second.seed);
  assert.equal(await visit.page.locator(".region-table img, .region-table canvas").count() % 3, 0);
  const over = await stage(visit);
  await masked.click();
  await stageChanges(visit, over);
  assert.equal((await visit.document()).objects.length, 0, "looking made prompts");
});

test("attention: follows the pointer and the keys, by layer and head", async (t) => {
  const visit = await inside(t, "attention");
  await visit.by("attention-layer").locator("option").first().waitFor({ state: "attached" });
  const before = await stage(visit);
  await visit.page.mouse.move(...(await visit.at(40, 30)));
  const moved = await stageChanges(visit, before);
  await visit.screenshot("inside-attention");
  await visit.page.getByRole("slider", { name: /Column/ }).fill("12");
  const keyed = await stageChanges(visit, moved);
  await visit.by("attention-layer").selectOption("0");
  await stageChanges(visit, keyed);
  const layers = await visit.by("attention-layer").locator("option").count();
  assert.equal(layers, await visit.page.evaluate(() => globalThis.rmae.segmenter.model.depth));
  await visit.click(200, 100);
  assert.equal((await visit.document()).objects.length, 0, "looking made prompts");
});

test("regions: larger scales make fewer, and a click makes one a prompt", async (t) => {
  const visit = await inside(t, "regions");
  const count = async () => Number.parseInt((await visit.page.locator("#inside-panel [role=status]").first().textContent()).replace("One", "1"), 10);
  const settle = async (/** @type {string} */ step) => {
    await visit.page.locator("#region-scale").fill(step);
    await visit.page.waitForFunction(() => !document.querySelector("#inside-panel .working"));
  };
  await settle("0");
  const many = await count();
  await settle("10");
  const few = await count();
  assert.ok(many > few && few >= 1, `${many} regions, then ${few}`);
  await settle("5");
  const before = await stage(visit);
  await visit.page.mouse.move(...(await visit.at(180, 120)));
  await stageChanges(visit, before);
  await visit.screenshot("inside-regions");
  await visit.click(180, 120);
  const { objects } = await visit.document();
  assert.equal(objects.length, 1);
  assert.equal(objects[0].prompts.mask, true);
  await visit.by("region-use").click();
  assert.equal((await visit.document()).objects.length, 2);
  const tool = (await visit.view()).tool;
  await visit.page.locator("#tab-objects").click();
  assert.deepEqual([tool, (await visit.view()).tool], ["pan", "click"], "the tool from before does not come back");
});

test("on a phone, too", async (t) => {
  const visit = await inside(t, "attention", { touch: true });
  await visit.by("attention-layer").locator("option").first().waitFor({ state: "attached" });
  const before = await stage(visit);
  await visit.page.touchscreen.tap(...(await visit.at(40, 30)));
  await stageChanges(visit, before);
  await visit.screenshot("inside-phone");
  assert.equal(await visit.page.evaluate(() => document.documentElement.scrollWidth), 390);
});

test("the tour: begins with the first photo, goes by keys alone, and does not come again", async (t) => {
  const visit = await chrome.visit(t, { tour: true });
  const tour = visit.by("tour");
  assert.equal(await tour.isVisible(), false, "before there is a photo");
  await visit.open(photo);
  await tour.waitFor();
  await visit.screenshot("tour");
  await visit.click(180, 120);
  assert.match(await tour.textContent(), /2 of 5/, "the first click is the first step");
  await visit.page.keyboard.press("t");
  assert.equal(await visit.page.evaluate(() => document.activeElement?.id), "tour-title");
  for (const step of [3, 4, 5]) {
    await visit.by("tour-next").press("Enter");
    assert.match(await tour.textContent(), new RegExp(`${step} of 5`));
  }
  await visit.by("tour-next").press("Enter");
  assert.equal(await tour.isVisible(), false);
  await visit.page.reload();
  await visit.ready();
  await visit.open(photo, "again.png");
  assert.equal(await tour.isVisible(), false, "it came again");
});

test("the tour can be left at once", async (t) => {
  const visit = await chrome.visit(t, { tour: true });
  await visit.open(photo);
  await visit.by("tour-skip").click();
  assert.equal(await visit.by("tour").isVisible(), false);
  assert.ok(await visit.page.evaluate(() => localStorage.getItem("rmae-tour")));
});

test("the last session is offered, and everything in it comes back", async (t) => {
  const visit = await chrome.visit(t);
  await visit.open(photo, "kept.png");
  await visit.click(180, 120);
  const before = (await visit.document()).objects.map(({ name, prompts }) => ({ name, prompts }));
  await visit.page.waitForFunction(async () => (await indexedDB.databases()).some(({ name }) => name === "rmae-page"));
  await visit.page.waitForTimeout(1200);
  await visit.page.reload();
  await visit.ready();
  await visit.by("restore-go").click();
  await visit.shown("kept.png");
  const after = (await visit.document()).objects.map(({ name, prompts }) => ({ name, prompts }));
  assert.deepEqual(after, before);
  assert.ok(Object.values(await visit.masks())[0].area > 0);
});

test("a mask from a file is a prompt; one of another size is refused", async (t) => {
  const visit = await chrome.visit(t);
  await visit.open(photo);
  await visit.page.locator("#tab-export").click();
  const choose = async (/** @type {string} */ name, /** @type {Buffer} */ buffer) => {
    const [chooser] = await Promise.all([visit.page.waitForEvent("filechooser"), visit.by("load-mask").click()]);
    await chooser.setFiles({ name, mimeType: "image/png", buffer });
  };
  await choose("small.png", png(10, 10, () => [255, 255, 255]));
  await visit.toast(/10 × 10/);
  await choose("disc.png", png(WIDTH, HEIGHT, (x, y) => (Math.hypot(x - 180, y - 120) < 50 ? [255, 255, 255] : [0, 0, 0])));
  await visit.toast(/prompt of a new object/);
  const area = await visit.page.evaluate(() => globalThis.rmae.store.get().document.objects[0].prompts.mask.data.reduce((sum, value) => sum + (value > 0), 0));
  assert.ok(Math.abs(area - Math.PI * 50 ** 2) < 100, `${area} pixels`);
});

test("one's own weights, dropped anywhere, are used; others are refused; the shipped ones come back", async (t) => {
  const visit = await chrome.visit(t, { allowed: [/./] });
  await visit.open(photo);
  const drop = (/** @type {string} */ name, /** @type {Buffer} */ bytes) =>
    visit.page.evaluate(
      ({ name, base64 }) => {
        const data = new DataTransfer();
        data.items.add(new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], name));
        for (const step of ["dragenter", "dragover", "drop"]) document.body.dispatchEvent(new DragEvent(step, { dataTransfer: data, bubbles: true, cancelable: true }));
      },
      { name, base64: bytes.toString("base64") },
    );
  await drop("run.pth", Buffer.from("PK\x03\x04 a zip"));
  await visit.toast(/rmae export/);
  await drop("cut.safetensors", readFileSync(env.smallWeights).subarray(0, 40));
  await visit.toast(/cut\.safetensors cannot be used/);
  await drop("mine.safetensors", readFileSync(env.smallWeights));
  await visit.toast(/mine\.safetensors is in use/);
  await visit.page.evaluate(() => globalThis.rmae.store.setView({ panel: "settings" }));
  assert.match(await visit.by("model-card").textContent(), /mine\.safetensors/);
  await visit.screenshot("engine-panel");
  await visit.by("reset-weights").click();
  await visit.page.waitForFunction(() => !document.querySelector('[data-testid="model-card"]').textContent.includes("mine"));
  await visit.click(180, 120);
  assert.ok(Object.values(await visit.masks())[0].area > 0);
});

test("what is kept can be cleared", async (t) => {
  const visit = await chrome.visit(t);
  await visit.page.evaluate(() => navigator.serviceWorker.ready);
  await visit.page.evaluate(() => globalThis.rmae.store.setView({ panel: "settings" }));
  await visit.by("clear-storage").click();
  await visit.by("clear-yes").click();
  await visit.toast(/Nothing of this page is kept/);
  const left = await visit.page.evaluate(async () => [...(await caches.keys()), ...(await indexedDB.databases()).map(({ name }) => name)]);
  assert.deepEqual(left, []);
});

test("a newer page is offered, and comes whole", async (t) => {
  const visit = await chrome.visit(t);
  await visit.page.waitForFunction(() => document.querySelector('[data-testid="offline"]')?.dataset.state === "ready");
  const html = readFileSync(`${env.dist}/index.html`, "utf8").replace("<title>", "<title>New: ");
  const content = Buffer.from(html);
  const manifest = await visit.page.evaluate(async () => (await fetch("sw-manifest.json", { cache: "no-store" })).json());
  const entry = { url: "index.html", bytes: content.length, sha256: createHash("sha256").update(content).digest("hex") };
  const files = [...manifest.files.filter(({ url }) => url !== "index.html"), entry];
  visit.server.override("index.html", content);
  visit.server.override("sw-manifest.json", Buffer.from(JSON.stringify({ version: `${manifest.version}-new`, files })));
  await visit.page.reload();
  await visit.ready();
  await visit.toast(/newer version/);
  assert.doesNotMatch(await visit.page.title(), /^New/, "half of a new page");
  await Promise.all([visit.page.waitForEvent("load"), visit.by("toast").filter({ hasText: /newer version/ }).getByRole("button", { name: "Reload" }).click()]);
  assert.match(await visit.page.title(), /^New/);
});
