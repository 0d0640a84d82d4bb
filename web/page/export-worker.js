// Writes PNG files of masks, cut-outs and labels, and reads masks, off the page's own thread: 50 megapixels
// take seconds. Messages in: any number of { mask }, then one { job }. Out: { done } from 0 to 1, then
// { result } or { error }.

import { alphaRows, boundingBox, labelBytes, union, withAlpha } from "./pixels.js";
import { encodePng } from "./png.js";

/** @typedef {import("./pixels.js").Mask} Mask */
/** @typedef {{ x: number, y: number, width: number, height: number }} Area */
/**
 * @typedef {{ kind: 'mask' }
 *   | { kind: 'cutout', photo: Blob, soft: boolean, crop: boolean }
 *   | { kind: 'read', file: Blob, width: number, height: number }
 *   | { kind: 'labels', width: number, height: number, labels: Uint16Array, depth: 8 | 16 }} Job
 */

/** @type {Mask[]} */
const masks = [];
const onProgress = (/** @type {number} */ done) => postMessage({ done });

/** @param {Job} job */
function run(job) {
  if (job.kind === "mask") return maskPng(union(masks));
  if (job.kind === "cutout") return cutoutPng(union(masks), job);
  if (job.kind === "read") return readMask(job);
  return labelsPng(job);
}

/** @param {Mask} mask */
function maskPng({ width, height, data }) {
  return encodePng({ width, height, kind: "grey" }, (y, count) => data.subarray(y * width, (y + count) * width), { onProgress });
}

/** @param {Extract<Job, { kind: 'labels' }>} job */
function labelsPng({ width, height, labels, depth }) {
  return encodePng({ width, height, kind: "grey", depth }, (y, count) => labelBytes(labels, y * width, (y + count) * width, depth), { onProgress });
}

/** @param {Mask} mask @param {{ photo: Blob, soft: boolean, crop: boolean }} options */
async function cutoutPng(mask, { photo, soft, crop }) {
  const area = crop ? grown(boundingBox(mask), mask) : { x: 0, y: 0, width: mask.width, height: mask.height };
  const bitmap = await createImageBitmap(photo);
  const strip = strips(bitmap, mask, area);
  const rows = (/** @type {number} */ y, /** @type {number} */ count) => withAlpha(strip(y, count), columns(alphaRows(mask, area.y + y, count, soft), mask.width, area));
  return encodePng({ width: area.width, height: area.height, kind: "rgba" }, rows, { onProgress }).finally(() => bitmap.close());
}

/** A pixel more on each side, for the soft edge. @param {Area | null} box @param {Mask} mask @returns {Area} */
function grown(box, { width, height }) {
  if (!box) throw new Error("the mask is empty: there is nothing to cut out");
  const [x, y] = [Math.max(0, box.x - 1), Math.max(0, box.y - 1)];
  return { x, y, width: Math.min(width, box.x + box.width + 1) - x, height: Math.min(height, box.y + box.height + 1) - y };
}

/**
 * Pixels of the photo, strip by strip: phones have no canvas for the whole of a large one.
 * @param {ImageBitmap} photo @param {{ width: number, height: number }} mask @param {Area} area
 */
function strips(photo, mask, { x, y, width }) {
  if (photo.width !== mask.width || photo.height !== mask.height) throw new Error(`the photo has ${photo.width} × ${photo.height} pixels, the mask ${mask.width} × ${mask.height}`);
  const canvas = new OffscreenCanvas(width, 1);
  return (/** @type {number} */ from, /** @type {number} */ count) => {
    if (canvas.height !== count) canvas.height = count;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    if (!context) throw new Error("the browser has no memory for a canvas left");
    context.drawImage(photo, -x, -(y + from));
    return context.getImageData(0, 0, width, count).data;
  };
}

/** The columns of an area. @param {Uint8Array} rows @param {number} stride @param {Area} area */
function columns(rows, stride, { x, width }) {
  if (width === stride) return rows;
  const count = rows.length / stride;
  const out = new Uint8Array(width * count);
  for (let r = 0; r < count; r++) out.set(rows.subarray(r * stride + x, r * stride + x + width), r * width);
  return out;
}

/**
 * A mask from a picture: what is opaque in a cut-out, what is light in any other.
 * @param {Extract<Job, { kind: 'read' }>} job @returns {Promise<Mask>}
 */
async function readMask({ file, width, height }) {
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new Error("it is no picture that this browser can read");
  });
  if (bitmap.width !== width || bitmap.height !== height) throw new Error(`it has ${bitmap.width} × ${bitmap.height} pixels, the photo ${width} × ${height}`);
  const [opaque, light] = [new Uint8Array(width * height), new Uint8Array(width * height)];
  const strip = strips(bitmap, { width, height }, { x: 0, y: 0, width, height });
  const rows = Math.max(1, Math.floor(2 ** 20 / width));
  for (let y = 0; y < height; y += rows) {
    const rgba = strip(y, Math.min(rows, height - y));
    for (let i = 0, at = y * width; i < rgba.length; i += 4, at++) {
      opaque[at] = rgba[i + 3] > 127 ? 255 : 0;
      light[at] = rgba[i] + rgba[i + 1] + rgba[i + 2] > 382 ? 255 : 0;
    }
  }
  bitmap.close();
  const data = opaque.includes(0) ? opaque : light;
  if (!data.includes(255)) throw new Error("nothing in it is light or opaque");
  return { width, height, data };
}

onmessage = async ({ data: { mask, job } }) => {
  if (mask) return void masks.push(mask);
  try {
    postMessage({ result: await run(job) });
  } catch (error) {
    postMessage({ error: error instanceof Error ? error.message : String(error) });
  }
};
