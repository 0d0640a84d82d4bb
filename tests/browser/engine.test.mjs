// The engine behind the page: which device it takes, what it does when that fails, and whether it gives
// the same masks everywhere.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { scene, target } from "./lib/images.mjs";
import { browserForTests, env } from "./lib/page.mjs";

const chrome = browserForTests({ webgpu: true });
const photo = scene(400, 300);

/** What two objects are told by: one by clicks, one by everything else. */
const OBJECTS = [
  { points: [[200, 150, true], [20, 20, false], [380, 20, false], [20, 280, false], [380, 280, false]].map(([x, y, positive]) => ({ x, y, positive })) },
  { boxes: [{ x0: 20, y0: 30, x1: 180, y1: 200 }], points: [{ x: 30, y: 40, positive: false }], scribbles: [{ points: [[60, 60], [120, 150]], width: 12 }] },
];

/** Their masks, straight from the engine. @param {import("./lib/page.mjs").Visit} visit */
function masksOf(visit) {
  return visit.page.evaluate(async (objects) => {
    // One by one, as the command line has them.
    const results = [];
    for (const prompts of objects) results.push(await globalThis.rmae.segmenter.predict(prompts));
    return results.map(({ mask, score }) => ({ width: mask.width, height: mask.height, score, data: [...mask.data].map((value) => (value ? 1 : 0)) }));
  }, OBJECTS);
}

/** The same prompts for the command line. @param {typeof OBJECTS[number]} object @param {string} file for its strokes */
function typed({ points = [], boxes = [], scribbles = [] }, file) {
  writeFileSync(file, JSON.stringify({ scribbles }));
  return [
    ...points.flatMap(({ x, y, positive }) => ["--click", `${x},${y}${positive ? "" : ",-"}`]),
    ...boxes.flatMap(({ x0, y0, x1, y1 }) => ["--box", [x0, y0, x1, y1].join()]),
    ...(scribbles.length ? ["--scribble", file] : []),
  ];
}

/** Whether it has some pixels and not others. */
const says = (/** @type {number[]} */ mask) => mask.some(Boolean) && !mask.every(Boolean);

/** Share of pixels in which two masks agree. */
function agreement(a, b) {
  assert.equal(a.length, b.length);
  return a.reduce((sum, value, at) => sum + (value === b[at]), 0) / a.length;
}

test("a software adapter counts as none, and the page says what it runs on and why", async (t) => {
  const visit = await chrome.visit(t);
  const device = await visit.page.evaluate(() => globalThis.rmae.segmenter.device);
  assert.equal(device.kind, "cpu");
  assert.ok(device.reason.length > 10, JSON.stringify(device));
  assert.equal(device.available.software, true, JSON.stringify(device));
  assert.match(await visit.by("device").textContent(), /CPU/);
});

test("WebGPU and the CPU make the same masks", { timeout: 120_000 }, async (t) => {
  const visit = await chrome.visit(t);
  visit.context.setDefaultTimeout(90_000);
  await visit.open(photo);
  const cpu = await masksOf(visit);
  const device = await visit.page.evaluate(() => globalThis.rmae.segmenter.setDevice("webgpu"));
  assert.deepEqual([device.kind, device.software], ["webgpu", true]);
  const gpu = await masksOf(visit);
  for (const [index, mask] of cpu.entries()) {
    const same = agreement(mask.data, gpu[index].data);
    t.diagnostic(`object ${index + 1}: ${(100 * same).toFixed(3)} % of pixels agree, scores ${mask.score.toFixed(5)} and ${gpu[index].score.toFixed(5)}`);
    assert.ok(same >= 0.999, `object ${index + 1}: ${same}`);
    assert.ok(says(mask.data), `object ${index + 1}: a mask of all or nothing compares nothing`);
  }
});

