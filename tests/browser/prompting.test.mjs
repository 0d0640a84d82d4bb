// Clicks, boxes, strokes, and what becomes of them.

import assert from "node:assert/strict";
import { test } from "node:test";

import { scene } from "./lib/images.mjs";
import { browserForTests } from "./lib/page.mjs";

const chrome = browserForTests({ webgpu: false });
const photo = scene(480, 360);

/** A page with the photo open. */
async function ready(t, options) {
  const visit = await chrome.visit(t, options);
  await visit.open(photo);
  return visit;
}

/** @param {import("./lib/page.mjs").Visit} visit */
async function prompts(visit, index = 0) {
  return (await visit.document()).objects[index]?.prompts;
}

/** @param {number} value @param {number} wanted */
const near = (value, wanted, by = 2) => assert.ok(Math.abs(value - wanted) <= by, `${value} is not near ${wanted}`);

test("a click adds, Shift and the right button subtract, and the mask follows", async (t) => {
  const visit = await ready(t);
  await visit.click(240, 180);
  const [point] = (await prompts(visit)).points;
  assert.equal(point.positive, true);
  near(point.x, 240);
  near(point.y, 180);
  const first = Object.values(await visit.masks())[0];
  assert.ok(first.area > 0, "the mask is empty");
  assert.deepEqual([first.width, first.height], [480, 360]);
  await visit.click(100, 60, { shift: true });
  await visit.click(400, 300, { button: "right" });
  assert.deepEqual((await prompts(visit)).points.map(({ positive }) => positive), [true, false, false]);
  const { objects } = await visit.document();
  assert.equal(objects.length, 1);
  assert.equal(objects[0].result.area, Object.values(await visit.masks())[0].area);
  await visit.screenshot("three-clicks");
  // A click on a mark takes it away.
  await visit.click(100, 60);
  assert.equal((await prompts(visit)).points.length, 2);
});

test("a drag draws a box", async (t) => {
  const visit = await ready(t);
  await visit.drag([[120, 70], [360, 290]]);
  const { boxes, points } = await prompts(visit);
  assert.equal(points.length, 0);
  assert.equal(boxes.length, 1);
  near(boxes[0].x0, 120);
  near(boxes[0].y1, 290);
  const { result } = (await visit.document()).objects[0];
  assert.equal(result.area, Object.values(await visit.masks())[0].area);
  await visit.screenshot("box");
});

test("the brush draws strokes of either sign", async (t) => {
  const visit = await ready(t);
  await visit.page.keyboard.press("b");
  assert.equal((await visit.view()).tool, "brush");
  await visit.drag([[180, 180], [240, 150], [300, 200]]);
  await visit.drag([[40, 40], [120, 60]], { button: "right" });
  const { scribbles } = await prompts(visit);
  assert.deepEqual(scribbles.map(({ positive }) => positive), [true, false]);
  assert.ok(scribbles[0].points.length >= 2 && scribbles[0].width > 0);
  const { brush } = await visit.view();
  await visit.page.keyboard.press("]");
  assert.ok((await visit.view()).brush > brush);
  await visit.screenshot("brush");
});

test("clicks, a box and a stroke of one object go together", async (t) => {
  const visit = await ready(t);
  await visit.drag([[120, 70], [360, 290]]);
  await visit.click(240, 180);
  await visit.click(440, 20, { shift: true });
  await visit.by("tool-brush").click();
  await visit.drag([[200, 180], [280, 180]]);
  const { points, boxes, scribbles } = await prompts(visit);
  assert.deepEqual([points.length, boxes.length, scribbles.length], [2, 1, 1]);
  assert.equal((await visit.document()).objects.length, 1);
});

test("hovering shows a mask before the click, and leaves no trace", async (t) => {
  const visit = await ready(t);
  await visit.page.evaluate(() => {
    const { viewport } = globalThis.rmae;
    globalThis.previews = [];
    const set = viewport.setPreview;
    viewport.setPreview = (art) => (globalThis.previews.push(Boolean(art)), set(art));
  });
  const [x, y] = await visit.at(240, 180);
  await visit.page.mouse.move(x, y, { steps: 4 });
  await visit.page.waitForFunction(() => globalThis.previews.includes(true));
  await visit.screenshot("hover");
  assert.deepEqual((await visit.document()).objects, []);
  await visit.page.mouse.move(5, 5);
  await visit.page.waitForFunction(() => globalThis.previews.at(-1) === false);
});

