// A session as JSON: what was pointed at, and the photo or how to find it again. Pure, so that Node can test it.

import { fromRuns, toRuns } from "./pixels.js";
import { breathe } from "./png.js";
import { COLOURS, emptyDocument, noPrompts } from "./store.js";

/**
 * @typedef {import("./store.js").Document} Document
 * @typedef {{ sha256: string, bytes: number, type: string, data?: string }} Photo `data` is base64 of the file, where it is embedded
 */

export const FORMAT = "rmae-session";
export const VERSION = 1;
/** More objects or prompts than these were made by no hand. */
const MOST = 2000;

/** A file that is no session, in words for people. */
export class BadSession extends Error {}

/** @param {Document} document @param {Photo} photo @returns {string} */
export function writeSession({ image, objects, activeId }, photo) {
  if (!image) throw new BadSession("there is no photo yet.");
  const { name, width, height } = image;
  const kept = objects.map(({ name, colour, visible, granularity, prompts }) => ({
    name, colour, visible, granularity,
    prompts: { ...prompts, mask: prompts.mask && { width: prompts.mask.width, height: prompts.mask.height, runs: toRuns(prompts.mask.data) } },
  }));
  const active = objects.findIndex(({ id }) => id === activeId);
  return JSON.stringify({ format: FORMAT, version: VERSION, image: { name, width, height, ...photo }, objects: kept, active: active < 0 ? null : active });
}

/**
 * Reads a session and checks every value in it: the file may come from anywhere.
 * @param {string} text @returns {{ document: Document, photo: Photo }}
 */
export function readSession(text) {
  const file = parse(text);
  if (file?.format !== FORMAT) throw new BadSession("it is JSON, but not a session of this page.");
  if (!Number.isInteger(file.version) || file.version < 1) throw new BadSession("it does not say of which version it is.");
  if (file.version > VERSION) throw new BadSession(`it was saved by a newer version of this page (${file.version}; this one reads up to ${VERSION}). Reload the page to get the newest.`);
  const { name, width, height, sha256 = "", bytes = 0, type = "", data } = record(file.image, "image");
  const image = { name: text_(name, "image.name"), width: whole(width, "image.width"), height: whole(height, "image.height") };
  if (data !== undefined && typeof data !== "string") throw wrong("image.data", "text");
  const objects = list(file.objects, "objects").map((object, i) => readObject(object, i + 1, `objects[${i}]`));
  const active = objects[file.active ?? -1]?.id ?? null;
  return {
    document: { ...emptyDocument(image), objects, activeId: active, nextId: objects.length + 1 },
    photo: { sha256: text_(sha256, "image.sha256"), bytes: number(bytes, "image.bytes"), type: text_(type, "image.type"), data },
  };
}

/** Characters that are decoded in one go: some milliseconds' work. */
const AT_ONCE = 2 ** 20;

/**
 * The embedded photo. In pieces, with others having their turn between them: photos have tens of megabytes.
 * @param {Photo} photo @returns {Promise<Blob | null>} null where there is none inside
 */
export async function photoInside({ data, type }) {
  if (data === undefined) return null;
  const parts = [];
  for (let at = 0; at < data.length; at += AT_ONCE) {
    parts.push(decoded(data.slice(at, at + AT_ONCE)));
    await breathe();
  }
  return new Blob(parts, { type });
}

/** @param {string} base64 */
function decoded(base64) {
  try {
    const text = atob(base64);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i);
    return bytes;
  } catch {
    throw new BadSession("the photo in it is damaged.");
  }
}

/** @param {string} text */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new BadSession("it is not complete: the JSON in it ends too early or is damaged.");
  }
}

/** @param {any} object @param {number} id @param {string} at */
function readObject(object, id, at) {
  const { name, colour, visible = true, granularity = 0, prompts } = record(object, at);
  return {
    id, visible: Boolean(visible), result: null,
    name: text_(name ?? `Object ${id}`, `${at}.name`).slice(0, 200),
    colour: /^#[0-9a-f]{6}$/i.test(colour) ? colour : COLOURS[(id - 1) % COLOURS.length],
    granularity: Math.min(1, Math.max(-1, number(granularity, `${at}.granularity`))),
    prompts: readPrompts(record(prompts, `${at}.prompts`), `${at}.prompts`),
  };
}

/** @param {any} prompts @param {string} at */
function readPrompts({ points = [], boxes = [], scribbles = [], mask = null }, at) {
  return {
    ...noPrompts(),
    points: list(points, `${at}.points`).map((point, i) => readPoint(point, `${at}.points[${i}]`)),
    boxes: list(boxes, `${at}.boxes`).map((box, i) => numbers(box, ["x0", "y0", "x1", "y1"], `${at}.boxes[${i}]`)),
    scribbles: list(scribbles, `${at}.scribbles`).map((line, i) => readScribble(line, `${at}.scribbles[${i}]`)),
    mask: mask && readMask(mask, `${at}.mask`),
  };
}

/** @param {any} point @param {string} at */
function readPoint(point, at) {
  const radius = point?.radius === undefined ? {} : numbers(point, ["radius"], at);
  return /** @type {any} */ ({ ...numbers(point, ["x", "y"], at), positive: point.positive !== false, ...radius });
}

/** @param {any} line @param {string} at */
function readScribble(line, at) {
  const { width } = numbers(line, ["width"], at);
  const points = list(line.points, `${at}.points`, 100_000).map((point, i) => {
    if (!Array.isArray(point) || point.length !== 2) throw wrong(`${at}.points[${i}]`, "a pair of numbers");
    return /** @type {[number, number]} */ ([number(point[0], at), number(point[1], at)]);
  });
  return { points, width, positive: line.positive !== false };
}

/** @param {any} mask @param {string} at */
function readMask(mask, at) {
  const [width, height] = [whole(mask.width, `${at}.width`), whole(mask.height, `${at}.height`)];
  if (width * height > 2e8) throw wrong(at, "a mask of a sensible size");
  const data = fromRuns(list(mask.runs, `${at}.runs`, 5e7), width * height);
  if (!data) throw wrong(`${at}.runs`, `runs that fill ${width} × ${height} pixels`);
  return { width, height, data };
}

// Checks of single values; each names the place.

/** @param {string} at @param {string} what */
const wrong = (at, what) => new BadSession(`“${at}” in it should be ${what}.`);

/** @param {any} value @param {string} at @returns {any} */
function record(value, at) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) throw wrong(at, "an object");
  return value;
}

/** @param {any} value @param {string} at @param {number} [most] @returns {any[]} */
function list(value, at, most = MOST) {
  if (!Array.isArray(value)) throw wrong(at, "a list");
  if (value.length > most) throw wrong(at, `a list of at most ${most}`);
  return value;
}

/** @param {any} value @param {string} at @returns {string} */
function text_(value, at) {
  if (typeof value !== "string") throw wrong(at, "text");
  return value;
}

/** @param {any} value @param {string} at @returns {number} */
function number(value, at) {
  if (typeof value !== "number" || !Number.isFinite(value) || Math.abs(value) > 1e9) throw wrong(at, "a number");
  return value;
}

/** @param {any} value @param {string} at @returns {number} */
function whole(value, at) {
  if (!Number.isInteger(value) || value < 1 || value > 1e6) throw wrong(at, "a whole number of pixels");
  return value;
}

/** @param {any} value @param {string[]} names @param {string} at @returns {any} */
function numbers(value, names, at) {
  record(value, at);
  return Object.fromEntries(names.map((name) => [name, number(value[name], `${at}.${name}`)]));
}
