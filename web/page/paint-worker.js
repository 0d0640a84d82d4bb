// Pictures are decoded, reduced and coloured here, so that the page's own thread never waits for pixels.

import { contours } from "./contour.js";

/** Longer sides of the reduced copies of a photo. */
const LEVELS = [2048, 640];
/** What all browsers can hold and draw; larger photos are kept reduced, their masks are not. */
const MOST_PIXELS = 120e6;

/** @param {{ blob: Blob }} job */
async function photo({ blob }) {
  const whole = await createImageBitmap(blob);
  const { width, height } = whole;
  const bitmaps = [];
  if (width * height <= MOST_PIXELS) bitmaps.push(whole);
  let from = whole;
  for (const side of LEVELS) {
    if (Math.max(width, height) <= side * 1.25) continue;
    from = reduced(from, side / Math.max(width, height), width, height);
    bitmaps.push(from);
  }
  return [{ width, height, bitmaps }, bitmaps];
}

/** @param {ImageBitmap} from @param {number} scale @param {number} width @param {number} height of the whole photo */
function reduced(from, scale, width, height) {
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.imageSmoothingQuality = "high";
  context.drawImage(from, 0, 0, canvas.width, canvas.height);
  return canvas.transferToImageBitmap();
}

/** @param {{ data: Uint8Array, width: number, height: number, colour: string }} job */
async function mask({ data, width, height, colour }) {
  const pixels = new Uint32Array(width * height);
  const value = Number.parseInt(colour.slice(1), 16);
  const [red, green, blue] = [value >> 16, (value >> 8) & 255, value & 255];
  const little = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;
  const word = little ? ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0 : ((red << 24) | (green << 16) | (blue << 8) | 255) >>> 0;
  for (let index = 0; index < data.length; index++) if (data[index]) pixels[index] = word;
  const fill = await createImageBitmap(new ImageData(new Uint8ClampedArray(pixels.buffer), width, height));
  const lines = contours(data, width, height);
  return [{ fill, lines, width, height }, [fill, ...lines.map((line) => line.buffer)]];
}

const jobs = { photo, mask };

onmessage = async ({ data: { id, kind, job } }) => {
  try {
    const [result, transfer] = await jobs[kind](job);
    postMessage({ id, result }, { transfer });
  } catch (error) {
    postMessage({ id, error: error?.message ?? String(error) });
  }
};
