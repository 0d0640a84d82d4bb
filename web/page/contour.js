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
