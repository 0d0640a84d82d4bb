// The tools: their buttons, sliders and keys. Pointers are in pointer.js, the keyboard's cursor in keyboard.js.

import { byId, clamp } from "./dom.js";
import { mountKeyboard } from "./keyboard.js";
import { mountPointer } from "./pointer.js";
import { promptActions } from "./prompts.js";
import { activeObject } from "./store.js";

/** @typedef {import("./app.js").App} App */

const TOOLS = /** @type {const} */ ({ click: "v", box: "x", brush: "b", pan: "h" });
const TITLES = { click: "Click (V)", box: "Box (X)", brush: "Brush (B)", pan: "Pan (H, or hold Space)" };
export const BRUSH = { least: 4, most: 80 };

/** @param {App} app */
export function mountTools(app) {
  const actions = promptActions(app);
  mountButtons(app);
  mountSliders(app, actions);
  mountCommands(app, actions);
  mountPointer(app, actions);
  mountKeyboard(app, actions);
  app.store.subscribe((state) => update(state, actions));
  update(app.store.get(), actions);
}

/** @param {App} app */
function mountButtons({ store, commands, announce }) {
  const choose = (/** @type {keyof typeof TOOLS} */ tool) => {
    store.setView({ tool });
    announce(`${tool} tool`);
  };
  for (const button of buttons("tool")) {
    const tool = /** @type {keyof typeof TOOLS} */ (button.dataset.tool);
    button.title = TITLES[tool];
    button.addEventListener("click", () => choose(tool));
    commands.add(`tool-${tool}`, { keys: [TOOLS[tool]], run: () => choose(tool) });
  }
  for (const button of buttons("sign")) button.addEventListener("click", () => store.setView({ sign: button.dataset.sign === "add" }));
  commands.add("sign", {
    keys: ["s"],
    run: () => {
      store.setView({ sign: !store.get().view.sign });
      announce(store.get().view.sign ? "Prompts add" : "Prompts subtract");
    },
  });
}

/** @param {string} kind */
const buttons = (kind) => /** @type {HTMLElement[]} */ ([...byId("tools").querySelectorAll(`[data-${kind}]`)]);
/** @param {string} id */
const slider = (id) => /** @type {HTMLInputElement} */ (byId(id));

/** @param {App} app @param {import("./prompts.js").PromptActions} actions */
function mountSliders({ store }, actions) {
  slider("brush").addEventListener("input", () => store.setView({ brush: slider("brush").valueAsNumber }));
  slider("granularity").addEventListener("input", () => actions.setGranularity(slider("granularity").valueAsNumber));
}

/** @param {App} app @param {import("./prompts.js").PromptActions} actions */
function mountCommands({ store, commands, viewport, announce }, actions) {
  const brush = (/** @type {number} */ by) => store.setView({ brush: clamp(Math.round(store.get().view.brush * by), BRUSH.least, BRUSH.most) });
  const coarser = (/** @type {number} */ by) => {
    actions.setGranularity(actions.granularity() + by);
    announce(`Granularity ${actions.granularity()}`);
  };
  const travel = (/** @type {'undo' | 'redo'} */ way) => {
    const label = store[way]();
    announce(label === null ? `Nothing to ${way}` : `${way === "undo" ? "Undone" : "Redone"}: ${label}`);
  };
  commands.add("brush-thinner", { keys: ["["], run: () => brush(1 / 1.25) });
  commands.add("brush-thicker", { keys: ["]"], run: () => brush(1.25) });
  commands.add("part", { keys: [","], run: () => coarser(-0.1) });
  commands.add("whole", { keys: ["."], run: () => coarser(0.1) });
  commands.add("undo", { keys: ["Ctrl+z"], run: () => travel("undo") });
  commands.add("redo", { keys: ["Ctrl+Shift+z", "Ctrl+y"], run: () => travel("redo") });
  commands.add("fit", { keys: ["f"], run: () => viewport.fit() });
  commands.add("zoom-one", { keys: ["0"], run: () => viewport.actualSize() });
  commands.add("zoom-in", { keys: ["+", "="], run: () => viewport.zoomBy(1.25) });
  commands.add("zoom-out", { keys: ["-"], run: () => viewport.zoomBy(1 / 1.25) });
}

/** @param {import("./store.js").State} state @param {import("./prompts.js").PromptActions} actions */
function update({ document: made, view, canUndo, canRedo, undoLabel, redoLabel }, actions) {
  for (const button of buttons("tool")) button.setAttribute("aria-pressed", String(button.dataset.tool === view.tool));
  for (const button of buttons("sign")) button.setAttribute("aria-pressed", String((button.dataset.sign === "add") === view.sign));
  byId("brush-size").hidden = view.tool !== "brush";
  slider("brush").valueAsNumber = view.brush;
  const granularity = slider("granularity");
  granularity.valueAsNumber = actions.granularity();
  granularity.setAttribute("aria-valuetext", granularityWords(actions.granularity()));
  byId("granularity-box").hidden = byId("zoom").hidden = !made.image;
  byId("zoom-value").textContent = `${percent(view.zoom)} %`;
  byId("zoom-value").setAttribute("aria-label", `${percent(view.zoom)} %, go to actual size`);
  historyButton("undo", canUndo, undoLabel);
  historyButton("redo", canRedo, redoLabel);
  const active = activeObject(made);
  const label = made.image ? `${made.image.name}, ${made.image.width} by ${made.image.height} pixels. ${active ? `${active.name} is active.` : "No object yet."}` : "No photo yet";
  if (byId("canvas").getAttribute("aria-label") !== label) byId("canvas").setAttribute("aria-label", label);
}

/** @param {number} zoom */
const percent = (zoom) => (zoom < 0.1 ? (100 * zoom).toFixed(1) : Math.round(100 * zoom));

/** @param {number} value */
function granularityWords(value) {
  if (Math.abs(value) < 0.05) return "balanced";
  return `${Math.round(Math.abs(value) * 100)} % towards ${value < 0 ? "part" : "whole"}`;
}

/** @param {'undo' | 'redo'} name @param {boolean} can @param {string} label */
function historyButton(name, can, label) {
  const button = /** @type {HTMLButtonElement} */ (byId(name));
  const verb = name === "undo" ? "Undo" : "Redo";
  button.disabled = !can;
  button.title = can ? `${verb} ${label}` : verb;
  button.setAttribute("aria-label", button.title);
}
