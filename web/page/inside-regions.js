// Regions: the segments of Felzenszwalb and Huttenlocher that the model was trained with, made live.

import { el, icon } from "./dom.js";
import { latest } from "./latest.js";
import { labelColour } from "./pixels.js";
import { canvasFrom, overlay, pointing } from "./stage-art.js";
import { addObject, noPrompts } from "./store.js";

/** @typedef {import("./app.js").App} App */
/** @typedef {{ width: number, height: number, labels: Uint32Array, count: number }} Regions */

/** The slider's steps: scales of the method, from small regions to large ones. */
const SCALES = [10, 20, 50, 100, 200, 300, 500, 800, 1200, 2000, 4000];
const FIRST = 5;

/** @param {App} app @returns {import("./inside.js").View} */
export function regionsView(app) {
  const { engine, store, viewport } = app;
  const stage = overlay(app);
  let [visible, stale] = [false, true];
  /** @type {Regions | null} */
  let regions = null;
  /** @type {HTMLCanvasElement | null} */
  let colours = null;
  let pointed = -1;
  /** Labels and pixels of each, by size. @type {number[]} */
  let order = [];
  /** @type {Uint32Array} */
  let areas = new Uint32Array(0);

  const scale = el("input", { type: "range", id: "region-scale", min: 0, max: SCALES.length - 1, step: 1, value: FIRST, oninput: ask });
  const value = el("output", { class: "numbers", for: "region-scale" });
  const note = el("p", { class: "small quiet-text", role: "status" });
  /** For keys and small screens: the regions by size, the largest first. */
  const which = el("input", { type: "range", id: "region-which", "data-testid": "region-which", min: 1, max: 1, step: 1, value: 1, oninput: () => point(order[which.valueAsNumber - 1] ?? -1) });
  const size = el("output", { class: "numbers", for: "region-which" });
  const take = el("button", { type: "button", class: "button", "data-testid": "region-use", onclick: () => use(pointed < 0 ? (order[0] ?? -1) : pointed) }, icon("add"), "Use as a prompt");
  const root = el(
    "div",
    { class: "stack" },
    el("p", { class: "small quiet-text" }, "Before training, photos are cut into regions of like colour, without any model. R-MAE learns to complete them. A larger scale makes fewer, larger regions."),
    el("label", { class: "field", for: "region-scale" }, el("span", { class: "spread" }, "Scale", value), scale),
    note,
    el("p", { class: "small quiet-text" }, "Point at a region to see it alone. Click it, and it becomes the prompt of a new object."),
    el("label", { class: "field", for: "region-which" }, el("span", { class: "spread" }, "Region, by size", size), which),
    el("div", { class: "row" }, take),
  );

  const work = latest((/** @type {number} */ wanted) => engine.segmenter.regions({ scale: wanted }), {
    done: show,
    failed: (error) => (note.textContent = `This did not work: ${/** @type {Error} */ (error).message}`),
    busy: (busy) => root.classList.toggle("working", busy),
  });
  const pointer = pointing(app, { over: (x, y) => point(labelAt(x, y)), out: () => point(-1), click: (x, y) => use(labelAt(x, y)) });

  function ask() {
    const wanted = SCALES[scale.valueAsNumber];
    value.textContent = scale.ariaValueText = String(wanted);
    stale = !visible;
    if (visible) work.ask(wanted);
  }

  /** @param {Regions} made */
  function show(made) {
    regions = made;
    colours = canvasFrom(coloured(made));
    areas = areasOf(made);
    order = Array.from(areas.keys()).sort((a, b) => areas[b] - areas[a]);
    which.max = String(made.count);
    which.valueAsNumber = 1;
    note.textContent = made.count === 1 ? "One region." : `${made.count} regions.`;
    pointed = 0;
    point(-1);
  }

  /** @param {number} x @param {number} y image pixels @returns {number} the label there, or -1 */
  function labelAt(x, y) {
    const image = store.get().document.image;
    if (!regions || !image || x < 0 || y < 0) return -1;
    const column = Math.min(regions.width - 1, Math.floor((x / image.width) * regions.width));
    const line = Math.min(regions.height - 1, Math.floor((y / image.height) * regions.height));
    return regions.labels[line * regions.width + column];
  }

  /** Shows one region alone, or all. @param {number} label -1 for all */
  function point(label) {
    if (label === pointed || !regions) return;
    pointed = label;
    stage.set([label < 0 ? colours : canvasFrom(alone(regions, label))], { smooth: false });
    if (label >= 0) which.valueAsNumber = order.indexOf(label) + 1;
    const share = label < 0 ? "" : `${((100 * areas[label]) / regions.labels.length).toFixed(1)} % of the photo`;
    size.textContent = share;
    which.setAttribute("aria-valuetext", share ? `${which.value} of ${regions.count}, ${share}` : `all ${regions.count}`);
  }

  /** @param {number} label */
  function use(label) {
    if (label < 0 || !regions) return;
    const mask = maskOf(regions, label);
    let name = "";
    store.dispatch("add region", (draft) => void (name = addObject(draft, { prompts: { ...noPrompts(), mask } }).name));
    const see = () => store.setView({ panel: "objects", sheet: true });
    app.toast({ kind: "good", id: "region", text: `The region is the prompt of ${name}.`, action: { label: "See it", run: see } });
  }

  return {
    root,
    show() {
      visible = true;
      stage.show();
      viewport.showMasks(false);
      pointer.start();
      if (stale) ask();
    },
    hide() {
      visible = false;
      if (work.running) stale = true;
      work.cancel();
      pointer.stop();
      stage.hide();
      viewport.showMasks(true);
    },
    refresh() {
      regions = colours = null;
      stage.set([]);
      ask();
    },
  };
}

/** Each region in a colour of its own, with dark borders. @param {Regions} regions */
function coloured({ width, height, labels, count }) {
  const image = new ImageData(width, height);
  const words = new Uint32Array(image.data.buffer);
  const palette = Uint32Array.from({ length: count }, (_, label) => word(labelColour(label), 150));
  const border = word([10, 16, 15], 190);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const edge = (x + 1 < width && labels[i + 1] !== labels[i]) || (y + 1 < height && labels[i + width] !== labels[i]);
      words[i] = edge ? border : palette[labels[i]];
    }
  }
  return image;
}

/** One region clear, the rest dimmed. @param {Regions} regions @param {number} label */
function alone({ width, height, labels }, label) {
  const image = new ImageData(width, height);
  const words = new Uint32Array(image.data.buffer);
  const [dim, line] = [word([8, 12, 11], 175), word([255, 255, 255], 255)];
  for (let i = 0; i < labels.length; i++) {
    if (labels[i] !== label) words[i] = dim;
    else if (labels[i + 1] !== label || labels[i - 1] !== label || labels[i + width] !== label || labels[i - width] !== label) words[i] = line;
  }
  return image;
}

/** Pixels of each region. @param {Regions} regions */
function areasOf({ labels, count }) {
  const areas = new Uint32Array(count);
  for (let i = 0; i < labels.length; i++) areas[labels[i]] += 1;
  return areas;
}

/** @param {Regions} regions @param {number} label */
function maskOf({ width, height, labels }, label) {
  const data = new Uint8Array(width * height);
  for (let i = 0; i < data.length; i++) if (labels[i] === label) data[i] = 255;
  return { width, height, data };
}

/** A pixel as ImageData has it in memory: red first, on every machine that has browsers. @param {[number, number, number]} rgb @param {number} alpha */
const word = ([red, green, blue], alpha) => ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
