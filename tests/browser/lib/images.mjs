// Photos that tests make for themselves: nothing is copied from anywhere.

import { crc32, deflateSync } from "node:zlib";

/** @param {string} type @param {Buffer} data */
function chunk(type, data) {
  const out = Buffer.alloc(12 + data.length);
  out.writeUInt32BE(data.length, 0);
  out.write(type, 4, "latin1");
  data.copy(out, 8);
  out.writeUInt32BE(crc(out.subarray(4, 8 + data.length)), 8 + data.length);
  return out;
}

const TABLE = Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c >>> 0;
});

/** zlib's own is only in newer versions of Node. @param {Buffer} bytes */
function crc(bytes) {
  if (crc32) return crc32(bytes);
  let c = 0xffffffff;
  for (const byte of bytes) c = TABLE[(c ^ byte) & 255] ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}

/**
 * A PNG of RGB pixels.
 * @param {number} width @param {number} height @param {(x: number, y: number) => [number, number, number]} colour
 */
export function png(width, height, colour) {
  const rows = Buffer.alloc(height * (1 + 3 * width));
  for (let y = 0, at = 0; y < height; y++) {
    at++;
    for (let x = 0; x < width; x++) {
      const [r, g, b] = colour(x, y);
      rows[at++] = r;
      rows[at++] = g;
      rows[at++] = b;
    }
  }
  return pngOf(width, height, deflateSync(rows, { level: 1 }));
}

/** @param {number} width @param {number} height @param {Buffer} data compressed rows */
export function pngOf(width, height, data) {
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([8, 2, 0, 0, 0], 8);
  const signature = Buffer.from("89504e470d0a1a0a", "hex");
  return Buffer.concat([signature, chunk("IHDR", head), chunk("IDAT", data), chunk("IEND", Buffer.alloc(0))]);
}

/**
 * A scene with a bright disc on a dark, graded ground: something that a click can mean.
 * @param {number} width @param {number} height @param {{ x?: number, y?: number, r?: number }} [disc] in shares of the sides
 */
export function scene(width, height, { x = 0.5, y = 0.5, r = 0.25 } = {}) {
  const radius = r * Math.min(width, height);
  return png(width, height, (px, py) => {
    const inside = Math.hypot(px + 0.5 - x * width, py + 0.5 - y * height) < radius;
    const grain = ((px * 7919 + py * 104729) % 17) - 8;
    if (inside) return [232 + grain, 150 + grain, 50];
    return [30 + grain / 2 + (40 * py) / height, 60 + grain + (50 * px) / width, 90 + grain];
  });
}

/**
 * A disc in a larger one of another colour: a click in the middle can mean either.
 * @param {number} width @param {number} height @param {[number, number]} radii in pixels
 */
export function target(width, height, [small, large]) {
  return png(width, height, (px, py) => {
    const away = Math.hypot(px + 0.5 - 0.5 * width, py + 0.5 - 0.5 * height);
    const grain = ((px * 7919 + py * 104729) % 17) - 8;
    if (away < small) return [232 + grain, 180 + grain, 60];
    if (away < large) return [190 + grain, 60 + grain, 50];
    return [30 + grain / 2 + (40 * py) / height, 60 + grain + (50 * px) / width, 90 + grain];
  });
}

/**
 * The photo that a camera held sideways would write: the same JPEG, with an EXIF orientation.
 * @param {Buffer} jpeg @param {number} orientation 1 to 8
 */
export function withOrientation(jpeg, orientation) {
  const tiff = Buffer.from("4d4d002a00000008" + "0001" + "011200030000000100000000" + "00000000", "hex");
  tiff.writeUInt16BE(orientation, 18);
  const payload = Buffer.concat([Buffer.from("Exif\0\0", "latin1"), tiff]);
  const segment = Buffer.alloc(4);
  segment.writeUInt16BE(0xffe1, 0);
  segment.writeUInt16BE(payload.length + 2, 2);
  return Buffer.concat([jpeg.subarray(0, 2), segment, payload, jpeg.subarray(2)]);
}

/**
 * A JPEG, by the browser's encoder.
 * @param {import("playwright-core").Page} page @param {Buffer} picture any picture that the browser reads
 */
export async function jpegOf(page, picture) {
  const base64 = await page.evaluate(async (data) => {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes]));
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    const jpeg = new Uint8Array(await (await canvas.convertToBlob({ type: "image/jpeg", quality: 0.95 })).arrayBuffer());
    let text = "";
    for (let at = 0; at < jpeg.length; at += 0x8000) text += String.fromCharCode(...jpeg.subarray(at, at + 0x8000));
    return btoa(text);
  }, picture.toString("base64"));
  return Buffer.from(base64, "base64");
}
