import assert from "node:assert/strict";
import { test } from "node:test";

import { latest } from "../latest.js";

/** A runner whose runs end when the test says so. */
function harness() {
  const runs = [];
  const heard = [];
  const asked = latest((wish) => new Promise((resolve, reject) => runs.push({ wish, resolve, reject })), {
    done: (result, wish) => heard.push([wish, result]),
    failed: (error) => heard.push(error.message),
    busy: (busy) => heard.push(busy),
  });
  return { asked, runs, heard };
}

const tick = () => new Promise((resolve) => setImmediate(resolve));

test("only the newest wish is run after the one under way, and only its result is heard", async () => {
  const { asked, runs, heard } = harness();
  for (const wish of [1, 2, 3]) asked.ask(wish);
  await tick();
  assert.deepEqual(runs.map(({ wish }) => wish), [1]);
  runs[0].resolve("old");
  await tick();
  assert.deepEqual(runs.map(({ wish }) => wish), [1, 3], "2 was never run");
  runs[1].resolve("new");
  await tick();
  assert.deepEqual(heard, [true, [3, "new"], false]);
  asked.ask(4);
  await tick();
  assert.equal(runs.length, 3, "goes on after a pause");
});

test("a cancelled run is not heard of, a failed one is, and the next goes on", async () => {
  const { asked, runs, heard } = harness();
  asked.ask(1);
  asked.cancel();
  runs[0].resolve("never heard");
  await tick();
  asked.ask(2);
  runs[1].reject(new Error("broken"));
  await tick();
  asked.ask(3);
  runs[2].resolve("fine");
  await tick();
  assert.deepEqual(heard.filter((entry) => typeof entry !== "boolean"), ["broken", [3, "fine"]]);
});