test("the wheel goes from part to whole", async (t) => {
  const visit = await ready(t);
  await visit.click(240, 180);
  for (const [x, y] of [[20, 20], [460, 20], [20, 340], [460, 340]]) await visit.click(x, y, { shift: true });
  await visit.page.evaluate(() => {
    const { segmenter } = globalThis.rmae;
    const inner = segmenter.predict.bind(segmenter);
    globalThis.asked = [];
    segmenter.predict = (prompts, options) => (globalThis.asked.push(options.granularity), inner(prompts, options));
  });
  const areas = [];
  for (const delta of [-1200, 2400]) {
    await visit.page.mouse.wheel(0, delta);
    await visit.page.waitForFunction((wanted) => globalThis.rmae.store.get().document.objects[0].granularity === wanted, -Math.sign(delta));
    await visit.settled();
    areas.push((await visit.document()).objects[0].result.area);
  }
  const asked = await visit.page.evaluate(() => globalThis.asked);
  assert.ok(asked.includes(1) && asked.includes(-1), `the model was asked for ${asked}`);
  t.diagnostic(`whole ${areas[0]} pixels, part ${areas[1]}`);
  assert.ok(areas[0] >= areas[1], `whole ${areas[0]}, part ${areas[1]}`);
});

test("objects: new, number keys, rename, hide, reorder, delete", async (t) => {
  const visit = await ready(t);
  await visit.click(240, 180);
  await visit.page.keyboard.press("n");
  await visit.click(60, 60);
  await visit.page.keyboard.press("n");
  await visit.click(420, 320);
  const names = async () => (await visit.document()).objects.map(({ name }) => name);
  assert.equal((await names()).length, 3);
  const colours = new Set((await visit.document()).objects.map(({ colour }) => colour));
  assert.equal(colours.size, 3, "objects share a colour");

  await visit.page.keyboard.press("1");
  const first = (await visit.document()).objects[0];
  assert.equal((await visit.document()).activeId, first.id);
  await visit.click(250, 190);
  assert.equal((await prompts(visit, 0)).points.length, 2);

  await visit.page.keyboard.press("F2");
  await visit.page.keyboard.type("Disc");
  await visit.page.keyboard.press("Enter");
  assert.equal((await names())[0], "Disc");
  assert.match(await visit.by("object-1").textContent(), /Disc/);

  await visit.by("object-1").getByRole("button", { name: /^Hide/ }).click();
  assert.equal((await visit.document()).objects[0].visible, false);
  await visit.by("object-1").getByRole("button", { name: /^Move down/ }).click();
  assert.equal((await names())[1], "Disc");
  await visit.screenshot("objects");
  await visit.by("object-2").getByRole("button", { name: /^Delete/ }).click();
  assert.ok(!(await names()).includes("Disc"));
  assert.equal((await names()).length, 2);
});

test("everything can be undone and done again", async (t) => {
  const visit = await ready(t);
  const states = [];
  const remember = async () => states.push(JSON.stringify((await visit.document()).objects.map(({ result, ...rest }) => rest)));
  await remember();
  await visit.click(240, 180);
  await remember();
  await visit.drag([[120, 70], [360, 290]]);
  await remember();
  await visit.page.keyboard.press("n");
  await remember();
  await visit.click(60, 60, { shift: false });
  await remember();
  await visit.page.keyboard.press("Delete");
  await remember();
  const masksBefore = await visit.masks();

  for (let step = states.length - 2; step >= 0; step--) {
    await (step % 2 ? visit.by("undo").click() : visit.page.keyboard.press("Control+z"));
    await visit.settled();
    assert.equal(JSON.stringify((await visit.document()).objects.map(({ result, ...rest }) => rest)), states[step], `undo to ${step}`);
  }
  assert.deepEqual(await visit.masks(), {}, "masks are left after undoing everything");
  assert.equal(await visit.by("undo").isDisabled(), true);
  for (let step = 1; step < states.length; step++) {
    await (step % 2 ? visit.by("redo").click() : visit.page.keyboard.press("Control+Shift+z"));
    await visit.settled();
    assert.equal(JSON.stringify((await visit.document()).objects.map(({ result, ...rest }) => rest)), states[step], `redo to ${step}`);
  }
  assert.deepEqual(await visit.masks(), masksBefore, "masks after redoing differ");
});

test("zoom and pan: wheel, space, keys, fit and actual size", async (t) => {
  const visit = await ready(t);
  const fitted = await visit.view();
  const [x, y] = await visit.at(120, 90);
  await visit.page.mouse.move(x, y);
  await visit.page.keyboard.down("Control");
  await visit.page.mouse.wheel(0, -300);
  await visit.page.keyboard.up("Control");
  await visit.page.waitForFunction((zoom) => globalThis.rmae.store.get().view.zoom > zoom, fitted.zoom);
  const [ax, ay] = await visit.at(120, 90);
  near(ax, x);
  near(ay, y);
  const zoomed = await visit.view();
  await visit.page.keyboard.down("Space");
  await visit.page.mouse.down();
  await visit.page.mouse.move(x - 60, y - 40, { steps: 4 });
  await visit.page.mouse.up();
  await visit.page.keyboard.up("Space");
  const panned = await visit.view();
  near(panned.panX, zoomed.panX - 60);
  near(panned.panY, zoomed.panY - 40);
  assert.deepEqual((await visit.document()).objects, [], "panning made a prompt");
  // The prompt still lands where it is seen.
  await visit.click(150, 110);
  near((await prompts(visit)).points[0].x, 150);
  await visit.page.keyboard.press("0");
  near((await visit.view()).zoom, 1, 0.001);
  await visit.page.keyboard.press("f");
  near((await visit.view()).zoom, fitted.zoom, 0.001);
});

