// Attention: which patches the patch under the cursor looks at (figure 3 of the paper, live).

import { el } from "./dom.js";
import { latest } from "./latest.js";
import { heat } from "./pixels.js";
import { canvasFrom, canvasOf, overlay, pointing } from "./stage-art.js";

/** @typedef {import("./app.js").App} App */
/** @typedef {{ width: number, height: number, values: Float32Array, layer: number, heads: number, layers: number }} Attention */

/** Of the map, where there is no attention and where there is most: the photo shows through. */
const OPACITY = [150, 215];

/** @param {App} app @returns {import("./inside.js").View} */
export function attentionView(app) {
  const { engine, store, viewport } = app;
  const stage = overlay(app);
  /** Where from, as a part of the photo's sides. */
  const from = { x: 0.5, y: 0.5 };
  let grid = { width: 14, height: 14 };
  let visible = false;

  const layer = el("select", { id: "attention-layer", "data-testid": "attention-layer", onchange: ask });
  const head = el("select", { id: "attention-head", "data-testid": "attention-head", onchange: ask });
  const column = slider("Column", (cell) => ((from.x = (cell - 0.5) / grid.width), ask()));
  const row = slider("Row", (cell) => ((from.y = (cell - 0.5) / grid.height), ask()));
  const most = el("span", { class: "numbers" });
  const note = el("p", { class: "quiet-text small", role: "status" });
  const root = el(
    "div",
    { class: "stack" },
    el("p", { class: "small quiet-text" }, "The photo reaches the model as patches, and every patch looks at all others. Move over the photo: bright patches are those that the patch under the cursor takes most from."),
    el("div", { class: "pair" }, field("Layer", layer), field("Head", head)),
    legend(most),
    el("div", { class: "pair" }, column.root, row.root),
    note,
  );

  const work = latest((/** @type {any} */ wish) => engine.segmenter.attention(wish), {
    done: show,
    failed: (error) => (note.textContent = `This did not work: ${/** @type {Error} */ (error).message}`),
    busy: (busy) => root.classList.toggle("working", busy),
  });
  const pointer = pointing(app, { over: look });

  /** Every pixel of a patch asks for the same. @param {number} x @param {number} y */
  function look(x, y) {
    const image = store.get().document.image;
    if (!image) return;
    const cell = (/** @type {number} */ part, /** @type {number} */ count) => Math.min(count - 1, Math.floor(part * count));
    const [c, r] = [cell(x / image.width, grid.width), cell(y / image.height, grid.height)];
    const next = { x: (c + 0.5) / grid.width, y: (r + 0.5) / grid.height };
    if (next.x === from.x && next.y === from.y) return;
    Object.assign(from, next);
    ask();
  }

  function ask() {
    const image = store.get().document.image;
    if (!visible || !image) return;
    const chosen = head.value === "" || head.value === "mean" ? "mean" : Number(head.value);
    const at = { x: from.x * image.width, y: from.y * image.height };
    work.ask({ ...at, head: chosen, ...(layer.value === "" ? {} : { layer: Number(layer.value) }) });
  }

  /** @param {Attention} made */
  function show({ width, height, values, layer: of, heads, layers }) {
    grid = { width, height };
    choices(layer, Array.from({ length: layers }, (_, i) => [String(i), i === layers - 1 ? `${i + 1} (last)` : String(i + 1)]), String(of));
    choices(head, [["mean", "All, mean"], ...Array.from({ length: heads }, (_, i) => /** @type {[string, string]} */ ([String(i), String(i + 1)]))], head.value || "mean");
    column.set(cellOf(from.x, width), width);
    row.set(cellOf(from.y, height), height);
    const top = values.reduce((a, b) => Math.max(a, b), 0);
    most.textContent = `most: ${(100 * top).toFixed(1)} %`;
    note.textContent = "";
    stage.set([heatMap(values, width, height, top)], { more: (context, zoom) => outline(context, zoom) });
  }

  /** The patch that is asked about. @param {CanvasRenderingContext2D} context @param {number} zoom */
  function outline(context, zoom) {
    const image = store.get().document.image;
    if (!image) return;
    const [w, h] = [image.width / grid.width, image.height / grid.height];
    const [x, y] = [(cellOf(from.x, grid.width) - 1) * w, (cellOf(from.y, grid.height) - 1) * h];
    for (const [width, colour] of /** @type {[number, string][]} */ ([[4, "rgb(0 0 0 / 65%)"], [2, "#fff"]])) {
      context.lineWidth = width / zoom;
      context.strokeStyle = colour;
      context.strokeRect(x, y, w, h);
    }
  }

  return {
    root,
    show() {
      visible = true;
      stage.show();
      viewport.showMasks(false);
      pointer.start();
      ask();
    },
    hide() {
      visible = false;
      work.cancel();
      pointer.stop();
      stage.hide();
      viewport.showMasks(true);
    },
    refresh() {
      stage.set([]);
      layer.replaceChildren();
      head.replaceChildren();
      ask();
    },
  };
}

/** 1 for the first. @param {number} part @param {number} count */
const cellOf = (part, count) => Math.min(count, 1 + Math.floor(part * count));

/** @param {string} label @param {HTMLElement} control */
const field = (label, control) => el("label", { class: "field" }, el("span", {}, label), control);

/** For the keyboard, where the pointer is not. @param {string} label @param {(cell: number) => void} changed */
function slider(label, changed) {
  const id = `attention-${label.toLowerCase()}`;
  const input = el("input", { type: "range", id, min: 1, max: 14, step: 1, value: 7, oninput: () => changed(input.valueAsNumber) });
  const value = el("output", { class: "numbers", for: id });
  // Named by "for": within a label, the output would be what is labelled.
  const root = el("label", { class: "field", for: id }, el("span", { class: "spread" }, label, value), input);
  const set = (/** @type {number} */ cell, /** @type {number} */ most) => {
    input.max = String(most);
    input.valueAsNumber = cell;
    value.textContent = `${cell} of ${most}`;
  };
  return { root, set };
}

/** @param {HTMLSelectElement} select @param {[string, string][]} wanted @param {string} chosen */
function choices(select, wanted, chosen) {
  if (select.options.length !== wanted.length) select.replaceChildren(...wanted.map(([value, text]) => el("option", { value }, text)));
  select.value = chosen;
}

/** @param {HTMLElement} most */
function legend(most) {
  const bar = canvasOf(256, 1);
  const image = new ImageData(256, 1);
  for (let x = 0; x < 256; x++) image.data.set([...heat(x / 255), 255], 4 * x);
  bar.getContext("2d")?.putImageData(image, 0, 0);
  bar.setAttribute("aria-hidden", "true");
  return el("div", { class: "legend" }, bar, el("span", {}, "none"), most);
}

/** Relative to the strongest, by the square root: weak patches are seen too. @param {Float32Array} values @param {number} width @param {number} height @param {number} top */
function heatMap(values, width, height, top) {
  const image = new ImageData(width, height);
  for (let i = 0; i < values.length; i++) {
    const t = Math.sqrt(Math.max(0, values[i]) / (top || 1));
    image.data.set([...heat(t), OPACITY[0] + t * (OPACITY[1] - OPACITY[0])], 4 * i);
  }
  return canvasFrom(image);
}
