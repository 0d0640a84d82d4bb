// Plain geometry: how a photo lies on the stage, and lines with fewer points. No DOM, so that Node can test it.

/** @typedef {{ zoom: number, panX: number, panY: number }} Placement screen = image * zoom + pan, in CSS pixels */
/** @typedef {{ width: number, height: number }} Size */

export const MAX_ZOOM = 40;

/** @param {number} value @param {number} low @param {number} high */
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/**
 * The whole photo, in the middle of what is free. Small ones are enlarged at most four times.
 * @param {Size} stage @param {Size} image @param {number} [margin] @param {number} [below] kept free for controls
 * @returns {Placement}
 */
export function fit(stage, image, margin = 24, below = 0) {
  const free = { width: stage.width, height: Math.max(stage.height - below, stage.height / 2) };
  const room = (/** @type {number} */ side) => Math.max(side - 2 * margin, side / 2, 1);
  const zoom = Math.min(room(free.width) / image.width, room(free.height) / image.height, Math.max(4, 64 / Math.max(image.width, image.height)));
  return centred(free, image, zoom);
}

/** @param {Size} stage @param {Size} image @param {number} zoom @returns {Placement} */
export function centred(stage, image, zoom) {
  return { zoom, panX: (stage.width - image.width * zoom) / 2, panY: (stage.height - image.height * zoom) / 2 };
}

/**
 * Zooms so that what is at (x, y) on the stage stays there.
 * @param {Placement} placement @param {number} factor @param {number} x @param {number} y @param {number} least the smallest zoom
 * @returns {Placement}
 */
export function zoomAround({ zoom, panX, panY }, factor, x, y, least) {
  const next = clamp(zoom * factor, least, MAX_ZOOM);
  const ratio = next / zoom;
  return { zoom: next, panX: x - (x - panX) * ratio, panY: y - (y - panY) * ratio };
}

/**
 * Keeps some of the photo on the stage, and a photo that is smaller than the stage wholly on it.
 * @param {Placement} placement @param {Size} stage @param {Size} image @returns {Placement}
 */
export function keepVisible({ zoom, panX, panY }, stage, image) {
  const axis = (/** @type {number} */ pan, /** @type {number} */ room, /** @type {number} */ side) =>
    side <= room ? clamp(pan, 0, room - side) : clamp(pan, room - side - room / 2, room / 2);
  return { zoom, panX: axis(panX, stage.width, image.width * zoom), panY: axis(panY, stage.height, image.height * zoom) };
}

/** @param {Placement} placement @param {number} x @param {number} y on the stage @returns {[number, number]} image pixels */
export const toImage = ({ zoom, panX, panY }, x, y) => [(x - panX) / zoom, (y - panY) / zoom];

/** @param {Placement} placement @param {number} x @param {number} y image pixels @returns {[number, number]} on the stage */
export const toScreen = ({ zoom, panX, panY }, x, y) => [x * zoom + panX, y * zoom + panY];

/** @param {number} x @param {number} y @param {Size} image @returns {[number, number]} the nearest place on the photo */
export const onto = (x, y, { width, height }) => [clamp(x, 0, width), clamp(y, 0, height)];

/** @param {number} x @param {number} y @param {Size} image */
export const inside = (x, y, { width, height }) => x >= 0 && y >= 0 && x < width && y < height;

/** @param {[number, number]} a @param {[number, number]} b @returns {import("./store.js").Box} */
export function boxOf([ax, ay], [bx, by]) {
  return { x0: Math.min(ax, bx), y0: Math.min(ay, by), x1: Math.max(ax, bx), y1: Math.max(ay, by) };
}

/**
 * A line with fewer points, none of the old ones farther than `tolerance` from it (Douglas and Peucker).
 * @param {[number, number][]} points @param {number} tolerance @returns {[number, number][]}
 */
export function simplify(points, tolerance) {
  if (points.length < 3) return points;
  const keep = new Uint8Array(points.length);
  keep[0] = keep[points.length - 1] = 1;
  const spans = [[0, points.length - 1]];
  while (spans.length) {
    const [first, last] = /** @type {[number, number]} */ (spans.pop());
    const [far, distance] = farthest(points, first, last);
    if (distance <= tolerance) continue;
    keep[far] = 1;
    spans.push([first, far], [far, last]);
  }
  return points.filter((_, index) => keep[index]);
}

/** @param {[number, number][]} points @param {number} first @param {number} last @returns {[number, number]} index and distance */
function farthest(points, first, last) {
  let [far, most] = [first, -1];
  for (let index = first + 1; index < last; index++) {
    const distance = fromSegment(points[index], points[first], points[last]);
    if (distance > most) [far, most] = [index, distance];
  }
  return [far, most];
}

/** @param {[number, number]} p @param {[number, number]} a @param {[number, number]} b */
export function fromSegment([px, py], [ax, ay], [bx, by]) {
  const [dx, dy] = [bx - ax, by - ay];
  const along = dx || dy ? clamp(((px - ax) * dx + (py - ay) * dy) / (dx * dx + dy * dy), 0, 1) : 0;
  return Math.hypot(px - ax - along * dx, py - ay - along * dy);
}
