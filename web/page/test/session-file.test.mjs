import assert from "node:assert/strict";
import { test } from "node:test";

import { BadSession, FORMAT, VERSION, photoInside, readSession, writeSession } from "../session-file.js";

const photo = { sha256: "ab".repeat(32), bytes: 12345, type: "image/jpeg" };

function made() {
  const mask = { width: 4, height: 3, data: Uint8Array.of(0, 255, 255, 0, 0, 0, 255, 0, 0, 0, 0, 255) };
  return {
    image: { name: "Katze 猫.jpg", width: 4, height: 3, key: "only for this visit" },
    objects: [
      { id: 7, name: "Cat", colour: "#ff7043", visible: true, granularity: -0.5, result: { score: 0.9, area: 4, box: null },
        prompts: { points: [{ x: 1.5, y: 2, positive: true, radius: 9 }, { x: 0, y: 0, positive: false }], boxes: [{ x0: 0, y0: 0, x1: 3, y1: 2 }], scribbles: [], mask } },
      { id: 9, name: "", colour: "#29b6f6", visible: false, granularity: 0, result: null,
        prompts: { points: [], boxes: [], scribbles: [{ points: [[0, 0], [1, 2.25]], width: 3, positive: false }], mask: null } },
    ],
    activeId: 9, nextId: 12,
  };
}

test("a session comes back as it was", () => {
  const before = made();
  const { document, photo: back } = readSession(writeSession(before, photo));
  assert.deepEqual(back, { ...photo, data: undefined });
  assert.deepEqual(document.image, { name: "Katze 猫.jpg", width: 4, height: 3 });
  assert.equal(document.activeId, 2);
  assert.equal(document.nextId, 3);
  assert.deepEqual(document.objects.map(({ id, result, ...kept }) => kept), before.objects.map(({ id, result, ...kept }) => kept));
  assert.deepEqual(document.objects.map(({ id }) => id), [1, 2], "numbered anew");
});

test("the photo may be inside", async () => {
  const bytes = Uint8Array.from({ length: 2_000_003 }, (_, i) => (i * 7) & 255);
  const blob = await photoInside({ ...photo, data: Buffer.from(bytes).toString("base64") });
  assert.equal(blob.type, "image/jpeg");
  assert.ok(Buffer.compare(Buffer.from(await blob.arrayBuffer()), bytes) === 0);
  assert.equal(await photoInside(photo), null);
  await assert.rejects(photoInside({ ...photo, data: "*" }), BadSession);
  assert.equal(readSession(writeSession(made(), { ...photo, data: "AAEC" })).photo.data, "AAEC");
  assert.throws(() => writeSession({ ...made(), image: null }, photo), BadSession);
});

/** A session with one thing changed. */
function broken(change) {
  const file = JSON.parse(writeSession(made(), photo));
  change(file);
  return JSON.stringify(file);
}

test("bad files are refused with the place that is wrong", () => {
  const cases = [
    ["{", /damaged/], ["", /damaged/], ["null", /not a session/], ['{"a":1}', /not a session/], ["[]", /not a session/],
    [broken((f) => (f.version = VERSION + 1)), /newer version/], [broken((f) => delete f.version), /version/],
    [broken((f) => delete f.image), /“image”/], [broken((f) => (f.image.width = -3)), /image\.width/], [broken((f) => (f.image.name = 7)), /image\.name/],
    [broken((f) => (f.objects = {})), /“objects”/], [broken((f) => (f.objects[0].prompts.points[1].x = "0")), /objects\[0\]\.prompts\.points\[1\]\.x/],
    [broken((f) => (f.objects[0].prompts.boxes[0].y1 = null)), /boxes\[0\]\.y1/], [broken((f) => (f.objects[1].prompts.scribbles[0].points[0] = [1])), /scribbles\[0\]\.points\[0\]/],
    [broken((f) => f.objects[0].prompts.mask.runs.push(5)), /mask\.runs/], [broken((f) => (f.objects[0].prompts.mask.width = 1e9)), /mask\.width/],
    [broken((f) => (f.objects = new Array(5000).fill(f.objects[0]))), /at most/],
  ];
  for (const [text, reason] of cases) assert.throws(() => readSession(text), (error) => error instanceof BadSession && reason.test(error.message), `${text.slice(0, 60)} ${reason}`);
});

test("what can be mended is", () => {
  const { document } = readSession(broken((f) => ((f.objects[0].colour = "url(javascript:1)"), (f.objects[0].granularity = 5), (f.active = 99))));
  assert.match(document.objects[0].colour, /^#[0-9a-f]{6}$/);
  assert.equal(document.objects[0].granularity, 1);
  assert.equal(document.activeId, null);
  assert.equal(FORMAT, "rmae-session");
});
