// A cursor on the canvas that the arrow keys move, and prompts by Enter: all that a pointer can do.

import { drawBox, drawCursor, drawScribble, MINUS, PLUS } from "./drawing.js";
import { boxOf, onto } from "./geometry.js";

const STEP = 8;
const FAST = 40;
const SAID_AFTER_MS = 500;
const WAYS = /** @type {Record<string, [number, number]>} */ ({ ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] });

/** @param {import("./app.js").App} app @param {import("./prompts.js").PromptActions} actions */
export function mountKeyboard({ store, viewport, engine, announce }, actions) {
  const { canvas } = viewport;
  /** In image pixels. @type {[number, number] | null} */
  let cursor = null;
  /** The first corner of a box. @type {[number, number] | null} */
  let corner = null;
  /** @type {{ points: [number, number][], positive: boolean } | null} */
  let stroke = null;
  let saying = 0;

  const size = () => store.get().document.image;

  /** Where the cursor is, at first in the middle of what is seen. @param {{ width: number, height: number }} image */
  function place(image) {
    const { zoom, panX, panY } = store.get().view;
    const { width, height } = viewport.stage;
    return (cursor ??= onto((width / 2 - panX) / zoom, (height / 2 - panY) / zoom, image));
  }

  /** @param {KeyboardEvent} event @param {{ width: number, height: number }} image */
  function move(event, image) {
    const [dx, dy] = WAYS[event.key];
    const step = event.altKey ? 1 : (event.shiftKey ? FAST : STEP) / store.get().view.zoom;
    const [x, y] = place(image);
    cursor = onto(x + dx * step, y + dy * step, { width: image.width - 0.5, height: image.height - 0.5 });
    stroke?.points.push(cursor);
    viewport.reveal(...cursor);
    if (store.get().view.tool === "click") engine.hover(...cursor, store.get().view.sign);
    say();
  }

  function say() {
    clearTimeout(saying);
    saying = window.setTimeout(() => cursor && announce(`${Math.round(cursor[0])}, ${Math.round(cursor[1])}${over(...cursor)}`), SAID_AFTER_MS);
  }

  /** @param {number} x @param {number} y @returns {string} names of the objects there */
  function over(x, y) {
    const { objects, image } = store.get().document;
    const names = objects.filter(({ id }) => {
      const mask = engine.masks.get(id);
      if (!mask || !image) return false;
      const [column, row] = [Math.floor((x / image.width) * mask.width), Math.floor((y / image.height) * mask.height)];
      return mask.data[row * mask.width + column] > 0;
    });
    return names.length ? `, in ${names.map(({ name }) => name).join(", ")}` : "";
  }

  /** @param {KeyboardEvent} event @param {{ width: number, height: number }} image */
  function enter(event, image) {
    if (event.repeat) return;
    const at = place(image);
    const { tool, sign } = store.get().view;
    const positive = sign !== event.shiftKey;
    if (tool === "box") return box(at);
    if (tool === "brush") stroke = { points: [at], positive };
    else actions.addPoint(...at, positive);
  }

  /** @param {[number, number]} at */
  function box(at) {
    if (corner) {
      actions.setBox(boxOf(corner, at));
      corner = null;
    } else {
      corner = at;
      announce("First corner. Move, and press Enter for the other.");
    }
  }

  function finishStroke() {
    if (!stroke) return;
    const { brush, zoom } = store.get().view;
    actions.addScribble({ points: stroke.points, width: brush / zoom, positive: stroke.positive });
    stroke = null;
  }

  canvas.addEventListener("keydown", (event) => {
    const image = size();
    if (!image || event.ctrlKey || event.metaKey) return;
    if (event.key in WAYS) move(event, image);
    else if (event.key === "Enter") enter(event, image);
    else if (event.key === "Escape") leave();
    else return;
    event.preventDefault();
    viewport.invalidate();
  });
  canvas.addEventListener("keyup", (event) => {
    if (event.key === "Enter") finishStroke();
    viewport.invalidate();
  });

  /** Escape gives up what is begun, and then the cursor. */
  function leave() {
    if (corner || stroke) corner = stroke = null;
    else cursor = null;
    engine.hoverEnd();
  }

  // A pointer takes over.
  canvas.addEventListener("pointerdown", () => {
    cursor = corner = stroke = null;
  });
  canvas.addEventListener("blur", () => {
    finishStroke();
    viewport.invalidate();
  });
  store.subscribe((_, { reason }) => {
    if (reason === "open") cursor = corner = stroke = null;
  });

  viewport.addLayer((context, placement) => {
    if (!cursor || document.activeElement !== canvas) return;
    const { sign, brush, zoom } = store.get().view;
    if (corner) drawBox(context, boxOf(corner, cursor), placement, "#ffffff");
    if (stroke) drawScribble(context, { ...stroke, width: brush / zoom }, placement);
    drawCursor(context, ...viewport.toScreen(...cursor), sign ? PLUS : MINUS);
  });
}
