// What a file is, from its first bytes. Names and types that the system gives are often wrong:
// an HTML page that was saved as .jpg, a HEIC photo that was renamed.

/**
 * @typedef {'jpeg' | 'png' | 'webp' | 'gif' | 'bmp' | 'avif' | 'ico' | 'jxl'} Picture what browsers decode, or may
 * @typedef {Picture | 'tiff' | 'heic' | 'svg' | 'html' | 'pdf' | 'psd' | 'raw' | 'video' | 'safetensors' | 'zip' | 'json' | 'empty' | 'text' | 'unknown'} Kind
 * @typedef {{ width: number, height: number }} Size
 */

/** Bytes that `sniff` and `sizeOf` want to see: the sizes in JPEGs may stand after a thumbnail and a colour profile. */
export const HEAD = 512 * 1024;

/** Shorter sides are of no use to a model that looks at patches. */
export const MIN_SIDE = 16;
/** Photos with more pixels do not fit the memory of a browser's tab. */
export const MAX_PIXELS = 120e6;

/** @type {[Kind, number, string][]} kind, where, Latin-1 bytes */
const MAGIC = [
  ["jpeg", 0, "\xff\xd8\xff"],
  ["png", 0, "\x89PNG\r\n\x1a\n"],
  ["gif", 0, "GIF8"],
  ["webp", 8, "WEBP"],
  ["bmp", 0, "BM"],
  ["tiff", 0, "II*\0"],
  ["tiff", 0, "MM\0*"],
  ["ico", 0, "\0\0\x01\0"],
  ["psd", 0, "8BPS"],
  ["raw", 0, "FUJIFILMCCD-RAW"],
  ["jxl", 0, "\xff\x0a"],
  ["jxl", 4, "JXL \r\n\x87\n"],
  ["pdf", 0, "%PDF"],
  ["zip", 0, "PK\x03\x04"],
];

/** @type {[string, Kind][]} brands of the ISO base media format */
const BRANDS = [["avif", "avif"], ["avis", "avif"], ["heic", "heic"], ["heix", "heic"], ["hevc", "heic"], ["heim", "heic"], ["mif1", "heic"], ["msf1", "heic"]];

/** @param {Uint8Array} bytes @param {number} from @param {number} to */
const latin = (bytes, from, to) => String.fromCharCode(...bytes.subarray(from, to));

/** @param {Uint8Array} bytes the file's beginning @returns {Kind} */
export function sniff(bytes) {
  if (bytes.length === 0) return "empty";
  for (const [kind, at, magic] of MAGIC) {
    if (latin(bytes, at, at + magic.length) === magic) return kind;
  }
  if (latin(bytes, 4, 8) === "ftyp") return BRANDS.find(([brand]) => latin(bytes, 8, 12) === brand)?.[1] ?? "video";
  if (isSafetensors(bytes)) return "safetensors";
  return sniffText(bytes);
}

/** A length in 8 bytes, then JSON. @param {Uint8Array} bytes */
function isSafetensors(bytes) {
  if (bytes.length < 9 || bytes[8] !== 0x7b) return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset, 8);
  return view.getUint32(4, true) === 0 && view.getUint32(0, true) > 1;
}

/** @param {Uint8Array} bytes @returns {Kind} */
function sniffText(bytes) {
  const head = bytes.subarray(0, 1024);
  if (head.some((byte) => byte < 9 || (byte > 13 && byte < 32))) return "unknown";
  const text = new TextDecoder().decode(head).replace(/^\ufeff/, "").trimStart().toLowerCase();
  if (text.startsWith("{")) return "json";
  if (text.includes("<svg")) return "svg";
  if (text.startsWith("<!doctype html") || text.startsWith("<html") || text.includes("<head")) return "html";
  return "text";
}

/**
 * Width and height as the file says them, before any decoding and before EXIF orientation.
 * @param {Uint8Array} bytes @param {Kind} kind @returns {Size | null} null where this cannot be told
 */
export function sizeOf(bytes, kind) {
  const reader = { png: pngSize, jpeg: jpegSize, gif: gifSize, bmp: bmpSize, webp: webpSize }[/** @type {string} */ (kind)];
  try {
    return reader?.(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)) ?? null;
  } catch {
    return null; // cut off within its head: the decoder will say so
  }
}

