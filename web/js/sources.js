// Images as the page has them, made fit for the way to the worker. The source stays the caller's:
// what is transferred is a copy, which browsers make without copying pixels.

import { failure } from "./errors.js";

/**
 * @param {any} source see ImageSource in index.d.ts
 * @returns {Promise<{ args: object, transfer?: Transferable[] }>}
 */
export async function portable(source) {
  // Files are decoded in the worker.
  if (source instanceof Blob) return { args: { blob: source, canHelp: typeof Image !== "undefined" } };
  if (is(source, "ImageData")) return { args: { pixels: { width: source.width, height: source.height, data: source.data } } };
  if (["ImageBitmap", "HTMLImageElement", "HTMLCanvasElement", "OffscreenCanvas"].some((name) => is(source, name))) {
    return bitmapOf(source);
  }
  throw failure("image-source", "An image is given as an ImageBitmap, ImageData, <img>, canvas or Blob.");
}

async function bitmapOf(source) {
  const [width, height] = [source.naturalWidth ?? source.width, source.naturalHeight ?? source.height];
  if (!width || !height) throw failure("image-empty", "The image has no pixels: it is not loaded, was closed, or is 0 pixels wide or high.");
  try {
    const bitmap = await createImageBitmap(source);
    return { args: { bitmap }, transfer: [bitmap] };
  } catch (cause) {
    throw failure("image-unreadable", `The image cannot be read: ${cause?.message ?? cause}`, { cause });
  }
}

/** Whether this is of a class that not every browser has. */
function is(value, name) {
  return typeof globalThis[name] === "function" && value instanceof globalThis[name];
}

/**
 * Decodes a file on the page's thread, for browsers whose workers cannot turn it upright: an <img>
 * is upright everywhere.
 * @param {Blob} blob
 * @returns {Promise<HTMLImageElement>}
 */
export async function decodedHere(blob) {
  const image = new Image();
  const address = URL.createObjectURL(blob);
  image.src = address;
  try {
    await image.decode();
    return image;
  } catch (cause) {
    throw failure("image-undecodable", "This is no image that the browser can decode.", { cause });
  } finally {
    URL.revokeObjectURL(address);
  }
}
