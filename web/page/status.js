// The status line, the loading bar, and what is shown when something failed.

import { byId, CLICK, el, FINGERS, icon } from "./dom.js";
import { activeObject, isEmpty } from "./store.js";

const TITLE = document.title;

/** From this share of the photo on, in per cent, a mask says nothing. */
const WHOLE = 98;

/** @param {number} bytes */
export const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
/** @param {number} ms */
export const duration = (ms) => (ms >= 9950 ? `${(ms / 1000).toFixed(0)} s` : ms >= 995 ? `${(ms / 1000).toFixed(1)} s` : `${ms < 10 ? ms.toFixed(1) : ms.toFixed(0)} ms`);

/** @param {import("./store.js").State} state @returns {string} one sentence on where we are */
export function sentence({ document, view }) {
  if (view.error) return view.error.title;
  if (view.busy === "open") return "Opening the photo";
  if (view.busy === "load") return document.image ? "The model is loading; prompts are kept" : "The model is loading";
  if (!document.image) return "Choose a photo";
  if (view.busy === "encode") return "Looking at the photo";
  if (view.panel === "inside" && view.tool === "pan") return "Looking inside the model";
  const active = activeObject(document);
  if (!active || isEmpty(active.prompts)) return `${CLICK} what you want, or drag a box around it`;
  if (view.busy === "predict") return `Making the mask of ${active.name}`;
  const percent = active.result ? (100 * active.result.area) / (document.image.width * document.image.height) : 0;
  if (active.result?.area === 0) return `${active.name}: nothing found; ${CLICK.toLowerCase()} what belongs to it`;
  if (percent > WHOLE) return `${active.name}: the whole photo; ${FINGERS ? "choose Subtract and tap" : "Shift-click"} what is not part of it`;
  return active.result ? `${active.name}: ${percent.toFixed(1)} % of the photo` : active.name;
}

/** @param {any} progress */
function progressText({ stage, message, loaded, total, cached }) {
  if (stage === "weights" && total && !cached) return `Fetching the model, ${megabytes(loaded ?? 0)} of ${megabytes(total)}`;
  return message ?? "Loading";
}

/** @param {import("./app.js").App} app */
export function mountStatus({ store, commands, engine }) {
  commands.add("retry", { run: () => engine.retry() });
  store.subscribe((state) => update(state));
  update(store.get());
}

/** @param {import("./store.js").State} state */
function update(state) {
  const { document: made, view } = state;
  text(byId("status"), sentence(state));
  fact("image", made.image && `${made.image.width} × ${made.image.height}`);
  fact("encode", view.encodeMs !== null ? duration(view.encodeMs) : null);
  fact("predict", view.predictMs !== null ? duration(view.predictMs) : null);
  fact("memory", view.bytes !== null ? megabytes(view.bytes) : null);
  byId("working").hidden = view.busy !== "encode" && view.busy !== "open";
  const title = made.image ? `${made.image.name} · R-MAE` : TITLE;
  if (document.title !== title) document.title = title;
  device(view);
  loading(view);
  failure(view);
}

/** Leaves the text alone when it is the same: screen readers would say it again. @param {Element} element @param {string} value */
function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

/** @param {string} name @param {string | null | undefined} value */
function fact(name, value) {
  const pair = byId(`fact-${name}`);
  pair.hidden = !value;
  text(/** @type {Element} */ (pair.querySelector("dd")), value ?? "");
}

/** @param {import("./store.js").View} view */
function device({ device: info, busy, error }) {
  const button = byId("device");
  const name = info ? (info.kind === "webgpu" ? "WebGPU" : "CPU") : error ? "No engine" : "Starting";
  text(byId("device-name"), name);
  // The reason is a sentence of its own; here it goes on from the name.
  text(byId("device-why"), (info?.reason || info?.name || "").replace(/^On (the CPU|WebGPU)[,:]?\s*/, "").replace(/\.$/, ""));
  button.dataset.state = error && !info ? "bad" : busy ? "busy" : info ? "ready" : "busy";
  button.title = info ? `${info.name}. ${info.reason ?? ""}` : "";
}

/** @param {import("./store.js").View} view */
function loading({ progress, busy }) {
  const shown = Boolean(progress) && busy === "load";
  const box = byId("loading");
  box.hidden = !shown;
  if (!shown) return;
  text(byId("loading-text"), progressText(progress));
  const bar = /** @type {HTMLProgressElement} */ (byId("loading-bar"));
  if (progress.total) bar.value = (progress.loaded ?? 0) / progress.total;
  else bar.removeAttribute("value");
}

/** @type {unknown} */
let told = null;

/** A card on the stage, with a way on. @param {import("./store.js").View} view */
function failure({ error }) {
  if (error === told) return;
  told = error;
  document.getElementById("failure")?.remove();
  if (!error) return;
  byId("stage").append(
    el(
      "div",
      { class: "failure card", id: "failure", role: "alert" },
      icon("warning"),
      el("div", {}, el("h3", {}, error.title), el("p", {}, error.message)),
      el("button", { type: "button", class: "button primary", "data-action": "retry", "data-testid": "retry" }, icon("retry"), "Try again"),
    ),
  );
}