test("the keyboard alone: photo, clicks, box, stroke, undo", async (t) => {
  const visit = await chrome.visit(t);
  const { keyboard } = visit.page;
  // From the top of the page to the gallery's first photo, by Tab only.
  await visit.by("gallery-item-0").waitFor();
  for (let presses = 0; ; presses++) {
    assert.ok(presses < 60, "the gallery cannot be reached by Tab");
    await keyboard.press("Tab");
    if (await visit.page.evaluate(() => document.activeElement?.dataset.testid === "gallery-item-0")) break;
  }
  await keyboard.press("Enter");
  await visit.page.waitForFunction(() => globalThis.rmae.store.get().document.image);
  await visit.settled();
  for (let presses = 0; ; presses++) {
    assert.ok(presses < 60, "the canvas cannot be reached by Tab");
    if (await visit.page.evaluate(() => document.activeElement?.dataset.testid === "canvas")) break;
    await keyboard.press("Tab");
  }
  await keyboard.press("ArrowLeft");
  await keyboard.press("Enter");
  await keyboard.press("Shift+ArrowDown");
  await keyboard.press("Shift+Enter");
  await visit.settled();
  assert.deepEqual((await prompts(visit)).points.map(({ positive }) => positive), [true, false]);
  await keyboard.press("x");
  await keyboard.press("Enter");
  await keyboard.press("Shift+ArrowRight");
  await keyboard.press("Shift+ArrowDown");
  await keyboard.press("Enter");
  await visit.settled();
  assert.equal((await prompts(visit)).boxes.length, 1);
  await keyboard.press("b");
  await keyboard.down("Enter");
  await keyboard.press("ArrowRight");
  await keyboard.press("ArrowRight");
  await keyboard.up("Enter");
  await visit.settled();
  assert.equal((await prompts(visit)).scribbles.length, 1);
  await visit.screenshot("keyboard");
  await keyboard.press("Control+z");
  assert.equal((await prompts(visit)).scribbles.length, 0);
});

test("screen readers are told what happens", async (t) => {
  const visit = await ready(t);
  const heard = () => visit.page.evaluate(() => [...document.querySelectorAll("[aria-live], [role=status]")].map((element) => element.textContent).join(" | "));
  await visit.click(240, 180);
  assert.match(await heard(), /240, 1[78]\d|Added/);
  const label = await visit.by("canvas").getAttribute("aria-label");
  assert.match(label, /photo\.png/);
  await visit.page.keyboard.press("b");
  assert.match(await heard(), /brush/i);
  assert.equal(await visit.by("status").getAttribute("role"), "status");
});

test("touch at 390 pixels: tap, box, pinch, and nothing is wider than the screen", async (t) => {
  const visit = await ready(t, { touch: true });
  const [x, y] = await visit.at(240, 180);
  await visit.page.touchscreen.tap(x, y);
  await visit.settled();
  assert.equal((await prompts(visit)).points.length, 1);
  assert.ok(Object.values(await visit.masks())[0].area > 0);
  await visit.screenshot("phone-click");

  const before = await visit.view();
  const session = await visit.context.newCDPSession(visit.page);
  const touch = (type, points) => session.send("Input.dispatchTouchEvent", { type, touchPoints: points.map(([px, py], id) => ({ x: px, y: py, id })) });
  await touch("touchStart", [[x - 30, y], [x + 30, y]]);
  for (const spread of [45, 60, 80, 100]) await touch("touchMove", [[x - spread, y], [x + spread, y]]);
  await touch("touchEnd", []);
  assert.ok((await visit.view()).zoom > 1.8 * before.zoom, "pinching did not zoom");
  assert.equal((await prompts(visit)).points.length, 1, "pinching made a prompt");

  await visit.by("tool-box").click();
  const corners = await Promise.all([visit.at(200, 150), visit.at(280, 210)]);
  await touch("touchStart", [corners[0]]);
  await touch("touchMove", [[(corners[0][0] + corners[1][0]) / 2, corners[1][1]]]);
  await touch("touchMove", [corners[1]]);
  await touch("touchEnd", []);
  await visit.settled();
  assert.equal((await prompts(visit)).boxes.length, 1);
  const wide = await visit.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(wide <= 0, `the page is ${wide} pixels wider than the screen`);
});
