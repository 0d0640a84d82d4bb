import assert from "node:assert/strict";
import { test } from "node:test";
import { boxOf, fit, fromSegment, inside, keepVisible, MAX_ZOOM, onto, simplify, toImage, toScreen, zoomAround } from "../geometry.js";

const stage = { width: 800, height: 600 };
const near = (actual, expected, slack = 1e-9) => assert.ok(Math.abs(actual - expected) <= slack, `${actual} is not ${expected}`);

for (const image of [{ width: 4000, height: 3000 }, { width: 300, height: 3000 }, { width: 20000, height: 10 }, { width: 1, height: 1 }, { width: 640, height: 480 }]) {
  test(`${image.width} x ${image.height} fits above what is kept free`, () => {
    const placement = fit(stage, image, 20, 52);
    const [left, top] = toScreen(placement, 0, 0);
    const [right, bottom] = toScreen(placement, image.width, image.height);
    assert.ok(left >= 20 - 1e-9 && top >= 20 - 1e-9 && right <= 780 + 1e-9 && bottom <= 528 + 1e-9);
    near((left + right) / 2, 400);
    near((top + bottom) / 2, 274);
  });
}

test("small photos are enlarged four times at most", () => {
  assert.equal(fit(stage, { width: 100, height: 80 }).zoom, 4);
});

test("screen and image coordinates are inverse", () => {
  const placement = { zoom: 0.37, panX: -120.5, panY: 44 };
  const [x, y] = toImage(placement, ...toScreen(placement, 123.25, 456.5));
  near(x, 123.25);
  near(y, 456.5);
});

test("zooming keeps what is under the pointer", () => {
  const before = { zoom: 0.5, panX: 10, panY: 20 };
  const [x, y] = toImage(before, 300, 200);
  const after = zoomAround(before, 3, 300, 200, 0.01);
  near(after.zoom, 1.5);
  const [sx, sy] = toScreen(after, x, y);
  near(sx, 300);
  near(sy, 200);
});

test("zoom has limits, and at a limit nothing moves", () => {
  const most = zoomAround({ zoom: MAX_ZOOM, panX: 1, panY: 2 }, 2, 50, 50, 0.1);
  assert.deepEqual(most, { zoom: MAX_ZOOM, panX: 1, panY: 2 });
  assert.equal(zoomAround({ zoom: 0.2, panX: 0, panY: 0 }, 0.01, 0, 0, 0.1).zoom, 0.1);
});

test("a photo cannot be lost", () => {
  const image = { width: 1000, height: 1000 };
  for (const pan of [-1e6, 1e6]) {
    const { panX, panY } = keepVisible({ zoom: 2, panX: pan, panY: pan }, stage, image);
    assert.ok(panX < stage.width && panX + 2000 > 0 && panY < stage.height && panY + 2000 > 0);
    const small = keepVisible({ zoom: 0.1, panX: pan, panY: pan }, stage, image);
    assert.ok(small.panX >= 0 && small.panX + 100 <= stage.width && small.panY >= 0 && small.panY + 100 <= stage.height);
  }
});

test("places outside are brought onto the photo", () => {
  assert.deepEqual(onto(-5, 70, { width: 40, height: 30 }), [0, 30]);
  assert.equal(inside(40, 10, { width: 40, height: 30 }), false);
  assert.equal(inside(39.9, 0, { width: 40, height: 30 }), true);
});

test("a box has its corners in order", () => {
  assert.deepEqual(boxOf([30, 5], [10, 25]), { x0: 10, y0: 5, x1: 30, y1: 25 });
});

test("a line loses points and stays where it was", () => {
  const line = Array.from({ length: 200 }, (_, index) => /** @type {[number, number]} */ ([index, 10 * Math.sin(index / 15)]));
  const fewer = simplify(line, 0.5);
  assert.ok(fewer.length < 40, `${fewer.length} points`);
  assert.deepEqual([fewer[0], fewer.at(-1)], [line[0], line.at(-1)]);
  for (const point of line) {
    const distance = Math.min(...fewer.slice(1).map((end, index) => fromSegment(point, fewer[index], end)));
    assert.ok(distance <= 0.5, `${distance}`);
  }
});

test("a closed stroke keeps its far side", () => {
  assert.equal(simplify([[0, 0], [10, 0], [10, 10], [0, 0]], 1).length, 4);
});
