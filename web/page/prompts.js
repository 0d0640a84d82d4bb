// What pointers and keys do to the active object's prompts, each an undoable step.

import { activeObject, addObject } from "./store.js";

/** @param {import("./app.js").App} app */
export function promptActions({ store, announce }) {
  /**
   * Prompts without an object make one.
   * @param {string} label @param {(object: import("./store.js").PromptedObject) => unknown} change @param {{ merge?: string }} [options]
   */
  const onActive = (label, change, options) =>
    store.dispatch(label, (draft) => {
      if (!draft.image) return false;
      const object = activeObject(draft) ?? addObject(draft, { granularity: store.get().view.granularity });
      object.visible = true;
      return change(object);
    }, options);

  return {
    /** @param {number} x @param {number} y image pixels @param {boolean} positive */
    addPoint(x, y, positive) {
      onActive(positive ? "click" : "subtracting click", ({ prompts }) => void prompts.points.push({ x: round(x), y: round(y), positive }));
      announce(`${positive ? "Added" : "Taken away"} at ${Math.round(x)}, ${Math.round(y)}.`);
    },
    /** @param {number} index of the active object's clicks */
    removePoint: (index) => onActive("remove a click", ({ prompts }) => void prompts.points.splice(index, 1)),
    /** Takes the place of the box that is there: an object lies in all of its boxes, so that more say little. @param {import("./store.js").Box} box */
    setBox({ x0, y0, x1, y1 }) {
      const box = { x0: round(x0), y0: round(y0), x1: round(x1), y1: round(y1) };
      if (box.x1 - box.x0 < 1 || box.y1 - box.y0 < 1) return;
      onActive("box", ({ prompts }) => void (prompts.boxes = [box]));
      announce(`Box from ${Math.round(x0)}, ${Math.round(y0)} to ${Math.round(x1)}, ${Math.round(y1)}.`);
    },
    /** @param {import("./store.js").Scribble} scribble */
    addScribble({ points, width, positive }) {
      const line = points.map(([x, y]) => /** @type {[number, number]} */ ([round(x), round(y)]));
      onActive(positive ? "scribble" : "subtracting scribble", ({ prompts }) => void prompts.scribbles.push({ points: line, width: round(width), positive }));
      announce(positive ? "Scribble added." : "Scribble taken away.");
    },
    /** @param {number} granularity from -1, part, to 1, whole */
    setGranularity(granularity) {
      const value = Math.round(Math.max(-1, Math.min(1, granularity)) * 100) / 100;
      store.setView({ granularity: value });
      const active = activeObject(store.get().document);
      if (active && active.granularity !== value) onActive("granularity", (object) => void (object.granularity = value), { merge: `granularity${active.id}` });
    },
    granularity: () => activeObject(store.get().document)?.granularity ?? store.get().view.granularity,
  };
}

/** Tenths of a pixel do; exports and sessions stay readable. @param {number} value */
const round = (value) => Math.round(value * 10) / 10;

/** @typedef {ReturnType<typeof promptActions>} PromptActions */
