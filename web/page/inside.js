// "Look inside": what the model makes of the photo, by the paper's own means. Each view draws on the
// stage while the panel is open, and needs nothing of the others.

import { el } from "./dom.js";
import { attentionView } from "./inside-attention.js";
import { reconstructView } from "./inside-reconstruct.js";
import { regionsView } from "./inside-regions.js";
import { segmented } from "./output.js";

/**
 * @typedef {import("./app.js").App} App
 * @typedef {{ root: HTMLElement, show: () => void, hide: () => void, refresh: () => void }} View
 *   `refresh` when photo, weights or device have changed
 */

/** @type {[string, string, (app: App) => View][]} */
const VIEWS = [
  ["reconstruct", "Masking", reconstructView],
  ["attention", "Attention", attentionView],
  ["regions", "Regions", regionsView],
];

/** @param {HTMLElement} root @param {App} app */
export function mount(root, app) {
  const { store, engine } = app;
  const views = new Map(VIEWS.map(([name, , make]) => [name, make(app)]));
  const empty = el("p", { class: "quiet-text" });
  const host = el("div", { class: "stack" });
  let chosen = VIEWS[0][0];
  /** @type {View | null} */
  let shown = null;
  let seen = "";

  const choice = segmented("What to look at", VIEWS.map(([name, title]) => [name, title]), chosen, (name) => ((chosen = name), update()), "inside");
  root.classList.add("stack");
  root.append(el("div", { class: "panel-head" }, el("h2", {}, "Look inside")), choice, empty, host);

  /** The view that should be on the stage now. */
  function wanted() {
    const { document, view } = store.get();
    empty.textContent = !document.image ? "Open a photo, and see what the model makes of it." : !view.model ? "The engine is still starting." : "";
    empty.hidden = !empty.textContent;
    const ready = view.panel === "inside" && !view.start && document.image && view.model && engine.segmenter?.image;
    return ready ? /** @type {View} */ (views.get(chosen)) : null;
  }

  function update() {
    const next = wanted();
    if (next !== shown) {
      shown?.hide();
      host.replaceChildren(...(next ? [next.root] : []));
      shown = next;
      next?.show();
    }
    const { document, view } = store.get();
    const now = [document.image?.key ?? document.image?.name, view.encodeMs, view.model?.name, view.model?.bytes, view.device?.kind].join();
    if (now === seen) return;
    seen = now;
    for (const view of views.values()) view.refresh();
  }

  store.subscribe((_, { document, view }) => {
    if (document || ["panel", "start", "model", "device", "encodeMs", "busy"].some((name) => view.includes(/** @type {any} */ (name)))) update();
  });
  update();
}