test("candidates go from a part to the whole, and each can be asked for again", { timeout: 120_000 }, async (t) => {
  const visit = await chrome.visit(t);
  await visit.open(target(400, 300, [45, 105]));
  const { made, again, refused } = await visit.page.evaluate(async (prompts) => {
    const { segmenter } = globalThis.rmae;
    const made = await segmenter.candidates(prompts);
    const again = [];
    for (const { granularity } of made) again.push(await segmenter.predict(prompts, { granularity }));
    const refused = await segmenter.candidates({ points: [{ x: -5, y: 2 }] }).catch((error) => error.code);
    const short = ({ area, score, granularity }) => ({ area, score, granularity });
    return { made: made.map(short), again: again.map(short), refused };
  }, { points: [{ x: 200, y: 150 }] });
  t.diagnostic(JSON.stringify(made));
  for (const radius of [45, 105]) {
    const whole = Math.PI * radius ** 2;
    assert.ok(made.some(({ area }) => Math.abs(area - whole) < 0.05 * whole), `no disc of ${radius} pixels to choose`);
  }
  for (const [at, { area, score, granularity }] of made.entries()) {
    assert.ok(score >= 0 && score <= 1);
    assert.ok(at === 0 || (area > made[at - 1].area && granularity > made[at - 1].granularity), JSON.stringify(made));
    assert.deepEqual([again[at].area, again[at].score], [area, score]);
  }
  assert.match(refused, /^prompt/);
});

for (const [name, weights] of [["small", env.smallWeights], ["shipped", join(env.dist, "weights/rmae-ti.safetensors")]]) {
  test(`the page and the command line make the same masks, ${name} weights`, { timeout: 120_000 }, async (t) => {
    const visit = await chrome.visit(t, { weights: /** @type {"small" | "shipped"} */ (name) });
    await visit.open(photo);
    const page = await masksOf(visit);
    const folder = mkdtempSync(join(tmpdir(), "rmae-e2e-"));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const at = (file) => join(folder, file);
    writeFileSync(at("photo.png"), photo);
    for (const [index, object] of OBJECTS.entries()) {
      const prompts = typed(object, at("strokes.json"));
      execFileSync(env.command, ["segment", "--model", weights, "--device", "cpu", at("photo.png"), ...prompts, "--out", at(`${index}.png`)]);
    }
    for (const [index, { data }] of page.entries()) {
      const native = await visit.pixels(readFileSync(at(`${index}.png`)));
      const same = agreement(data, native);
      t.diagnostic(`object ${index + 1}: ${(100 * same).toFixed(3)} % of pixels agree`);
      assert.ok(same >= 0.999, `object ${index + 1}: ${same}`);
      assert.ok(says(data), `object ${index + 1}: a mask of all or nothing compares nothing`);
    }
  });
}

test("a GPU process that dies: the session goes on", { timeout: 120_000 }, async (t) => {
  const visit = await chrome.visit(t, { allowed: [/./] });
  visit.context.setDefaultTimeout(60_000);
  await visit.open(photo);
  await visit.page.evaluate(() => globalThis.rmae.engine.setDevice("webgpu"));
  await visit.click(200, 150);
  const { objects } = await visit.document();
  const browser = await visit.context.browser().newBrowserCDPSession();
  await browser.send("Browser.crashGpuProcess").catch(() => {});
  await visit.click(100, 80);
  const after = await visit.document();
  assert.equal(after.objects[0].prompts.points.length, objects[0].prompts.points.length + 1);
  assert.ok(Object.values(await visit.masks())[0].area > 0, "no mask after the loss");
  const { device } = await visit.view();
  t.diagnostic(`then on ${device.kind}: ${device.reason}`);
  await visit.screenshot("device-lost");
});

/** A page on WebGPU with one click. */
async function onWebGpu(t) {
  const visit = await chrome.visit(t, { allowed: [/./] });
  visit.context.setDefaultTimeout(60_000);
  await visit.open(photo);
  await visit.page.evaluate(() => globalThis.rmae.engine.setDevice("webgpu"));
  assert.equal(await visit.page.evaluate(() => globalThis.rmae.segmenter.device.kind), "webgpu");
  await visit.click(200, 150);
  return visit;
}

