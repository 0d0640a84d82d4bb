// The small parts: exceptions, prompts, the choice of a device.

import assert from "node:assert/strict";
import { test } from "node:test";

import { choose, probe } from "../device.js";
import * as errors from "../errors.js";
import { checkedObjects, checkedOptions, checkedTarget } from "../prompts.js";

test("exceptions survive the way between threads", () => {
  const there = errors.toPlain(errors.failure("model-html", "a web page"));
  const back = errors.fromPlain(structuredClone(there));
  assert.ok(back instanceof errors.ModelError && back instanceof errors.RmaeError && back instanceof Error);
  assert.deepEqual([back.name, back.code, back.message], ["ModelError", "model-html", "a web page"]);
  assert.deepEqual(errors.toPlain("just text"), { code: "internal", message: "just text" });
  assert.equal(errors.failure("nonsense", "").constructor, errors.RmaeError);
});

test("an abort has the name that callers look for, and the caller's words", () => {
  assert.equal(errors.aborted(AbortSignal.abort()).name, "AbortError");
  assert.equal(errors.aborted(AbortSignal.abort("newer click")).message, "newer click");
  assert.throws(() => errors.throwIfAborted(AbortSignal.abort()), errors.AbortError);
  errors.throwIfAborted(undefined);
});

test("prompts of all kinds are put into one form", () => {
  const mask = { width: 2, height: 1, data: new Uint8Array([0, 255]) };
  const [object] = checkedObjects([{ points: [{ x: 1, y: 2 }], box: { x0: 1, y0: 2, x1: 3, y1: 4 }, scribbles: [{ points: [[1, 2]], width: 3, positive: false }], mask }], false);
  assert.deepEqual(object, {
    clicks: [{ x: 1, y: 2, positive: true }],
    boxes: [{ x0: 1, y0: 2, x1: 3, y1: 4 }],
    scribbles: [{ points: [[1, 2]], positive: false, width: 3 }],
    mask,
  });
});

test("what is wrong with prompts is told, and where", () => {
  const wrong = (prompts, words) => assert.throws(() => checkedObjects(prompts, prompts.length > 1), (error) => {
    assert.ok(error instanceof errors.PromptError, error.stack);
    assert.match(error.message, words);
    return true;
  });
  const fine = { points: [{ x: 1, y: 1 }] };
  wrong([fine, {}], /object 2: at least one/);
  wrong([{ clicks: [] }], /no prompt "clicks"/);
  wrong([{ points: [{ x: 1, y: "2" }] }], /point 1: y is 2, not a finite number/);
  wrong([{ points: [{ x: 1, y: 2, radius: NaN }] }], /radius is NaN/);
  wrong([{ box: { x0: 0, y0: 0, x1: Infinity, y1: 1 } }], /box 1: x1/);
  wrong([{ scribbles: [{ points: [] }] }], /scribble 1 has no points/);
  wrong([{ mask: { width: 2, height: 2, data: new Uint8Array(3) } }], /one byte a pixel/);
  wrong([null], /are an object/);
  wrong([], /no object/);
});

test("options have defaults and limits", () => {
  assert.deepEqual(checkedOptions({}), { granularity: 0, refine: { edges: "graphcut", connected: true, holes: true }, maxSide: undefined, crop: undefined, logits: false });
  assert.equal(checkedOptions({ logits: true }).logits, true);
  for (const options of [{ granularity: 2 }, { granularity: NaN }, { maxSide: 0.5 }, { refine: { edges: "sharp" } }]) {
    assert.throws(() => checkedOptions(options), errors.PromptError, JSON.stringify(options));
  }
  assert.deepEqual(checkedTarget({ x: 1, y: 2 }), { x: 1, y: 2, layer: undefined, head: undefined });
  assert.equal(checkedTarget({ x: 1, y: 2, layer: 3, head: 0 }).head, 0);
  assert.throws(() => checkedTarget({ x: 1, y: 2, layer: -1 }), errors.PromptError);
});

const gpu = (info, more = {}) => ({ requestAdapter: async () => info && { info, ...more } });

test("adapters are recognised", async () => {
  assert.deepEqual(await probe(gpu({ vendor: "nvidia", architecture: "ampere" })), { webgpu: true, software: false, name: "nvidia ampere" });
  const software = [{ vendor: "google", architecture: "swiftshader" }, { description: "llvmpipe (LLVM 15)" }, { description: "Microsoft Basic Render Driver" }, { vendor: "x", isFallbackAdapter: true }];
  for (const info of software) assert.equal((await probe(gpu(info))).software, true, JSON.stringify(info));
  assert.equal((await probe(gpu({}, { isFallbackAdapter: true }))).software, true);
  assert.match((await probe(gpu(null))).why, /offers no GPU/);
  assert.match((await probe({ requestAdapter: async () => { throw new Error("blocked"); } })).why, /blocked/);
  assert.equal((await probe(undefined)).webgpu, false);
});

test("hardware is taken, software only when asked for", () => {
  const [hardware, software, none] = [
    { webgpu: true, software: false, name: "GPU" },
    { webgpu: true, software: true, name: "swiftshader", why: "simulated" },
    { webgpu: false, software: false, name: "", why: "none here" },
  ];
  const kind = (wanted, found) => choose(wanted, found).kind;
  assert.deepEqual(["auto", "webgpu", "cpu"].map((wanted) => kind(wanted, hardware)), ["webgpu", "webgpu", "cpu"]);
  assert.deepEqual(["auto", "webgpu", "cpu"].map((wanted) => kind(wanted, software)), ["cpu", "webgpu", "cpu"]);
  assert.deepEqual(["auto", "webgpu", "cpu"].map((wanted) => kind(wanted, none)), ["cpu", "cpu", "cpu"]);
  assert.match(choose("auto", none).reason, /none here/);
  assert.equal(choose("webgpu", software).software, true);
});

test("subgroups are asked for where an adapter on the processor has them, and nothing else is changed", async (t) => {
  const asked = [];
  globalThis.GPUAdapter = class {
    constructor(architecture, info, features = ["subgroups"]) {
      [this.info, this.features] = [{ vendor: "google", architecture, ...info }, new Set(features)];
    }
    async requestDevice(descriptor) {
      asked.push(descriptor);
      return { features: new Set(descriptor?.requiredFeatures) };
    }
  };
  t.after(() => ["GPUAdapter", "rmaeSubgroups"].forEach((name) => delete globalThis[name]));
  const { openedDevice } = await import("../device.js?with-adapters");
  const all = { subgroupMinSize: 4, subgroupMaxSize: 4 };
  const open = async (adapter, descriptor) => {
    const device = await adapter.requestDevice(descriptor);
    assert.equal(openedDevice(), device);
    return [asked.pop(), globalThis.rmaeSubgroups];
  };
  const descriptor = { label: "x", requiredFeatures: ["shader-f16"] };
  const software = new GPUAdapter("swiftshader", all);
  assert.deepEqual(await open(software, descriptor), [{ label: "x", requiredFeatures: ["shader-f16", "subgroups"] }, true]);
  assert.deepEqual(await open(software), [{ requiredFeatures: ["subgroups"] }, true]);
  assert.deepEqual(descriptor.requiredFeatures, ["shader-f16"]);
  const others = [new GPUAdapter("swiftshader", { ...all, subgroupMaxSize: 8 }), new GPUAdapter("swiftshader", all, []), new GPUAdapter("swiftshader"), new GPUAdapter("ampere", all)];
  for (const other of others) assert.deepEqual(await open(other, descriptor), [descriptor, false]);
});
