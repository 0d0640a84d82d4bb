// Files, servers and machines that are not as they should be: each ends in a message and a usable page.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { png, pngOf, scene } from "./lib/images.mjs";
import { CARD, PLAIN, WEIGHTS, browserForTests, browserWithPreferences, env } from "./lib/page.mjs";
import { withNan, withoutTensor } from "./lib/weights.mjs";

const chrome = browserForTests({ webgpu: false });
const photo = scene(320, 240);

/** A photo can be opened and a click gives a mask. @param {import("./lib/page.mjs").Visit} visit */
async function assertUsable(visit) {
  await visit.open(photo, "good.png");
  await visit.click(160, 120);
  const masks = Object.values(await visit.masks());
  assert.ok(masks.length === 1 && masks[0].area > 0, "no mask after the trouble");
}

/** What is said to be wrong, on a card or in messages. @param {import("./lib/page.mjs").Visit} visit */
async function complaint(visit) {
  const alert = visit.page.locator('[role="alert"]').first();
  await alert.waitFor({ timeout: 60_000 });
  return (await visit.page.locator('[role="alert"]').allTextContents()).join(" | ");
}

const noise = Buffer.from(Array.from({ length: 5000 }, (_, i) => (i * 7919) % 251));
const files = {
  "a corrupt PNG": ["broken.png", pngOf(200, 150, noise.subarray(0, 600)), /damaged|cannot/i],
  "a PNG that ends early": ["cut.png", scene(600, 400).subarray(0, 9000), /damaged|cannot/i],
  "noise that is called a JPEG": ["noise.jpg", noise, /kind|cannot|damaged/i],
  "a web page that is called a JPEG": ["photo.jpg", Buffer.from("<!doctype html><title>Sign in</title>"), /web page/i],
  "an empty file": ["empty.png", Buffer.alloc(0), /empty/i],
  "a picture of one pixel": ["dot.png", png(1, 1, () => [9, 9, 9]), /1 × 1|small|pixels/i],
  "a picture of 20,000 by 10 pixels": ["line.png", png(20000, 10, (x) => [x & 255, 99, 10]), /20,000 × 10|pixels/i],
  "a picture that says it has a billion pixels": ["bomb.png", pngOf(40000, 40000, noise.subarray(0, 100)), /megapixels|hold|large/i],
};

for (const [what, [name, buffer, message]] of Object.entries(files)) {
  test(`${what} is refused with a reason`, async (t) => {
    const visit = await chrome.visit(t, { allowed: [/could not be decoded|InvalidStateError|decode/i] });
    await visit.choose(/** @type {Buffer} */ (buffer), /** @type {string} */ (name), "image/png");
    assert.match(await complaint(visit), /** @type {RegExp} */ (message));
    assert.equal((await visit.document()).image, null);
    await assertUsable(visit);
  });
}

test("a bad file leaves the photo that is open alone", async (t) => {
  const visit = await chrome.visit(t, { allowed: [/decode/i] });
  await visit.open(photo, "good.png");
  await visit.click(160, 120);
  const before = await visit.masks();
  await visit.choose(noise, "noise.jpg", "image/jpeg");
  await complaint(visit);
  assert.equal((await visit.document()).image.name, "good.png");
  await visit.settled();
  assert.deepEqual(await visit.masks(), before);
});

/** Serves these bytes as the page's weights, with a card that vouches for them. */
function vouch(server, bytes, sha256 = createHash("sha256").update(bytes).digest("hex")) {
  server.override(WEIGHTS, bytes);
  server.override(CARD, Buffer.from(JSON.stringify({ file: "rmae-ti.safetensors", bytes: bytes.length, sha256, name: "bad weights" })));
}

const good = () => readFileSync(env.smallWeights);
const weights = {
  "weights that end early": [() => good().subarray(0, 20_000), /truncat|end|short|damaged|incomplete|bytes/i],
  "weights of which a number is NaN": [() => withNan(good(), "blocks.0.attn.qkv.weight"), /blocks\.0\.attn\.qkv\.weight/],
  "weights of which a tensor is missing": [() => withoutTensor(good(), "blocks.1.norm1.weight"), /blocks\.1\.norm1\.weight/],
  "a web page in place of weights": [() => Buffer.from("<!doctype html><title>Not found</title>"), /web page|HTML|safetensors|weights/i],
  "nothing in place of weights": [() => Buffer.alloc(0), /empty|bytes|truncat|short/i],
};

for (const [what, [make, message]] of Object.entries(weights)) {
  test(`${what}: a reason, and another try works`, async (t) => {
    const prepare = ({ server }) => vouch(server, /** @type {() => Buffer} */ (make)());
    const visit = await chrome.visit(t, { prepare, allowed: [/./] });
    assert.match(await complaint(visit), /** @type {RegExp} */ (message));
    await visit.screenshot(`weights-${what.replace(/\W+/g, "-")}`);
    vouch(visit.server, good());
    await visit.by("retry").click();
    await visit.page.waitForFunction(() => globalThis.rmae.segmenter);
    await assertUsable(visit);
  });
}

test("weights whose hash is another are refused and not kept", async (t) => {
  const visit = await chrome.visit(t, { prepare: ({ server }) => vouch(server, good(), "0".repeat(64)), allowed: [/./] });
  assert.match(await complaint(visit), /hash|SHA|check|not the/i);
  const kept = await visit.page.evaluate(async () => {
    const names = await caches.keys();
    const keys = await Promise.all(names.map(async (name) => (await (await caches.open(name)).keys()).map(({ url }) => url)));
    return keys.flat().filter((url) => url.includes("safetensors"));
  });
  assert.deepEqual(kept, [], "refused weights are in a cache");
  vouch(visit.server, good());
  await visit.by("retry").click();
  await visit.page.waitForFunction(() => globalThis.rmae.segmenter);
  await assertUsable(visit);
});

