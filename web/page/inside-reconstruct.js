// Masking: most of the photo is hidden, and the model fills it in (figure 5 of the paper, live).

import { el, icon } from "./dom.js";
import { latest } from "./latest.js";
import { canvasFrom, overlay, pointing } from "./stage-art.js";

/** @typedef {import("./app.js").App} App */

const FIRST = 0.75;

/** @param {App} app @returns {import("./inside.js").View} */
export function reconstructView(app) {
  const { engine, store, viewport } = app;
  const stage = overlay(app);
  // Nothing to point at here; but a click must not prompt what is not seen.
  const pointer = pointing(app, {});
  const wish = { maskRatio: FIRST, seed: 1 };
  let [visible, stale] = [false, true];
  /** Which picture lies over the photo. */
  let over = "masked";

  const ratio = el("input", { type: "range", id: "mask-ratio", min: 0.1, max: 0.95, step: 0.05, value: FIRST, oninput: () => ((wish.maskRatio = ratio.valueAsNumber), ask()) });
  const value = el("output", { class: "numbers", for: "mask-ratio" });
  const again = el("button", { type: "button", class: "button", "data-testid": "new-mask", onclick: () => ((wish.seed = 1 + Math.floor(Math.random() * 2 ** 31)), ask()) }, icon("dice"), "New mask");
  const figures = el("div", { class: "figures", role: "group", "aria-label": "Shown over the photo" });
  const completed = el("div", { class: "completed" });
  const hint = el("p", { class: "quiet-text small", hidden: true }, "The marked picture lies over the photo; press it again to see the photo.");
  const note = el("p", { class: "quiet-text small", role: "status" });
  const root = el(
    "div",
    { class: "stack" },
    el("p", { class: "small quiet-text" }, "The model learned by filling in. Part of the photo is hidden in patches; from the rest it guesses pixels, and how regions go on."),
    el("div", { class: "beside" }, el("label", { class: "field", for: "mask-ratio" }, el("span", { class: "spread" }, "Hidden", value), ratio), again),
    note, figures, hint, completed,
  );

  const work = latest((/** @type {typeof wish} */ wanted) => engine.segmenter.reconstruct(wanted), {
    done: show,
    failed: (error) => (note.textContent = `This did not work: ${/** @type {Error} */ (error).message}`),
    busy: (busy) => root.classList.toggle("working", busy),
  });

  function ask() {
    value.textContent = `${Math.round(100 * wish.maskRatio)} %`;
    ratio.setAttribute("aria-valuetext", value.textContent);
    stale = true;
    if (!visible) return;
    stale = false;
    work.ask({ ...wish });
  }

  /** @param {any} made */
  function show({ masked, reconstruction, regions }) {
    const { document: { image }, view: { model } } = store.get();
    const pictures = /** @type {[string, string, ImageData | null][]} */ ([["masked", "Masked", masked], ["reconstruction", "Filled in", reconstruction]]);
    /** @type {Map<string, HTMLCanvasElement>} */
    const canvases = new Map();
    for (const [name, , data] of pictures) if (data) canvases.set(name, canvasFrom(data));
    const aspect = image ? image.width / image.height : 1;
    const put = () => {
      for (const button of figures.querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.dataset.name === over));
      stage.set([canvases.get(over)]);
      viewport.showMasks(over === "");
    };
    const toggle = (/** @type {string} */ name) => ((over = over === name ? "" : name), put());
    if (over && !canvases.has(over)) over = "masked";
    figures.replaceChildren(...pictures.flatMap(([name, title]) => {
      const canvas = canvases.get(name);
      return canvas ? [figure(name, title, stretched(canvas, aspect), toggle)] : [];
    }));
    note.textContent = reconstruction ? "" : `${model?.name ?? "This model"} has no pixel decoder: its weights fill in regions only.`;
    hint.hidden = false;
    completed.replaceChildren(...regionRows(regions, aspect));
    put();
  }

  return {
    root,
    show() {
      visible = true;
      stage.show();
      pointer.start();
      viewport.showMasks(over === "");
      if (stale) ask();
    },
    hide() {
      visible = false;
      work.cancel();
      stale = true;
      pointer.stop();
      stage.hide();
      viewport.showMasks(true);
    },
    refresh() {
      stage.set([]);
      figures.replaceChildren();
      hint.hidden = true;
      completed.replaceChildren();
      ask();
    },
  };
}

/** @param {string} name @param {string} title @param {HTMLCanvasElement} canvas @param {(name: string) => void} toggle */
function figure(name, title, canvas, toggle) {
  canvas.setAttribute("aria-hidden", "true");
  return el("button", { type: "button", class: "figure", "data-name": name, "data-testid": `figure-${name}`, "aria-pressed": "false", onclick: () => toggle(name) }, canvas, el("span", {}, title));
}

/** The model's square picture in the photo's own shape. @param {HTMLCanvasElement} square @param {number} aspect */
function stretched(square, aspect) {
  const [width, height] = aspect >= 1 ? [288, 288 / aspect] : [288 * aspect, 288];
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.max(1, Math.round(width)), Math.max(1, Math.round(height))];
  canvas.getContext("2d")?.drawImage(square, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** @param {{ shown: ImageData, completed: ImageData, truth: ImageData }[]} regions @param {number} aspect */
function regionRows(regions, aspect) {
  if (regions.length === 0) return [];
  const cell = (/** @type {ImageData} */ image, /** @type {string} */ label) => {
    const canvas = stretched(canvasFrom(image), aspect);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", label);
    return el("td", {}, canvas);
  };
  const rows = regions.map(({ shown, completed, truth }, i) =>
    el("tr", {}, cell(shown, `Region ${i + 1}, the part that is shown`), cell(completed, `Region ${i + 1}, as the model completes it`), cell(truth, `Region ${i + 1}, whole`)));
  const head = ["Shown", "Completed", "Whole"].map((title) => el("th", { scope: "col" }, title));
  return [el("table", { class: "region-table" }, el("caption", {}, "Regions"), el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows))];
}