/** The session is kept, and a further click gets its mask. @param {import("./lib/page.mjs").Visit} visit */
async function assertGoesOn(t, visit) {
  await visit.click(100, 80, { shift: true });
  const { objects } = await visit.document();
  assert.equal(objects[0].prompts.points.length, 2);
  assert.ok(Object.values(await visit.masks())[0].area > 0, "no mask afterwards");
  const { device } = await visit.view();
  t.diagnostic(`then on ${device.kind}: ${device.reason}`);
}

test("a device that is destroyed is replaced, and again, and the page says so", { timeout: 120_000 }, async (t) => {
  const visit = await onWebGpu(t);
  for (let times = 0; times < 2; times++) {
    await visit.page.evaluate(() => globalThis.rmae.segmenter[Symbol.for("rmae.test")]("destroyDevice"));
    await visit.toast(/WebGPU|CPU/);
  }
  await assertGoesOn(t, visit);
});

test("a GPU without memory: the CPU takes over", { timeout: 120_000 }, async (t) => {
  const visit = await onWebGpu(t);
  const worker = visit.page.workers().find((worker) => worker.url().endsWith("js/worker.js"));
  await worker.evaluate(() => {
    const { pushErrorScope, popErrorScope } = GPUDevice.prototype;
    const filters = [];
    GPUDevice.prototype.pushErrorScope = function (filter) {
      filters.push(filter);
      return pushErrorScope.call(this, filter);
    };
    GPUDevice.prototype.popErrorScope = async function () {
      const filter = filters.pop();
      const error = await popErrorScope.call(this);
      return filter === "out-of-memory" ? new GPUOutOfMemoryError("the test says so") : error;
    };
  });
  await visit.page.evaluate(() => globalThis.rmae.segmenter[Symbol.for("rmae.test")]("destroyDevice"));
  await visit.page.waitForFunction(() => globalThis.rmae.segmenter.device.kind === "cpu", null, { timeout: 60_000 });
  await assertGoesOn(t, visit);
});

test("an engine that breaks down is started anew", { timeout: 120_000 }, async (t) => {
  const visit = await chrome.visit(t, { allowed: [/./] });
  await visit.open(photo);
  await visit.click(200, 150);
  await visit.page.evaluate(() => globalThis.rmae.segmenter[Symbol.for("rmae.test")]("trap").catch(() => {}));
  await assertGoesOn(t, visit);
});

test("endurance: 500 predictions and 50 photos", { timeout: 300_000 }, async (t) => {
  const visit = await chrome.visit(t);
  visit.context.setDefaultTimeout(240_000);
  const session = await visit.context.newCDPSession(visit.page);
  const measure = async () => {
    await session.send("HeapProfiler.collectGarbage");
    const { usedSize } = await session.send("Runtime.getHeapUsage");
    const { wasmBytes, handles } = await visit.page.evaluate(() => globalThis.rmae.segmenter.stats());
    return { wasm: wasmBytes, handles, page: usedSize };
  };
  /** @param {number} photos @param {number} clicks of each */
  const work = (photos, clicks) =>
    visit.page.evaluate(
      async ([photos, clicks]) => {
        const { segmenter } = globalThis.rmae;
        for (let photo = 0; photo < photos; photo++) {
          const canvas = new OffscreenCanvas(300 + 7 * (photo % 5), 200);
          const context = canvas.getContext("2d");
          context.fillStyle = `hsl(${photo * 37} 60% 40%)`;
          context.fillRect(0, 0, canvas.width, canvas.height);
          context.clearRect(80, 60, 90, 70);
          await segmenter.setImage(canvas);
          for (let click = 0; click < clicks; click++) await segmenter.predict({ points: [{ x: 20 + 25 * click, y: 100 }] });
        }
      },
      [photos, clicks],
    );
  await work(10, 10);
  const before = await measure();
  await work(50, 10);
  const after = await measure();
  t.diagnostic(`before ${JSON.stringify(before)}, after ${JSON.stringify(after)}`);
  assert.equal(after.handles, before.handles, "handles are left behind");
  assert.ok(after.wasm <= 1.05 * before.wasm, `the engine's memory grew from ${before.wasm} to ${after.wasm}`);
  assert.ok(after.page <= 1.05 * before.page, `the page's memory grew from ${before.page} to ${after.page}`);
});

