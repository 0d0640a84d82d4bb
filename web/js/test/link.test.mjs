// The queue of requests, with a worker that the test plays.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { Link } from "../link.js";

let workers;
class FakeWorker {
  posted = [];
  terminated = false;
  constructor() {
    workers.push(this);
  }
  postMessage(message) {
    this.posted.push(message);
  }
  terminate() {
    this.terminated = true;
  }
  say(data) {
    this.onmessage({ data });
  }
}
globalThis.Worker = FakeWorker;
const settled = () => new Promise((resume) => setTimeout(resume));

let heard, link;
beforeEach(() => {
  [workers, heard] = [[], []];
  link = new Link(new URL("file:///worker.js"), (event) => heard.push(event));
});
const ask = (kind, options) => link.request(kind, async () => ({ args: {} }), options);

test("one request at a time, in order", async () => {
  const [first, second] = [ask("a"), ask("b")];
  await settled();
  assert.deepEqual(workers[0].posted.map(({ kind }) => kind), ["a"]);
  workers[0].say({ id: workers[0].posted[0].id, result: 1 });
  assert.equal(await first, 1);
  await settled();
  assert.deepEqual(workers[0].posted.map(({ kind }) => kind), ["a", "b"]);
  workers[0].say({ id: workers[0].posted[1].id, error: { code: "image-none", message: "no image" } });
  await assert.rejects(second, { name: "ImageError", code: "image-none" });
});

test("an abort rejects at once; what waits is never sent, what runs is told", async () => {
  const [running, waiting] = [new AbortController(), new AbortController()];
  const first = ask("a", { signal: running.signal });
  const second = ask("b", { signal: waiting.signal });
  const third = ask("c");
  await settled();
  running.abort();
  waiting.abort();
  await assert.rejects(first, { name: "AbortError" });
  await assert.rejects(second, { name: "AbortError" });
  const [{ id }, told] = workers[0].posted;
  assert.deepEqual(told, { abort: id });
  workers[0].say({ id, error: { code: "abort", message: "" } });
  await settled();
  assert.equal(workers[0].posted.at(-1).kind, "c");
  workers[0].say({ id: workers[0].posted.at(-1).id, result: 3 });
  assert.equal(await third, 3);
});

test("progress goes to the request, events to everybody", async () => {
  const steps = [];
  void ask("load", { onProgress: (step) => steps.push(step) });
  await settled();
  const { id } = workers[0].posted[0];
  workers[0].say({ event: "progress", id, detail: 1 });
  workers[0].say({ event: "device", detail: 2 });
  assert.deepEqual(steps, [1]);
  assert.deepEqual(heard, [{ event: "device", detail: 2 }]);
});

test("a worker that dies is replaced once, and asked again", async () => {
  const request = ask("predict");
  await settled();
  workers[0].say({ event: "died", message: "unreachable", will: { bytes: 1 } });
  await settled();
  assert.equal(workers[0].terminated, true);
  assert.deepEqual(workers[1].posted[0], { inherit: { bytes: 1 } });
  assert.equal(workers[1].posted[1].kind, "predict");
  workers[1].say({ id: workers[1].posted[1].id, result: "mask" });
  assert.equal(await request, "mask");
  assert.equal(heard[0].event, "status");
});

test("a second death is an error, and the next request starts afresh", async () => {
  const request = ask("predict");
  await settled();
  workers[0].say({ event: "died", message: "unreachable", will: { bytes: 1 } });
  await settled();
  workers[1].say({ event: "died", message: "unreachable", will: { bytes: 1 } });
  await assert.rejects(request, { code: "internal-died" });
  const next = ask("predict");
  await settled();
  workers[2].say({ id: workers[2].posted[1].id, result: "mask" });
  assert.equal(await next, "mask");
});

test("a worker that cannot be loaded is an error", async () => {
  const request = ask("load");
  await settled();
  workers[0].onerror({ message: undefined, preventDefault() {} });
  await assert.rejects(request, { code: "internal-died", message: /could not be loaded/ });
});

test("after dispose everything is refused", async () => {
  const [first, second] = [ask("a"), ask("b")];
  await settled();
  link.dispose();
  for (const request of [first, second, ask("c")]) await assert.rejects(request, { name: "DisposedError" });
  assert.equal(workers[0].terminated, true);
});
