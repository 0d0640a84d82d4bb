// PNG files, written row by row. A canvas would do for small ones, but phones refuse canvases of more
// than 16 megapixels, and a canvas neither writes grey nor keeps colours exactly where they are half transparent.

const SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);

/** PNG's colour types: samples of a pixel. */
const CHANNELS = /** @type {const} */ ({ grey: [0, 1], rgb: [2, 3], rgba: [6, 4] });

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

/** @param {Uint8Array} bytes */
function crc32(bytes) {
  let crc = ~0;
  for (let i = 0; i < bytes.length; i++) crc = CRC[(crc ^ bytes[i]) & 0xff] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** @param {string} type @param {Uint8Array} data */
function chunk(type, data) {
  const out = new Uint8Array(data.length + 12);
  const view = new DataView(out.buffer);
  view.setUint32(0, data.length);
  for (let i = 0; i < 4; i++) out[4 + i] = type.charCodeAt(i);
  out.set(data, 8);
  view.setUint32(data.length + 8, crc32(out.subarray(4, data.length + 8)));
  return out;
}

/**
 * Rows with their filter bytes: grey rows as they are (masks are runs), coloured ones as differences
 * from the row above and the pixel on the left, whichever is smaller.
 * @param {Uint8Array} rows @param {number} stride bytes a row @param {number} step bytes a pixel @param {Uint8Array | null} above
 */
function filtered(rows, stride, step, above) {
  const count = rows.length / stride;
  const out = new Uint8Array(rows.length + count);
  for (let r = 0; r < count; r++) {
    const row = rows.subarray(r * stride, (r + 1) * stride);
    const up = r > 0 ? rows.subarray((r - 1) * stride, r * stride) : above;
    const at = r * (stride + 1);
    if (step < 3) out.set(row, at + 1);
    else filterRow(row, up, step, out, at);
  }
  return out;
}

/** @param {Uint8Array} row @param {Uint8Array | null} up @param {number} step @param {Uint8Array} out @param {number} at */
function filterRow(row, up, step, out, at) {
  const predict = up ?? new Uint8Array(row.length);
  out[at] = 3; // the mean of left and above
  for (let i = 0; i < row.length; i++) out[at + 1 + i] = row[i] - (((i >= step ? row[i - step] : 0) + predict[i]) >> 1);
}

/**
 * @typedef {{ width: number, height: number, kind: keyof typeof CHANNELS, depth?: 8 | 16 }} PngHead
 * @param {PngHead} head depth 16 wants two bytes a sample, the high one first
 * @param {(y: number, count: number) => Uint8Array | Promise<Uint8Array>} rows gives `count` rows from `y`
 * @param {{ onProgress?: (done: number) => void, signal?: AbortSignal }} [options]
 * @returns {Promise<Blob>}
 */
export async function encodePng({ width, height, kind, depth = 8 }, rows, { onProgress, signal } = {}) {
  const [type, channels] = CHANNELS[kind];
  const head = new Uint8Array(13);
  new DataView(head.buffer).setUint32(0, width);
  new DataView(head.buffer).setUint32(4, height);
  head.set([depth, type, 0, 0, 0], 8);

  const step = (channels * depth) / 8;
  const deflate = new CompressionStream("deflate");
  const collected = collect(deflate.readable);
  const writer = deflate.writable.getWriter();
  await feed(writer, { width, height, step }, rows, onProgress, signal).catch(async (error) => {
    await writer.abort(error).catch(() => {});
    collected.catch(() => {});
    throw error;
  });
  const data = await collected;
  return new Blob([SIGNATURE, chunk("IHDR", head), ...data.map((part) => chunk("IDAT", part)), chunk("IEND", new Uint8Array(0))], { type: "image/png" });
}

/** Strips of about a megapixel; between them, others on this thread have their turn. */
async function feed(/** @type {WritableStreamDefaultWriter} */ writer, /** @type {any} */ { width, height, step }, /** @type {any} */ rows, /** @type {any} */ onProgress, /** @type {AbortSignal | undefined} */ signal) {
  const stride = width * step;
  const strip = Math.max(1, Math.min(height, Math.floor(2 ** 20 / width)));
  let above = null;
  for (let y = 0; y < height; y += strip) {
    signal?.throwIfAborted();
    const count = Math.min(strip, height - y);
    const raw = await rows(y, count);
    if (raw.length !== stride * count) throw new RangeError(`rows ${y} to ${y + count} have ${raw.length} bytes, not ${stride * count}`);
    await writer.write(filtered(raw, stride, step, above));
    above = raw.slice(raw.length - stride);
    onProgress?.((y + count) / height);
    await breathe();
  }
  await writer.close();
}

/** Lets events and drawing in. */
export const breathe = () => new Promise((resolve) => setTimeout(resolve));

/** @param {ReadableStream<Uint8Array>} stream */
async function collect(stream) {
  const parts = [];
  const reader = stream.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return parts;
    parts.push(value);
  }
}
