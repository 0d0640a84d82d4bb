import assert from "node:assert/strict";
import { test } from "node:test";
import { createMaskRequests } from "../requests.js";
import { activeObject, addObject, createStore, emptyDocument } from "../store.js";

const tick = (ms = 0) => new Promise((resume) => setTimeout(resume, ms));

/** A page without a page: `calls` are answered by the test, or at once. */
function fresh({ answer = true, deaf = false } = {}) {
  const store = createStore({ now: () => 0 });
  store.open({ name: "a.jpg", width: 8, height: 4 });
  const [shown, calls, failures] = [new Map(), [], []];
  let preview = null;
  const viewport = {
    setMask: (id, art) => (art ? shown.set(id, art) : shown.delete(id)),
    setPreview: (art) => (preview = art),
  };
  const painter = { mask: async ({ data }, colour) => ({ fill: { close() {} }, colour, width: 4, height: 2, area: data.filter(Boolean).length, box: [0, 0, 2, 1] }) };
  const result = (prompts) => ({ mask: { width: 4, height: 2, data: new Uint8Array(8).fill(255, 0, prompts.points.length) }, score: 0.5, ms: 1 });
  const predict = (prompts, options) =>
    new Promise((resolve, reject) => {
      if (!deaf) options.signal.addEventListener("abort", () => reject(Object.assign(new Error("stopped"), { name: "AbortError" })));
      const call = { prompts, options, finish: () => resolve(prompts.map(result)), fail: (why) => reject(new Error(why)) };
      calls.push(call);
      if (answer) call.finish();
    });
  const requests = createMaskRequests({ store, viewport, painter, predict, failed: (error) => failures.push(error.message) });
  store.subscribe((_, { document }) => document && requests.request());
  return { store, requests, shown, calls, failures, preview: () => preview };
}

/** @param {any} store */
const click = (store, x = 1) =>
  store.dispatch("click", (draft) => void (activeObject(draft) ?? addObject(draft)).prompts.points.push({ x, y: 1, positive: true }));

test("a click becomes a mask, with its size in pixels of the photo", async () => {
  const { store, requests, shown, calls } = fresh();
  click(store);
  await requests.settled();
  assert.equal(calls.length, 1);
  assert.equal(shown.size, 1);
  // One of 8 pixels of the mask is 4 of 32 of the photo.
  assert.equal(store.get().document.objects[0].result.area, 4);
  assert.deepEqual(store.get().document.objects[0].result.box, [0, 0, 4, 2]);
});

test("only the latest wish is waited for", async () => {
  const { store, requests, calls } = fresh({ answer: false });
  click(store, 1);
  await tick();
  click(store, 2);
  click(store, 3);
  await tick();
  assert.equal(calls[0].options.signal.aborted, true);
  assert.equal(calls.length, 2);
  assert.equal(calls[1].prompts[0].points.length, 3);
  calls[1].finish();
  await requests.settled();
  assert.equal(store.get().document.objects[0].result.area, 12);
});

test("undo and redo take masks from what is known", async () => {
  const { store, requests, shown, calls } = fresh();
  click(store, 1);
  await requests.settled();
  click(store, 2);
  await requests.settled();
  store.undo();
  await tick();
  assert.equal(calls.length, 2);
  assert.equal(shown.get(1).area, 1);
  store.undo();
  await tick();
  assert.equal(shown.size, 0);
  store.redo();
  store.redo();
  await tick();
  assert.equal(calls.length, 2);
  assert.equal(shown.get(1).area, 2);
});

test("each object goes through alone, so that its mask depends on its own prompts only", async () => {
  const { store, requests, calls, shown } = fresh();
  store.dispatch("three", (draft) => {
    for (const x of [1, 2, 3]) addObject(draft).prompts.points.push({ x, y: 1, positive: true });
  });
  await requests.settled();
  assert.deepEqual(calls.map(({ prompts }) => prompts.length), [1, 1, 1]);
  assert.equal(shown.size, 3);
});

test("another colour is painted and not predicted", async () => {
  const { store, requests, calls, shown } = fresh();
  click(store);
  await requests.settled();
  store.dispatch("colour", (draft) => void (draft.objects[0].colour = "#123456"));
  await tick();
  assert.equal(calls.length, 1);
  assert.equal(shown.get(1).colour, "#123456");
});

test("a failure is told once, and not tried again by itself", async () => {
  const { store, requests, calls, failures } = fresh({ answer: false });
  click(store);
  await tick();
  calls[0].fail("no memory");
  await requests.settled();
  store.patch((draft) => void (draft.objects[0].name = "x"));
  await tick();
  assert.deepEqual(failures, ["no memory"]);
  assert.equal(calls.length, 1);
  requests.request(true);
  await tick();
  assert.equal(calls.length, 2);
});

test("what comes in for a photo that is gone is thrown away", async () => {
  const { store, requests, calls, shown } = fresh({ answer: false, deaf: true });
  click(store);
  await tick();
  requests.forget();
  const other = emptyDocument();
  addObject(other).prompts.points.push({ x: 1, y: 1, positive: true }, { x: 2, y: 2, positive: true });
  store.open({ name: "b.jpg", width: 8, height: 4 }, other);
  calls[0].finish();
  await tick();
  assert.equal(shown.size, 0);
  calls[1].finish();
  await requests.settled();
  assert.equal(shown.get(1).area, 2);
});

test("the preview has the click under the pointer added, and gives way to a real request", async () => {
  const { store, requests, calls, preview } = fresh({ answer: false });
  click(store, 1);
  await tick();
  calls[0].finish();
  await requests.settled();
  requests.hover({ x: 5, y: 2, positive: true });
  await tick(80);
  assert.equal(calls[1].prompts[0].points.length, 2);
  assert.ok(calls[1].options.maxSide < 1000);
  click(store, 2);
  await tick();
  assert.equal(calls[1].options.signal.aborted, true);
  calls[2].finish();
  await requests.settled();
  assert.equal(preview(), null);
  assert.equal(store.get().document.objects[0].prompts.points.length, 2);
});

test("a click keeps its preview until its mask is there, and no late one comes", async () => {
  const { store, requests, calls, preview } = fresh({ answer: false });
  requests.hover({ x: 1, y: 1, positive: true });
  await tick(80);
  calls[0].finish();
  await requests.settled();
  assert.notEqual(preview(), null);
  requests.hover({ x: 2, y: 1, positive: true });
  requests.hoverHold();
  click(store, 2);
  await tick(80);
  assert.notEqual(preview(), null);
  assert.equal(calls.length, 2);
  calls[1].finish();
  await requests.settled();
  await tick(80);
  assert.equal(preview(), null);
  assert.equal(calls.length, 2);
});

test("a deleted object's mask goes, and its result is not waited for", async () => {
  const { store, requests, calls, shown, failures } = fresh({ answer: false });
  click(store);
  await tick();
  store.dispatch("delete", (draft) => void draft.objects.splice(0, 1));
  calls[0].finish();
  await requests.settled();
  await tick();
  assert.equal(shown.size, 0);
  assert.equal(requests.masks.size, 0);
  assert.deepEqual(failures, []);
});