/** Milliseconds of processor time of each task of a page's main thread: another program's work is not in them. */
function mainThreadTasks(trace) {
  const { traceEvents } = JSON.parse(trace.toString("utf8"));
  const main = new Set(traceEvents.filter(({ name, args }) => name === "thread_name" && args.name === "CrRendererMain").map(({ pid, tid }) => `${pid} ${tid}`));
  const ours = traceEvents.filter(({ pid, tid, tdur }) => main.has(`${pid} ${tid}`) && tdur !== undefined);
  // What steers the browser runs on that thread, too.
  const steering = ours.filter(({ args }) => args?.chrome_mojo_event_info?.mojo_interface_tag === "blink.mojom.DevToolsSession");
  const isSteered = ({ pid, ts, dur }) => steering.some((event) => event.pid === pid && event.ts >= ts && event.ts <= ts + dur);
  return ours.filter((event) => /RunTask$/.test(event.name) && !isSteered(event)).map(({ tdur }) => tdur / 1000);
}

test("the page is never busy for more than 50 ms while the engine works", { timeout: 120_000 }, async (t) => {
  const prepare = ({ server }) => server.override("test/large.png", scene(1600, 1200));
  const visit = await chrome.visit(t, { weights: "shipped", prepare });
  const browser = visit.context.browser();
  await visit.page.evaluate(() => void (globalThis.watched.longTasks = []));
  await browser.startTracing(visit.page, { categories: ["toplevel", "devtools.timeline", "disabled-by-default-devtools.timeline"] });
  await visit.page.evaluate(() => void globalThis.rmae.engine.openImage("test/large.png", "large.png"));
  await visit.shown("large.png");
  for (const [x, y] of [[800, 600], [300, 200], [1200, 900]]) await visit.click(x, y);
  await visit.drag([[500, 300], [1100, 900]]);
  const tasks = mainThreadTasks(await browser.stopTracing());
  const seen = await visit.page.evaluate(() => globalThis.watched.longTasks.map(({ duration }) => Math.round(duration)));
  const { lastEncodeMs: encode, lastPredictMs: predict } = await visit.page.evaluate(() => globalThis.rmae.segmenter.stats());
  t.diagnostic(`encode ${encode.toFixed(1)} ms, a further prompt ${predict.toFixed(1)} ms: 1/${(encode / predict).toFixed(1)}`);
  t.diagnostic(`${tasks.length} tasks, longest ${Math.max(...tasks).toFixed(1)} ms of processor time; over 50 ms by the clock: ${seen.join(", ") || "none"}`);
  assert.ok(tasks.length > 50, "the trace holds no tasks");
  assert.ok(Math.max(...tasks) <= 50, `a task of ${Math.max(...tasks)} ms`);
});

test("a prompt that a newer one overtakes is dropped", async (t) => {
  const visit = await chrome.visit(t);
  await visit.open(photo);
  const outcomes = await visit.page.evaluate(async () => {
    const controllers = Array.from({ length: 5 }, () => new AbortController());
    const calls = controllers.map(({ signal }, i) => globalThis.rmae.segmenter.predict({ points: [{ x: 40 * i, y: 100 }] }, { signal }));
    for (const controller of controllers.slice(0, 4)) controller.abort();
    return (await Promise.allSettled(calls)).map((call) => (call.status === "fulfilled" ? "done" : call.reason.name));
  });
  assert.deepEqual(outcomes, ["AbortError", "AbortError", "AbortError", "AbortError", "done"]);
});