/** @param {DataView} view */
const pngSize = (view) => ({ width: view.getUint32(16), height: view.getUint32(20) });
/** @param {DataView} view */
const gifSize = (view) => ({ width: view.getUint16(6, true), height: view.getUint16(8, true) });
/** @param {DataView} view */
const bmpSize = (view) => ({ width: Math.abs(view.getInt32(18, true)), height: Math.abs(view.getInt32(22, true)) });

/** Walks the segments to the start of frame. @param {DataView} view */
function jpegSize(view) {
  let at = 2;
  for (;;) {
    while (view.getUint8(at) !== 0xff) at += 1;
    while (view.getUint8(at) === 0xff) at += 1;
    const marker = view.getUint8(at);
    const frame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (frame) return { width: view.getUint16(at + 6), height: view.getUint16(at + 4) };
    if (marker === 0xd9 || marker === 0xda) return null;
    at += 1 + view.getUint16(at + 1);
  }
}

/** @param {DataView} view */
function webpSize(view) {
  const chunk = view.getUint32(12);
  if (chunk === 0x56503858) return { width: 1 + uint24(view, 24), height: 1 + uint24(view, 27) }; // VP8X
  if (chunk === 0x56503820) return { width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff }; // VP8
  if (chunk !== 0x5650384c) return null;
  const bits = view.getUint32(21, true); // VP8L
  return { width: 1 + (bits & 0x3fff), height: 1 + ((bits >> 14) & 0x3fff) };
}

/** @param {DataView} view @param {number} at */
const uint24 = (view, at) => view.getUint16(at, true) | (view.getUint8(at + 2) << 16);

/** @type {Partial<Record<Kind, string>>} */
const REFUSALS = {
  empty: "is empty: nothing was saved in it, or the download was cut short.",
  html: "is a web page, not a photo, whatever its name says. Save the picture itself: right-click it, then “Save image as”.",
  svg: "is a vector drawing. Export it as PNG, then open that.",
  heic: "is a HEIC photo, which this browser cannot read. Export it as JPEG, or set the camera to “Most compatible”.",
  tiff: "is a TIFF, which this browser cannot read. Save it as PNG or JPEG.",
  raw: "is a raw photo of a camera. Export it as JPEG.",
  psd: "is a Photoshop document. Export it as PNG or JPEG.",
  pdf: "is a PDF. Export the page as PNG or JPEG.",
  video: "is a film or a sound. Take a still from it, and open that.",
  zip: "is an archive (or a PyTorch checkpoint, which `rmae export` turns into safetensors). Unpack it first.",
  text: "is a text, not a photo.",
  json: "is JSON, but not a session of this page.",
  unknown: "is of no kind that this page knows. It reads JPEG, PNG, WebP, GIF, BMP and AVIF.",
};

/** What may decode although most browsers refuse: they are asked, then blamed. @type {Kind[]} */
const ASK = ["heic", "tiff"];

/**
 * Why a file will not do as a photo, or null where it may.
 * @param {Kind} kind @param {Size | null} size @param {string} name
 */
export function refusal(kind, size, name) {
  const reason = REFUSALS[kind];
  if (reason && !ASK.includes(kind)) return `${name} ${reason}`;
  if (!size) return null;
  const { width, height } = size;
  if (width < 1 || height < 1) return `${name} is damaged: it says that it has no pixels.`;
  if (Math.min(width, height) < MIN_SIDE) return `${name} has ${format(size)} pixels. There is nothing to segment under ${MIN_SIDE} pixels a side.`;
  if (width * height > MAX_PIXELS) return `${name} has ${format(size)} pixels: more than a browser's tab can hold (${MAX_PIXELS / 1e6} megapixels). Make it smaller first.`;
  return null;
}

/** What to say when the browser's decoder gave up. @param {Kind} kind @param {string} name */
export function undecodable(kind, name) {
  if (REFUSALS[kind]) return `${name} ${REFUSALS[kind]}`;
  return `${name} is damaged: it begins as ${kind.toUpperCase()}, but the browser cannot read the rest. Was the download complete?`;
}

/** @param {Size} size */
const format = ({ width, height }) => `${width.toLocaleString("en")} × ${height.toLocaleString("en")}`;
