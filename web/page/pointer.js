// Mouse, pen and fingers on the canvas. One gesture at a time; a second finger turns it into zoom and pan.

import { isTyping } from "./dom.js";
import { boxOf, onto, simplify } from "./geometry.js";
import { drawBox, drawRing, drawScribble, MINUS, PLUS } from "./drawing.js";
import { activeObject } from "./store.js";

/** How far a press may move and still be a click, in CSS pixels. */
const SLOP = /** @type {Record<string, number>} */ ({ mouse: 4, pen: 6, touch: 10 });
const WHEEL_STEP = 60;

/**
 * @typedef {[number, number]} At
 * @typedef {{ kind: 'press' | 'box' | 'brush' | 'pan' | 'pinch', positive: boolean, button: number, slop: number,
 *   start: At, from: At, to: At, last: At, line: At[], distance: number }} Gesture
 *   `start` and `last` on the stage, the others in image pixels
 */

/** @param {import("./app.js").App} app @param {import("./prompts.js").PromptActions} actions */
export function mountPointer({ store, viewport, engine }, actions) {
  const { canvas } = viewport;
  /** @type {Map<number, At>} */
  const fingers = new Map();
  /** @type {Gesture | null} */
  let gesture = null;
  /** Where the mouse is, on the stage. @type {At | null} */
  let mouse = null;
  let [space, shift, wheeled] = [false, false, 0];

  const size = () => store.get().document.image;
  /** @param {At} at @returns {At} */
  const toImage = ([x, y]) => {
    const { zoom, panX, panY } = store.get().view;
    return [(x - panX) / zoom, (y - panY) / zoom];
  };
  /** @param {{ shiftKey: boolean, button: number }} event */
  const isPositive = (event) => store.get().view.sign !== (event.shiftKey || event.button === 2);

  /** @param {PointerEvent} event @returns {Gesture['kind'] | null} */
  function kindOf(event) {
    const { tool } = store.get().view;
    if (event.button === 1 || (event.button === 0 && (space || tool === "pan"))) return "pan";
    if (event.button !== 0 && event.button !== 2) return null;
    return tool === "brush" ? "brush" : "press";
  }

  /** @param {PointerEvent} event */
  function down(event) {
    const image = size();
    if (!image) return;
    canvas.focus({ preventScroll: true });
    const at = viewport.toStage(event.clientX, event.clientY);
    fingers.set(event.pointerId, at);
    canvas.setPointerCapture(event.pointerId);
    if (fingers.size === 2) return pinch();
    const kind = fingers.size === 1 ? kindOf(event) : null;
    if (!kind) return;
    event.preventDefault();
    const from = toImage(at);
    if (kind === "press" && !viewport.contains(...from) && store.get().view.tool === "click") return;
    gesture = {
      kind, positive: isPositive(event), button: event.button, slop: SLOP[event.pointerType] ?? SLOP.mouse,
      start: at, last: at, from, to: from, line: [from], distance: 0,
    };
    if (kind === "press") engine.hoverHold();
    else engine.hoverEnd();
    viewport.invalidate();
  }

  function pinch() {
    const [a, b] = [...fingers.values()];
    const middle = between(a, b);
    gesture = { kind: "pinch", positive: true, button: 0, slop: 0, start: middle, last: middle, from: middle, to: middle, line: [], distance: gap(a, b) };
    viewport.invalidate();
  }

  /** @param {PointerEvent} event */
  function move(event) {
    const at = viewport.toStage(event.clientX, event.clientY);
    shift = event.shiftKey;
    if (fingers.has(event.pointerId)) fingers.set(event.pointerId, at);
    if (event.pointerType === "mouse") mouse = at;
    if (!gesture) return hover(event, at);
    if (gesture.kind === "pinch") return pinched();
    if (gesture.kind === "pan") viewport.panBy(at[0] - gesture.last[0], at[1] - gesture.last[1]);
    if (gesture.kind === "brush") extend(gesture, event);
    if (gesture.kind === "press" && gap(gesture.start, at) > gesture.slop && gesture.button === 0) {
      gesture.kind = "box";
      engine.hoverEnd();
    }
    const image = size();
    if (gesture.kind === "box" && image) gesture.to = onto(...toImage(at), image);
    gesture.last = at;
    viewport.invalidate();
  }

  /** All places since the last event, so that fast strokes stay round. @param {Gesture} stroke @param {PointerEvent} event */
  function extend(stroke, event) {
    const events = event.getCoalescedEvents?.() ?? [];
    for (const { clientX, clientY } of events.length ? events : [event]) stroke.line.push(viewport.toImage(clientX, clientY));
  }

  function pinched() {
    if (fingers.size < 2 || !gesture) return;
    const [a, b] = [...fingers.values()];
    const [middle, distance] = [between(a, b), gap(a, b)];
    viewport.panBy(middle[0] - gesture.last[0], middle[1] - gesture.last[1]);
    if (gesture.distance > 0) viewport.zoomBy(distance / gesture.distance, ...middle);
    Object.assign(gesture, { last: middle, distance });
  }

  /** @param {PointerEvent} event @param {At} at */
  function hover(event, at) {
    if (event.pointerType !== "mouse" || event.buttons) return;
    viewport.invalidate();
    foretell(at);
  }

  /** The mask that a click there would make. @param {At} at on the stage */
  function foretell(at) {
    const [x, y] = toImage(at);
    if (store.get().view.tool !== "click" || space || !viewport.contains(x, y) || markAt(at, 8) >= 0) return engine.hoverEnd();
    engine.hover(x, y, store.get().view.sign !== shift);
  }

  /** @param {PointerEvent} event */
  function up(event) {
    fingers.delete(event.pointerId);
    const done = gesture;
    // The finger that is left of a pinch draws nothing.
    if (!done || (done.kind === "pinch" && fingers.size > 0)) return;
    gesture = null;
    viewport.invalidate();
    if (event.type === "pointercancel") return;
    if (done.kind === "press") click(done);
    if (done.kind === "box") box(done);
    if (done.kind === "brush") scribble(done);
  }

  /** @param {Gesture} press */
  function click({ start, from, slop, last, positive }) {
    if (gap(start, last) > slop || !viewport.contains(...from)) return;
    const mark = markAt(start, slop + 4);
    if (mark >= 0) actions.removePoint(mark);
    else actions.addPoint(...from, positive);
  }

  /** @param {Gesture} drawn */
  function box({ from, to }) {
    const image = size();
    if (image) actions.setBox(boxOf(onto(...from, image), to));
  }

  /** @param {Gesture} stroke */
  function scribble({ line, positive }) {
    const { brush, zoom } = store.get().view;
    if (line.some(([x, y]) => viewport.contains(x, y))) actions.addScribble({ points: simplify(line, 0.75 / zoom), width: brush / zoom, positive });
  }

  /** The active object's click at a place, or -1. @param {At} at on the stage @param {number} near */
  function markAt(at, near) {
    const points = activeObject(store.get().document)?.prompts.points ?? [];
    return points.findLastIndex(({ x, y }) => gap(viewport.toScreen(x, y), at) <= near);
  }

  /** @param {WheelEvent} event */
  function wheel(event) {
    if (!size()) return;
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode === 1 ? 20 : event.deltaMode === 2 ? 400 : 1);
    const at = viewport.toStage(event.clientX, event.clientY);
    if (event.ctrlKey || event.metaKey) return viewport.zoomBy(Math.exp(-Math.max(-100, Math.min(100, pixels)) * 0.006), ...at);
    wheeled += pixels;
    const steps = Math.trunc(wheeled / WHEEL_STEP);
    if (steps === 0) return;
    wheeled -= steps * WHEEL_STEP;
    actions.setGranularity(actions.granularity() - 0.1 * steps);
    foretell(at);
  }

  function cancel() {
    gesture = null;
    engine.hoverEnd();
    viewport.invalidate();
  }

  /** @param {KeyboardEvent} event */
  function key(event) {
    const turned = shift !== event.shiftKey;
    shift = event.shiftKey;
    if (turned && mouse && !gesture) foretell(mouse);
    if (event.key === "Escape" && event.type === "keydown" && gesture) cancel();
    if (event.key === " " && isForPan(event.target)) {
      space = event.type === "keydown";
      event.preventDefault();
    }
    point();
    viewport.invalidate();
  }

  /** A button that was clicked still has the focus: with the mouse over the photo, Space is not for it. @param {EventTarget | null} target */
  function isForPan(target) {
    if (target === canvas || target === document.body) return true;
    return mouse !== null && target instanceof HTMLElement && !isTyping(target) && !target.matches(":focus-visible");
  }

  function point() {
    const { tool } = store.get().view;
    const moving = space || tool === "pan";
    canvas.style.cursor = !size() ? "default" : gesture?.kind === "pan" ? "grabbing" : moving ? "grab" : tool === "brush" ? "none" : "crosshair";
  }

  viewport.addLayer((context, placement) => {
    point();
    const { tool, brush, sign, zoom } = store.get().view;
    if (gesture?.kind === "box") drawBox(context, boxOf(gesture.from, gesture.to), placement, "#ffffff");
    if (gesture?.kind === "brush") drawScribble(context, { points: gesture.line, width: brush / zoom, positive: gesture.positive }, placement);
    if (mouse && tool === "brush" && !space) drawRing(context, ...mouse, brush / 2, (gesture?.positive ?? sign !== shift) ? PLUS : MINUS);
  });

  canvas.addEventListener("pointerdown", down);
  canvas.addEventListener("pointermove", move);
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener("pointerleave", () => {
    mouse = null;
    if (!gesture) engine.hoverEnd();
    viewport.invalidate();
  });
  // Fingers here are no scrolls or flings, which would swallow the next tap on a button.
  canvas.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
  // Nor is the middle button a paste, as it is on Linux.
  for (const type of ["mousedown", "mouseup", "auxclick"]) canvas.addEventListener(type, (event) => /** @type {MouseEvent} */ (event).button === 1 && event.preventDefault());
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", wheel, { passive: false });
  document.addEventListener("keydown", key);
  document.addEventListener("keyup", key);
  window.addEventListener("blur", () => {
    space = false;
    fingers.clear();
    cancel();
  });
}

/** @param {At} a @param {At} b */
const gap = ([ax, ay], [bx, by]) => Math.hypot(ax - bx, ay - by);
/** @param {At} a @param {At} b @returns {At} */
const between = ([ax, ay], [bx, by]) => [(ax + bx) / 2, (ay + by) / 2];
