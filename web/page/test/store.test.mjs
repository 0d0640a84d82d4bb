import assert from "node:assert/strict";
import { test } from "node:test";
import { activeObject, addObject, COLOURS, copy, createStore, HISTORY, shared } from "../store.js";

const photo = { name: "a.jpg", width: 40, height: 30 };

/** A store with a photo, and a clock that the test moves. */
function fresh() {
  const clock = { now: 0 };
  const store = createStore({ now: () => clock.now });
  store.open(photo);
  return { store, clock };
}

const names = (store) => store.get().document.objects.map(({ name }) => name);
const add = (store, name) => store.dispatch("new object", (draft) => void addObject(draft, { name }));

test("undo and redo go through every state", () => {
  const { store } = fresh();
  add(store, "a");
  add(store, "b");
  assert.deepEqual(names(store), ["a", "b"]);
  assert.equal(store.undo(), "new object");
  assert.deepEqual(names(store), ["a"]);
  assert.equal(store.get().redoLabel, "new object");
  store.undo();
  assert.deepEqual(names(store), []);
  assert.equal(store.undo(), null);
  store.redo();
  store.redo();
  assert.deepEqual(names(store), ["a", "b"]);
  assert.equal(store.redo(), null);
});

test("a new step ends what could be redone", () => {
  const { store } = fresh();
  add(store, "a");
  store.undo();
  add(store, "b");
  assert.equal(store.get().canRedo, false);
  assert.deepEqual(names(store), ["b"]);
});

test("older states are not touched by later changes", () => {
  const { store } = fresh();
  add(store, "a");
  const before = store.get().document;
  store.dispatch("click", (draft) => void activeObject(draft).prompts.points.push({ x: 1, y: 2, positive: true }));
  assert.equal(before.objects[0].prompts.points.length, 0);
  assert.equal(store.get().document.objects[0].prompts.points.length, 1);
});

test("a mutator that returns false makes no step", () => {
  const { store } = fresh();
  assert.equal(store.dispatch("nothing", () => false), false);
  assert.equal(store.get().canUndo, false);
});

test("steps with the same key merge while they are quick", () => {
  const { store, clock } = fresh();
  add(store, "a");
  const wheel = (granularity) => store.dispatch("granularity", (draft) => void (activeObject(draft).granularity = granularity), { merge: "granularity1" });
  wheel(0.1);
  clock.now = 500;
  wheel(0.2);
  clock.now = 5000;
  wheel(0.3);
  store.undo();
  assert.equal(store.get().document.objects[0].granularity, 0.2);
  store.undo();
  assert.equal(store.get().document.objects[0].granularity, 0);
});

test("a step after an undo never merges with what was taken back", () => {
  const { store } = fresh();
  add(store, "a");
  const wheel = (granularity) => store.dispatch("granularity", (draft) => void (activeObject(draft).granularity = granularity), { merge: "g" });
  wheel(0.1);
  store.undo();
  wheel(0.2);
  store.undo();
  assert.equal(store.get().document.objects[0].granularity, 0);
});

test("each image has its own history, and gets it back", () => {
  const { store } = fresh();
  add(store, "a");
  store.open({ name: "b.jpg", width: 10, height: 10 });
  assert.deepEqual(names(store), []);
  assert.equal(store.get().canUndo, false);
  store.open(photo);
  assert.deepEqual(names(store), ["a"]);
  store.undo();
  assert.deepEqual(names(store), []);
});

test("a session's document replaces what was known of the image", () => {
  const { store } = fresh();
  add(store, "a");
  const saved = copy(store.get().document);
  saved.objects[0].name = "saved";
  store.open(photo, saved);
  assert.deepEqual(names(store), ["saved"]);
  saved.objects[0].name = "changed outside";
  assert.deepEqual(names(store), ["saved"]);
});

test("a patch is no step", () => {
  const { store } = fresh();
  add(store, "a");
  store.patch((draft) => void (draft.objects[0].result = { score: 1, area: 5, box: null }));
  assert.equal(store.get().document.objects[0].result.area, 5);
  store.undo();
  assert.deepEqual(names(store), []);
  assert.equal(store.get().canUndo, false);
});

test("the history is bounded", () => {
  const { store } = fresh();
  for (let step = 0; step < HISTORY + 20; step++) add(store, String(step));
  let undone = 0;
  while (store.undo() !== null) undone++;
  assert.equal(undone, HISTORY);
});

test("copies share the bytes of masks and nothing else", () => {
  const mask = { width: 1, height: 1, data: new Uint8Array([255]) };
  const value = { list: [{ mask }] };
  const other = copy(value);
  assert.notEqual(other.list[0].mask, mask);
  assert.equal(other.list[0].mask.data, mask.data);
});

test("what a step leaves alone is the same object before and after", () => {
  const { store } = fresh();
  add(store, "a");
  store.dispatch("scribble", (draft) => void draft.objects[0].prompts.scribbles.push({ points: [[1, 2], [3, 4]], width: 2, positive: true }));
  add(store, "b");
  const before = store.get().document;
  store.dispatch("click", (draft) => void activeObject(draft).prompts.points.push({ x: 1, y: 2, positive: true }));
  const after = store.get().document;
  assert.equal(after.objects[0], before.objects[0]);
  assert.notEqual(after.objects[1], before.objects[1]);
  assert.equal(after.objects[1].prompts.boxes, before.objects[1].prompts.boxes);
  store.dispatch("delete", (draft) => void draft.objects.splice(0, 1));
  assert.deepEqual(names(store), ["b"]);
  assert.deepEqual(store.get().document.objects[0], after.objects[1]);
});

test("a shorter or longer list is not taken for the old one", () => {
  assert.deepEqual(shared([1, 2], [1]), [1]);
  assert.deepEqual(shared({ a: [1] }, { a: [1, 2] }), { a: [1, 2] });
  assert.deepEqual(shared({ a: { x: 1, y: 2 } }, { a: { x: 1 } }), { a: { x: 1 } });
  assert.deepEqual(shared({ a: [] }, { a: {} }), { a: {} });
});

test("objects get free colours and ever new ids", () => {
  const { store } = fresh();
  for (const _ of COLOURS) add(store);
  assert.equal(new Set(store.get().document.objects.map(({ colour }) => colour)).size, COLOURS.length);
  store.dispatch("delete", (draft) => void draft.objects.splice(2, 1));
  add(store);
  const { objects } = store.get().document;
  assert.equal(objects.at(-1).colour, COLOURS[2]);
  assert.equal(new Set(objects.map(({ id }) => id)).size, objects.length);
});

test("listeners hear what changed, and nothing when nothing did", () => {
  const { store } = fresh();
  const heard = [];
  const stop = store.subscribe((_, change) => heard.push(change));
  store.setView({ tool: "box" });
  store.setView({ tool: "box" });
  add(store, "a");
  store.undo();
  stop();
  store.redo();
  assert.deepEqual(heard.map(({ reason }) => reason), ["view", "dispatch", "undo"]);
  assert.deepEqual(heard[0].view, ["tool"]);
});
