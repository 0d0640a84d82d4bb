import assert from "node:assert/strict";
import { test } from "node:test";
import { contours, thinned } from "../contour.js";
import { fromSegment } from "../geometry.js";

/** @param {string[]} rows "#" is in */
function mask(...rows) {
  return /** @type {const} */ ([Uint8Array.from(rows.join(""), (cell) => (cell === "#" ? 255 : 0)), rows[0].length, rows.length]);
}

/** Twice the signed area. @param {Float32Array} line */
function area(line) {
  let sum = 0;
  for (let index = 0; index < line.length; index += 2) {
    const next = (index + 2) % line.length;
    sum += line[index] * line[next + 1] - line[next] * line[index + 1];
  }
  return sum / 2;
}

test("nothing has no outline", () => {
  assert.deepEqual(contours(...mask("...", "...")), []);
});

test("a rectangle has one outline with cut corners", () => {
  const [line, ...more] = contours(...mask("......", ".####.", ".####.", "......"));
  assert.equal(more.length, 0);
  assert.equal(line.length, 16);
  assert.equal(Math.abs(area(line)), 8 - 4 * 0.125);
});

test("a hole is a line of its own, the other way round", () => {
  const lines = contours(...mask("#####", "#...#", "#...#", "#####"));
  assert.equal(lines.length, 2);
  assert.ok(area(lines[0]) * area(lines[1]) < 0);
});

test("the border of the image is an outline too", () => {
  const [line] = contours(...mask("##", "##"));
  assert.equal(Math.max(...line), 2);
  assert.equal(Math.min(...line), 0);
});

test("pixels that touch at a corner stay apart", () => {
  assert.equal(contours(...mask("#.", ".#")).length, 2);
  assert.equal(contours(...mask(".#", "#.")).length, 2);
});

test("outer areas less holes are the number of pixels, but for the corners", () => {
  // A fixed pattern without symmetry.
  const [width, height] = [37, 23];
  const data = Uint8Array.from({ length: width * height }, (_, index) => ((index * 7919) % 101 < 60 ? 255 : 0));
  const lines = contours(data, width, height);
  const pixels = data.filter(Boolean).length;
  // Convex corners lose an eighth, concave ones gain it: sum over all corners by their turn.
  let corners = 0;
  for (const line of lines) corners += turns(line);
  assert.ok(Math.abs(lines.reduce((sum, line) => sum + area(line), 0) - (pixels - corners / 8)) < 1e-3);
});

test("thinning keeps the shape and drops most points", () => {
  const side = 200;
  const disc = Uint8Array.from({ length: side * side }, (_, index) => (Math.hypot((index % side) - 100, Math.floor(index / side) - 100) < 80 ? 1 : 0));
  const [line] = contours(disc, side, side);
  const fewer = thinned(line, 0.3);
  assert.ok(fewer.length < line.length / 3, `${fewer.length} of ${line.length}`);
  assert.ok(Math.abs(area(fewer) / area(line) - 1) < 0.005);
  const points = Array.from({ length: fewer.length / 2 }, (_, index) => [fewer[2 * index], fewer[2 * index + 1]]);
  for (let index = 0; index < line.length; index += 2) {
    const away = Math.min(...points.map((point, at) => fromSegment([line[index], line[index + 1]], point, points[(at + 1) % points.length])));
    assert.ok(away <= 0.3 + 1e-4, `${away}`);
  }
});

/** Convex less concave corners of a closed line of axis-parallel edges whose corners were cut. @param {Float32Array} line */
function turns(line) {
  let sum = 0;
  for (let index = 0; index < line.length; index += 4) {
    const [ax, ay, bx, by] = line.slice(index, index + 4);
    const previous = (index + line.length - 2) % line.length;
    // Way in: from the point before to the first of the pair; cut points of neighbours may coincide.
    const [px, py] = [line[previous], line[previous + 1]];
    const corner = cornerOf(ax, ay, bx, by);
    const [inX, inY] = [Math.sign(corner[0] - ax), Math.sign(corner[1] - ay)];
    const [outX, outY] = [Math.sign(bx - corner[0]), Math.sign(by - corner[1])];
    assert.ok(Number.isFinite(px + py));
    sum += Math.sign(inX * outY - inY * outX);
  }
  return sum;
}

/** The corner is where the lines through the two points meet: whole in both coordinates. */
function cornerOf(ax, ay, bx, by) {
  return [Number.isInteger(ax) ? ax : bx, Number.isInteger(ay) ? ay : by];
}