test("no weights on the server: a reason, and another try works", async (t) => {
  const prepare = ({ server }) => server.fault(WEIGHTS, { status: 404 });
  const visit = await chrome.visit(t, { prepare, allowed: [/./] });
  assert.match(await complaint(visit), /404/);
  visit.server.heal();
  await visit.by("retry").click();
  await visit.page.waitForFunction(() => globalThis.rmae.segmenter);
  await assertUsable(visit);
});

for (const [what, break_] of Object.entries({
  "is missing": (server) => server.fault("js/glance.bin", { status: 404 }),
  "is another file": (server) => server.override("js/glance.bin", Buffer.from("no glance")),
})) {
  test(`the glance ${what}: the page says so and goes on without`, async (t) => {
    const visit = await chrome.visit(t, { prepare: ({ server }) => break_(server), allowed: [/404|Failed/] });
    await visit.toast(/glance\.bin/);
    await assertUsable(visit);
  });
}

test("a server that cuts the weights mid-way: the page goes on from there", async (t) => {
  const visit = await chrome.visit(t, { prepare: ({ server }) => server.fault(WEIGHTS, { cutAt: 60_000, times: 1 }), allowed: [/ERR_|Failed/] });
  if (!(await visit.page.evaluate(() => globalThis.rmae.segmenter))) await visit.by("retry").click();
  await visit.page.waitForFunction(() => globalThis.rmae.segmenter);
  const ranges = visit.server.requestsOf(WEIGHTS).map(({ range }) => range);
  assert.ok(ranges.some((range) => /^bytes=[1-9]\d*-/.test(range ?? "")), `no request began where the last one ended: ${ranges}`);
  await assertUsable(visit);
});

test("a server that knows no ranges and cuts the weights once", async (t) => {
  const prepare = ({ server }) => {
    server.fault(WEIGHTS, { cutAt: 60_000, noRanges: true, times: 1 });
    server.fault(WEIGHTS, { noRanges: true, times: 100 });
  };
  const visit = await chrome.visit(t, { prepare, allowed: [/ERR_|Failed/] });
  if (!(await visit.page.evaluate(() => globalThis.rmae.segmenter))) await visit.by("retry").click();
  await visit.page.waitForFunction(() => globalThis.rmae.segmenter);
  await assertUsable(visit);
});

test("a server that stalls: the page says so and goes on", { timeout: 120_000 }, async (t) => {
  const visit = await chrome.visit(t, { prepare: ({ server }) => server.fault(WEIGHTS, { stallAt: 60_000, times: 1 }), ready: false, allowed: [/./] });
  await visit.page.waitForFunction(() => globalThis.rmae?.segmenter || document.querySelector("[data-testid=retry]"), null, { timeout: 60_000 });
  if (!(await visit.page.evaluate(() => globalThis.rmae.segmenter))) await visit.by("retry").click();
  await visit.page.waitForFunction(() => globalThis.rmae.segmenter);
  await assertUsable(visit);
});

test("a full disk: the weights are not kept, and the page works", async (t) => {
  const prepare = async ({ page, context, server }) => {
    const session = await context.newCDPSession(page);
    await session.send("Storage.overrideQuotaForOrigin", { origin: server.origin, quotaSize: 2048 });
  };
  const visit = await chrome.visit(t, { prepare, allowed: [/[Qq]uota/] });
  await assertUsable(visit);
});

test("a browser that lets no page keep anything", async (t) => {
  const strict = browserWithPreferences({ profile: { default_content_setting_values: { cookies: 2 } } });
  const visit = await strict.visit(t, { allowed: [/storage|denied|insecure|[Ss]ervice ?[Ww]orker|ERR_|404/] });
  const kept = await visit.page.evaluate(() => caches.open("x").then(() => "kept", ({ name }) => name));
  assert.equal(kept, "SecurityError", "this browser keeps things after all");
  await assertUsable(visit);
});

test("a page that the browser does not trust: no WebGPU, no storage, no service worker", async (t) => {
  const visit = await chrome.visit(t, { host: PLAIN });
  const found = await visit.page.evaluate(() => [isSecureContext, "gpu" in navigator, "caches" in globalThis]);
  assert.deepEqual(found, [false, false, false]);
  await assertUsable(visit);
  const { kind, available, reason } = await visit.page.evaluate(() => globalThis.rmae.segmenter.device);
  assert.deepEqual([kind, available.webgpu], ["cpu", false]);
  assert.ok(reason.length > 10);
});

test("a browser that refuses an adapter says so, and WebGPU cannot be chosen", async (t) => {
  const visit = await chrome.visit(t);
  await visit.open(photo, "good.png");
  const { kind, available } = await visit.page.evaluate(() => globalThis.rmae.segmenter.device);
  assert.deepEqual([kind, available.webgpu], ["cpu", false]);
  const refused = await visit.page.evaluate(() => globalThis.rmae.segmenter.setDevice("webgpu").then(() => "taken", ({ code }) => code));
  assert.match(refused, /^device/);
  await visit.page.evaluate(() => globalThis.rmae.engine.setDevice("webgpu"));
  await visit.toast(/cannot be used/i);
  await assertUsable(visit);
});
