// Masks and labels as rows of pixels. Pure: no canvas, no page.

/** @typedef {{ width: number, height: number, data: Uint8Array }} Mask 0 or 255, row-major */

/** Any mask, over all of them. @param {Mask[]} masks @returns {Mask} */
export function union(masks) {
  if (masks.length === 1) return masks[0];
  const { width, height } = masks[0];
  const data = new Uint8Array(width * height);
  for (const mask of masks) {
    requireSize(mask, width, height);
    for (let i = 0; i < data.length; i++) data[i] |= mask.data[i];
  }
  return { width, height, data };
}

/** @param {Mask} mask @param {number} width @param {number} height */
function requireSize(mask, width, height) {
  if (mask.width !== width || mask.height !== height) throw new RangeError(`a mask of ${mask.width} × ${mask.height} among masks of ${width} × ${height}`);
}

/**
 * The smallest rectangle with every set pixel, or null for an empty mask.
 * @param {Mask} mask @returns {{ x: number, y: number, width: number, height: number } | null}
 */
export function boundingBox({ width, height, data }) {
  let [left, right, top, bottom] = [width, -1, -1, -1];
  for (let y = 0; y < height; y++) {
    const row = data.subarray(y * width, (y + 1) * width);
    const first = row.findIndex((value) => value > 0);
    if (first < 0) continue;
    if (top < 0) top = y;
    bottom = y;
    left = Math.min(left, first);
    right = Math.max(right, row.findLastIndex((value) => value > 0));
  }
  return right < 0 ? null : { x: left, y: top, width: right - left + 1, height: bottom - top + 1 };
}

/**
 * Opacity of `count` rows from `y`: the mask, with its edge softened over one pixel where asked.
 * @param {Mask} mask @param {number} y @param {number} count @param {boolean} soft
 */
export function alphaRows({ width, height, data }, y, count, soft) {
  if (!soft) return data.subarray(y * width, (y + count) * width);
  const out = new Uint8Array(width * count);
  for (let r = 0; r < count; r++) {
    const row = (y + r) * width;
    const above = Math.max(0, y + r - 1) * width;
    const below = Math.min(height - 1, y + r + 1) * width;
    for (let x = 0; x < width; x++) {
      const l = x > 0 ? x - 1 : 0;
      const n = x < width - 1 ? x + 1 : x;
      const corners = data[above + l] + data[above + n] + data[below + l] + data[below + n];
      const sides = data[above + x] + data[below + x] + data[row + l] + data[row + n];
      out[r * width + x] = (corners + 2 * sides + 4 * data[row + x] + 8) >> 4;
    }
  }
  return out;
}

/**
 * Multiplies the opacity of RGBA rows. What is fully transparent loses its colour, too: nobody who cuts
 * something out wants the rest to be found under it.
 * @param {Uint8Array | Uint8ClampedArray} rgba is changed @param {Uint8Array} alpha
 */
export function withAlpha(rgba, alpha) {
  const out = new Uint8Array(rgba.buffer, rgba.byteOffset, rgba.length);
  for (let i = 0; i < alpha.length; i++) {
    out[4 * i + 3] = Math.round((out[4 * i + 3] * alpha[i]) / 255);
    if (alpha[i] === 0) out[4 * i] = out[4 * i + 1] = out[4 * i + 2] = 0;
  }
  return out;
}

/**
 * Labels as a PNG wants them: one byte each, or two where there are more than 255.
 * @param {ArrayLike<number>} labels @param {number} from @param {number} to @param {8 | 16} depth
 */
export function labelBytes(labels, from, to, depth) {
  const out = new Uint8Array((to - from) * (depth / 8));
  for (let i = from; i < to; i++) {
    if (depth === 8) out[i - from] = labels[i];
    else out.set([labels[i] >> 8, labels[i] & 255], 2 * (i - from));
  }
  return out;
}

/** Lengths of runs of equal values, the first of zeros. @param {Uint8Array} data */
export function toRuns(data) {
  const runs = [];
  let [value, start] = [0, 0];
  for (let i = 0; i < data.length; i++) {
    if (data[i] > 0 === value > 0) continue;
    runs.push(i - start);
    [value, start] = [data[i], i];
  }
  runs.push(data.length - start);
  return runs;
}

/** @param {number[]} runs @param {number} length of the result @returns {Uint8Array | null} null where the runs do not fit */
export function fromRuns(runs, length) {
  const data = new Uint8Array(length);
  let at = 0;
  for (const [i, run] of runs.entries()) {
    if (!Number.isInteger(run) || run < 0 || at + run > length) return null;
    if (i % 2) data.fill(255, at, at + run);
    at += run;
  }
  return at === length ? data : null;
}

/** A colour for each label, told apart from its neighbours by the golden angle. @param {number} label @returns {[number, number, number]} */
export function labelColour(label) {
  const hue = (label * 137.508) % 360;
  const light = 0.5 + 0.16 * Math.sin(label * 2.4);
  return hsl(hue, 0.62, light);
}

/** @param {number} hue @param {number} s @param {number} l @returns {[number, number, number]} */
function hsl(hue, s, l) {
  const a = s * Math.min(l, 1 - l);
  const part = (/** @type {number} */ n) => {
    const k = (n + hue / 30) % 12;
    return Math.round(255 * (l - a * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [part(0), part(8), part(4)];
}

/** Dark blue over teal and yellow to white; as bright as the value to any eye. */
const HEAT = [[13, 16, 50], [40, 52, 120], [38, 110, 140], [60, 170, 130], [190, 210, 70], [253, 240, 190]];

/** @param {number} t 0..1 @returns {[number, number, number]} */
export function heat(t) {
  const x = Math.min(1, Math.max(0, t)) * (HEAT.length - 1);
  const i = Math.min(HEAT.length - 2, Math.floor(x));
  const mix = (/** @type {number} */ c) => Math.round(HEAT[i][c] + (HEAT[i + 1][c] - HEAT[i][c]) * (x - i));
  return [mix(0), mix(1), mix(2)];
}

/** A file's name without its ending, fit for other file systems. @param {string | undefined} name */
export function baseName(name) {
  const base = (name ?? "").replace(/^.*[\\/]/, "").replace(/\.[a-z0-9]{1,5}$/i, "");
  const clean = base.normalize("NFC").replace(/[\u0000-\u001f<>:"/\\|?*\u007f]+/g, "-").replace(/\s+/g, "-").replace(/^[-.]+|[-.]+$/g, "");
  return clean.slice(0, 80) || "photo";
}
