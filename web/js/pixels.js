// From what the page sent to rows of pixels, a strip at a time: a photo of 50 megapixels must not
// lie in WebAssembly's memory.

import { failure, throwIfAborted } from "./errors.js";

/** Rows of a strip. */
const STRIP = 256;

/**
 * Decodes a file, upright.
 * @param {Blob} blob
 * @returns {Promise<ImageBitmap>}
 */
export async function decode(blob) {
  if (blob.size === 0) throw failure("image-empty", "The file is empty.");
  try {
    return await createImageBitmap(blob, { imageOrientation: "from-image" });
  } catch (cause) {
    // Browsers that do not know the option object to it, not to the file.
    if (cause instanceof TypeError) throw failure("image-orientation", "This browser decodes no upright images in workers.", { cause });
    throw failure("image-undecodable", `This is no image that the browser can decode${kindOf(blob)}.`, { cause });
  }
}

function kindOf(blob) {
  return blob.type ? ` (it calls itself ${blob.type})` : "";
}

/**
 * Hands an image over in strips of RGBA rows, and frees it.
 * @param {{ bitmap?: ImageBitmap, pixels?: { width: number, height: number, data: Uint8ClampedArray } }} image
 * @param {{ begin(width: number, height: number): void, rows(rgba: Uint8ClampedArray): void }} sink
 * @param {AbortSignal} [signal]
 */
export async function stream({ bitmap, pixels }, sink, signal) {
  const { width, height } = pixels ?? bitmap;
  try {
    sink.begin(width, height);
    const strip = pixels ? stripOfPixels(pixels) : stripOfBitmap(bitmap);
    for (let y = 0; y < height; y += STRIP) {
      throwIfAborted(signal);
      sink.rows(strip(y, Math.min(STRIP, height - y)));
      // Lets an abort message in.
      if (y % (8 * STRIP) === 0) await new Promise((resume) => setTimeout(resume));
    }
  } finally {
    bitmap?.close();
  }
  return { width, height };
}

function stripOfBitmap(bitmap) {
  if (typeof OffscreenCanvas === "undefined") throw failure("image-canvas", "This browser is too old: its workers have no canvas.");
  const { width } = bitmap;
  const canvas = new OffscreenCanvas(width, Math.min(STRIP, bitmap.height));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw failure("image-canvas", `The browser makes no canvas ${width} pixels wide.`);
  return (y, rows) => {
    // What is transparent shows white, as on paper, and as the command line has it.
    context.fillStyle = "white";
    context.fillRect(0, 0, width, rows);
    context.drawImage(bitmap, 0, y, width, rows, 0, 0, width, rows);
    return context.getImageData(0, 0, width, rows).data;
  };
}

function stripOfPixels({ width, data }) {
  return (y, rows) => overWhite(data.slice(4 * width * y, 4 * width * (y + rows)));
}

/** @param {Uint8ClampedArray} rgba changed in place */
function overWhite(rgba) {
  for (let at = 3; at < rgba.length; at += 4) {
    const alpha = rgba[at];
    if (alpha === 255) continue;
    for (let channel = at - 3; channel < at; channel++) {
      rgba[channel] = (rgba[channel] * alpha + 255 * (255 - alpha)) / 255;
    }
    rgba[at] = 255;
  }
  return rgba;
}
