// The second visit, no network, and a page that does not lie at the root of its host.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { scene } from "./lib/images.mjs";
import { WEIGHTS, browserForTests, env } from "./lib/page.mjs";

const chrome = browserForTests({ webgpu: false });
const photo = scene(320, 240);

/** @param {import("./lib/page.mjs").Visit} visit */
async function segments(visit) {
  await visit.open(photo);
  await visit.click(160, 120);
  assert.ok(Object.values(await visit.masks())[0].area > 0);
}

/** The page's service worker has kept all that it keeps. @param {import("./lib/page.mjs").Visit} visit */
async function workerReady(visit) {
  await visit.page.evaluate(async () => {
    await navigator.serviceWorker.ready;
  });
  await visit.page.waitForFunction(async (wanted) => {
    const names = await caches.keys();
    const counts = await Promise.all(names.map(async (name) => (await (await caches.open(name)).keys()).length));
    return counts.some((count) => count >= wanted);
  }, 20);
}

test("weights come from the cache on the second visit", async (t) => {
  const visit = await chrome.visit(t);
  await segments(visit);
  const before = visit.server.requestsOf(WEIGHTS).length;
  assert.ok(before >= 1);
  await visit.page.reload();
  await visit.ready();
  await segments(visit);
  const after = visit.server.requestsOf(WEIGHTS).slice(before);
  assert.deepEqual(after, [], "the weights were fetched again");
});

test("other weights on the server are noticed", async (t) => {
  const visit = await chrome.visit(t);
  const before = await visit.page.evaluate(() => globalThis.rmae.segmenter.model.parameters);
  visit.server.override(WEIGHTS, join(env.dist, WEIGHTS));
  visit.server.override("weights/rmae-ti.json", readFileSync(join(env.dist, "weights/rmae-ti.json")));
  await visit.page.reload();
  await visit.ready();
  const after = await visit.page.evaluate(() => globalThis.rmae.segmenter.model.parameters);
  assert.notEqual(after, before, "weights of the first visit were used for others");
});

for (const base of ["/", "/some/where/"]) {
  test(`after the first visit the page works without a network, below ${base}`, { timeout: 90_000 }, async (t) => {
    const visit = await chrome.visit(t, { base, allowed: [/ERR_|Failed to fetch|fetch/] });
    await visit.page.waitForFunction(() => globalThis.rmae.segmenter);
    await workerReady(visit);
    await visit.server.close();
    await visit.context.setOffline(true);
    await visit.page.reload();
    await visit.ready();
    await segments(visit);
    await visit.page.getByTestId("gallery-item-0").waitFor({ state: "attached" });
    await visit.screenshot(base === "/" ? "offline" : "offline-sub-path");
  });
}

test("the page works under a path", async (t) => {
  const visit = await chrome.visit(t, { base: "/papers/rmae/" });
  await segments(visit);
  const outside = visit.server.requests.filter(({ path }) => !path.startsWith("/papers/rmae/") && path !== "/favicon.ico");
  assert.deepEqual(outside, []);
});

test("the manifest names files that are there, as they are", async () => {
  const { version, files } = JSON.parse(readFileSync(join(env.dist, "sw-manifest.json"), "utf8"));
  assert.match(version, /^[0-9a-f]{64}$/);
  assert.ok(files.some(({ url }) => url === "index.html") && files.some(({ url }) => url.endsWith(".wasm")));
  for (const { url, bytes } of files) {
    assert.ok(!url.startsWith("/") && !url.includes(":"), `${url} is not relative`);
    assert.equal(readFileSync(join(env.dist, url)).length, bytes, url);
  }
});
