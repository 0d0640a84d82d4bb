// The tabs at the side, the bottom sheet that they are on narrow screens, and the start page.

import { byId } from "./dom.js";

/** @typedef {import("./app.js").App} App */

const tabs = () => /** @type {HTMLElement[]} */ ([...document.querySelectorAll('#tabs [role="tab"]')]);

/** @param {App} app */
export function mountPanels({ store, commands }) {
  for (const tab of tabs()) tab.addEventListener("click", () => choose(tab));
  byId("tabs").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const list = tabs();
    const at = list.indexOf(/** @type {HTMLElement} */ (event.target));
    const next = step ? list[(at + step + list.length) % list.length] : { Home: list[0], End: list.at(-1) }[event.key];
    if (!next) return;
    event.preventDefault();
    next.focus();
    choose(next);
  });

  /** @param {HTMLElement} tab */
  function choose(tab) {
    const panel = /** @type {string} */ (tab.dataset.panel);
    const { panel: shown, sheet } = store.get().view;
    store.setView({ panel, sheet: !(sheet && panel === shown) });
  }

  commands.add("sheet", { run: () => store.setView({ sheet: !store.get().view.sheet }) });
  commands.add("start", { run: () => store.setView({ start: !store.get().view.start || !store.get().document.image }) });
  commands.add("start-close", { run: closeStart });
  commands.add("device", { run: () => show("settings") });
  commands.add("panel", { run: (event) => show(/** @type {HTMLElement} */ (event?.target).dataset.panel ?? "objects") });

  function closeStart() {
    store.setView({ start: !store.get().document.image });
    byId("canvas").focus();
  }

  /** @param {string} panel */
  function show(panel) {
    store.setView({ panel, sheet: true });
    byId(`tab-${panel}`).focus();
  }

  commands.add("start-leave", { keys: ["Escape"], run: () => store.get().view.start && store.get().document.image && closeStart() });
  dragSheet(store);
  store.subscribe(() => update(store));
  update(store);
}

/** A pull on the handle opens and closes the sheet, as a click does. @param {import("./store.js").Store} store */
function dragSheet(store) {
  const handle = byId("sheet-handle");
  let from = 0;
  let pulled = false;
  handle.addEventListener("pointerdown", (event) => {
    [from, pulled] = [event.clientY, false];
    handle.setPointerCapture(event.pointerId);
  });
  handle.addEventListener("pointermove", (event) => {
    if (!handle.hasPointerCapture(event.pointerId) || pulled || Math.abs(event.clientY - from) < 24) return;
    pulled = true;
    store.setView({ sheet: event.clientY < from });
  });
  // The click that ends a pull is none.
  handle.addEventListener("click", (event) => pulled && (event.stopPropagation(), (pulled = false)), true);
}

/** @param {import("./store.js").Store} store */
function update(store) {
  const { view, document: made } = store.get();
  for (const tab of tabs()) {
    const selected = tab.dataset.panel === view.panel;
    tab.setAttribute("aria-selected", String(selected));
    tab.tabIndex = selected ? 0 : -1;
  }
  for (const panel of document.querySelectorAll("#panels > [data-panel]")) {
    /** @type {HTMLElement} */ (panel).hidden = /** @type {HTMLElement} */ (panel).dataset.panel !== view.panel;
  }
  document.body.classList.toggle("sheet-open", view.sheet);
  byId("sheet-handle").setAttribute("aria-expanded", String(view.sheet));
  /** @type {HTMLElement} */ (byId("sheet-handle").firstElementChild).textContent = view.sheet ? "Close the panel" : "Open the panel";
  const start = view.start || !made.image;
  const left = !start && byId("start").contains(document.activeElement);
  byId("start").hidden = !start;
  for (const id of ["canvas", "granularity-box", "zoom"]) byId(id).inert = start;
  byId("skip").setAttribute("href", start ? "#start" : "#canvas");
  if (left) byId("canvas").focus();
  document.body.classList.toggle("starting", start);
  byId("photos").setAttribute("aria-expanded", String(start));
  /** @type {HTMLElement} */ (document.querySelector(".start-close")).hidden = !made.image;
}
