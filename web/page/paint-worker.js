// Pictures are decoded, reduced and coloured here, so that the page's own thread never waits for pixels.

import { contours, thinned } from "./contour.js";

/** Each reduced copy of a photo has half the side of the one before, down to this longer side. */
const SMALLEST = 400;
/** How far an outline may be from the mask's, in its pixels. */
const OUTLINE_SLACK = 0.3;
/** What all browsers can hold and draw; larger photos are kept reduced, their masks are not. */
const MOST_PIXELS = 120e6;

/** @param {{ blob: Blob }} job */
async function photo({ blob }) {
  const whole = await createImageBitmap(blob).catch(() => {
    throw new Error("it is no picture that this browser can read. JPEG, PNG, WebP, AVIF and GIF work.");
  });
  const { width, height } = whole;
  const bitmaps = [whole];
  while (Math.max(bitmaps[bitmaps.length - 1].width, bitmaps[bitmaps.length - 1].height) >= 2 * SMALLEST) bitmaps.push(half(bitmaps[bitmaps.length - 1]));
  if (width * height > MOST_PIXELS) bitmaps.shift()?.close();
  return [{ width, height, bitmaps }, bitmaps];
}

/** @param {ImageBitmap} from */
function half(from) {
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(from.width / 2)), Math.max(1, Math.round(from.height / 2)));
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d"));
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
  const lines = contours(data, width, height).map((line) => thinned(line, OUTLINE_SLACK));
  return [{ fill, lines, width, height, ...extent(lines, data) }, [fill, ...lines.map((line) => line.buffer)]];
}

/**
 * How many pixels are in, and the box around them.
 * @param {Float32Array[]} lines @param {Uint8Array} data
 */
function extent(lines, data) {
  let area = 0;
  for (let index = 0; index < data.length; index++) area += data[index] ? 1 : 0;
  if (area === 0) return { area, box: null };
  const box = [Infinity, Infinity, 0, 0];
  for (const line of lines) {
    for (let index = 0; index < line.length; index += 2) {
      box[0] = Math.min(box[0], line[index]);
      box[1] = Math.min(box[1], line[index + 1]);
      box[2] = Math.max(box[2], line[index]);
      box[3] = Math.max(box[3], line[index + 1]);
    }
  }
  return { area, box: box.map(Math.round) };
}

/** @type {Record<string, (job: any) => Promise<any[]>>} */
const jobs = { photo, mask };

onmessage = async ({ data: { id, kind, job } }) => {
  try {
    const [result, transfer] = await jobs[kind](job);
    postMessage({ id, result }, { transfer });
  } catch (error) {
    postMessage({ id, error: error instanceof Error ? error.message : String(error) });
  }
};
