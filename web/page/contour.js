// The outline of a mask: the border between what is in and what is out, along the pixels' edges, with
// corners cut to the middle of each edge, so that a slope looks like one. No DOM.

/**
 * Closed lines around the mask and its holes. Straight runs have no points between their ends.
 * @param {Uint8Array} data non-zero is in, row-major @param {number} width @param {number} height
 * @returns {Float32Array[]} each x, y, x, y … in pixels of the mask
 */
export function contours(data, width, height) {
  const links = edges(data, width, height);
  const lines = [];
  for (const start of links.keys()) {
    while (links.has(start)) lines.push(cutCorners(follow(links, start, width + 1)));
  }
  return lines;
}

/**
 * Unit edges with the mask on their right, from corner to corner; a corner where two pixels touch has two.
 * @param {Uint8Array} data @param {number} width @param {number} height @returns {Map<number, number[]>}
 */
function edges(data, width, height) {
  const links = new Map();
  const stride = width + 1;
  const add = (/** @type {number} */ from, /** @type {number} */ to) => {
    const there = links.get(from);
    if (there) there.push(to);
    else links.set(from, [to]);
  };
  for (let y = 0; y <= height; y++) {
    for (let x = 0; x <= width; x++) {
      const here = x < width && y < height && data[y * width + x] !== 0;
      const above = x < width && y > 0 && data[(y - 1) * width + x] !== 0;
      const left = x > 0 && y < height && data[y * width + x - 1] !== 0;
      const corner = y * stride + x;
      if (here !== above) here ? add(corner, corner + 1) : add(corner + 1, corner);
      if (here !== left) here ? add(corner + stride, corner) : add(corner, corner + stride);
    }
  }
  return links;
}

/** @param {Map<number, number[]>} links @param {number} start @param {number} stride @returns {number[]} corners x, y … without straight ones */
function follow(links, start, stride) {
  const line = [];
  let [at, last] = [start, 0];
  do {
    const ways = /** @type {number[]} */ (links.get(at));
    // Where pixels touch at a corner only, keep them apart: turn right.
    const way = ways.length > 1 ? ways.findIndex((to) => to - at === rightOf(last, stride)) : 0;
    const [next] = ways.splice(Math.max(way, 0), 1);
    if (ways.length === 0) links.delete(at);
    if (next - at !== last) line.push(at % stride, Math.floor(at / stride));
    [last, at] = [next - at, next];
  } while (at !== start);
  return line;
}

/** @param {number} step @param {number} stride */
const rightOf = (step, stride) => (step === 1 ? stride : step === stride ? -1 : step === -1 ? -stride : 1);

/**
 * Replaces each corner by two points at most half a pixel from it: stairs become slopes, straight sides stay.
 * @param {number[]} line @returns {Float32Array}
 */
function cutCorners(line) {
  const count = line.length / 2;
  const cut = new Float32Array(line.length * 2);
  for (let index = 0; index < count; index++) {
    const [x, y] = [line[2 * index], line[2 * index + 1]];
    const before = (index + count - 1) % count;
    const after = (index + 1) % count;
    cut[4 * index] = x + 0.5 * Math.sign(line[2 * before] - x);
    cut[4 * index + 1] = y + 0.5 * Math.sign(line[2 * before + 1] - y);
    cut[4 * index + 2] = x + 0.5 * Math.sign(line[2 * after] - x);
    cut[4 * index + 3] = y + 0.5 * Math.sign(line[2 * after + 1] - y);
  }
  return cut;
}

/**
 * A closed line with fewer points, none of the old ones farther than `tolerance` from it (Douglas and
 * Peucker, from the first point to the one farthest from it and back).
 * @param {Float32Array} line @param {number} tolerance @returns {Float32Array}
 */
export function thinned(line, tolerance) {
  const count = line.length / 2;
  if (count < 8) return line;
  const keep = new Uint8Array(count + 1);
  let opposite = 1;
  for (let index = 2; index < count; index++) if (distance2(line, index, 0) > distance2(line, opposite, 0)) opposite = index;
  keep[0] = keep[opposite] = 1;
  const spans = [0, opposite, opposite, count];
  while (spans.length) {
    const [last, first] = [/** @type {number} */ (spans.pop()), /** @type {number} */ (spans.pop())];
    const far = farthest(line, first, last, tolerance);
    if (far < 0) continue;
    keep[far] = 1;
    spans.push(first, far, far, last);
  }
  return line.filter((_, index) => keep[index >> 1]);
}

/** @param {Float32Array} line @param {number} a @param {number} b indices of points */
const distance2 = (line, a, b) => (line[2 * a] - line[2 * b]) ** 2 + (line[2 * a + 1] - line[2 * b + 1]) ** 2;

/**
 * The point between two that is farthest from the straight line through them, or -1 when all are near.
 * @param {Float32Array} line @param {number} first @param {number} last may be one past the end: the first point again
 * @param {number} tolerance
 */
function farthest(line, first, last, tolerance) {
  const end = 2 * last === line.length ? 0 : last;
  const [x, y] = [line[2 * first], line[2 * first + 1]];
  const [dx, dy] = [line[2 * end] - x, line[2 * end + 1] - y];
  const length = Math.hypot(dx, dy);
  let [far, most] = [-1, tolerance];
  for (let index = first + 1; index < last; index++) {
    const [px, py] = [line[2 * index] - x, line[2 * index + 1] - y];
    const away = length > 0 ? Math.abs(px * dy - py * dx) / length : Math.hypot(px, py);
    if (away > most) [far, most] = [index, away];
  }
  return far;
}
