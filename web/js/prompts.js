// Checks of what callers say, on the caller's thread: a wrong prompt is told where it was made.

import { failure } from "./errors.js";

const PROMPTS = ["points", "box", "boxes", "scribbles", "mask"];
const EDGES = ["off", "guided", "graphcut"];

/**
 * Prompts of every object in the form that the engine reads.
 * @param {any[]} objects
 * @param {boolean} several whether the caller gave a list
 */
export function checkedObjects(objects, several) {
  if (objects.length === 0) throw failure("prompt-empty", "There is no object to look for.");
  return objects.map((prompts, index) => checkedObject(prompts, several ? `object ${index + 1}: ` : ""));
}

function checkedObject(prompts, where) {
  if (prompts === null || typeof prompts !== "object") throw failure("prompt", `${where}prompts are an object.`);
  const unknown = Object.keys(prompts).find((key) => !PROMPTS.includes(key));
  if (unknown) throw failure("prompt-unknown", `${where}there is no prompt "${unknown}"; there are ${PROMPTS.join(", ")}.`);
  const { points = [], box, boxes = [], scribbles = [], mask } = prompts;
  const object = {
    clicks: points.map((point, i) => click(point, `${where}point ${i + 1}`)),
    boxes: (box ? [box, ...boxes] : boxes).map((each, i) => rectangle(each, `${where}box ${i + 1}`)),
    scribbles: scribbles.map((each, i) => scribble(each, `${where}scribble ${i + 1}`)),
    mask: mask ? checkedMask(mask, `${where}mask`) : null,
  };
  const count = object.clicks.length + object.boxes.length + object.scribbles.length + (object.mask ? 1 : 0);
  if (count === 0) throw failure("prompt-empty", `${where}at least one point, box, scribble or mask is needed.`);
  return object;
}

function click({ x, y, positive = true, radius }, where) {
  numbers({ x, y }, where);
  if (radius !== undefined) numbers({ radius }, where);
  return radius === undefined ? { x, y, positive } : { x, y, positive, radius };
}

function rectangle({ x0, y0, x1, y1 }, where) {
  numbers({ x0, y0, x1, y1 }, where);
  return { x0, y0, x1, y1 };
}

function scribble({ points, width, positive = true }, where) {
  if (!Array.isArray(points) || points.length === 0) throw failure("prompt-scribble", `${where} has no points.`);
  points.forEach(([x, y], i) => numbers({ x, y }, `${where}, place ${i + 1}`));
  if (width !== undefined) numbers({ width }, where);
  const line = { points: points.map(([x, y]) => [x, y]), positive };
  return width === undefined ? line : { ...line, width };
}

/**
 * @param {any} mask
 * @param {string} where
 */
export function checkedMask(mask, where) {
  const { width, height, data } = mask ?? {};
  if (!(data instanceof Uint8Array || data instanceof Uint8ClampedArray) || data.length !== width * height) {
    throw failure("prompt-mask", `${where}: a mask has one byte a pixel, width × height in all.`);
  }
  return { width, height, data };
}

/** @param {any} options */
export function checkedOptions({ granularity = 0, refine = {}, maxSide, crop, logits = false }) {
  numbers({ granularity }, "granularity");
  if (granularity < -1 || granularity > 1) {
    throw failure("prompt-granularity", `granularity ${granularity} does not lie between -1 (part) and 1 (whole).`);
  }
  const { edges = "graphcut", connected = true, holes = true } = refine;
  if (!EDGES.includes(edges)) throw failure("prompt-edges", `There is no refinement "${edges}"; there are ${EDGES.join(", ")}.`);
  if (maxSide !== undefined && !(Number.isInteger(maxSide) && maxSide > 0)) {
    throw failure("prompt-max-side", `maxSide ${maxSide} is no number of pixels.`);
  }
  return { granularity, refine: { edges, connected: Boolean(connected), holes: Boolean(holes) }, maxSide, crop, logits: Boolean(logits) };
}

/** @param {any} target of attention */
export function checkedTarget({ x, y, layer, head = "mean" }) {
  numbers({ x, y }, "attention");
  for (const [name, value] of Object.entries({ layer, head })) {
    if (value !== undefined && value !== "mean" && !(Number.isInteger(value) && value >= 0)) {
      throw failure("prompt-attention", `${name} ${value} is no number from 0 on.`);
    }
  }
  return { x, y, layer, head: head === "mean" ? undefined : head };
}

/**
 * @param {Record<string, unknown>} values
 * @param {string} where
 */
function numbers(values, where) {
  for (const [name, value] of Object.entries(values)) {
    if (!Number.isFinite(value)) throw failure("prompt-number", `${where}: ${name} is ${value}, not a finite number.`);
  }
}
