// The list of objects: choose, name, colour, hide, order, delete.

import { byId, CLICK, el, icon, iconButton } from "./dom.js";
import { orderByDragging } from "./reorder.js";
import { activeObject, addObject, isEmpty, noPrompts } from "./store.js";

/**
 * @typedef {import("./app.js").App} App
 * @typedef {import("./store.js").PromptedObject} PromptedObject
 * @typedef {import("./store.js").Document} Document
 */

/** @param {Document} draft @param {number} id */
const find = (draft, id) => draft.objects.find((object) => object.id === id);

/** @param {App} app what can be done to objects, each an undoable step */
export function objectActions({ store, announce }) {
  /** @param {string} label @param {number} id @param {(object: PromptedObject, draft: Document) => unknown} change @param {{ merge?: string }} [options] */
  const change = (label, id, change, options) =>
    store.dispatch(label, (draft) => {
      const object = find(draft, id);
      return object ? change(object, draft) : false;
    }, options);

  return {
    add() {
      if (!store.get().document.image) return;
      store.dispatch("new object", (draft) => void addObject(draft));
      announce(`${activeObject(store.get().document)?.name}, empty. Click what belongs to it.`);
    },
    /** @param {number} id */
    activate(id) {
      if (store.get().document.activeId === id) return;
      store.patch((draft) => void (draft.activeId = id));
      announce(`${activeObject(store.get().document)?.name} is active.`);
    },
    /** @param {number} id @param {string} name */
    rename: (id, name) => change("rename", id, (object) => (name.trim() && name.trim() !== object.name ? void (object.name = name.trim()) : false)),
    /** @param {number} id @param {string} colour */
    recolour: (id, colour) => change("colour", id, (object) => void (object.colour = colour), { merge: `colour${id}` }),
    /** @param {number} id */
    toggle(id) {
      change("show or hide", id, (object) => void (object.visible = !object.visible));
      const object = store.get().document.objects.find((candidate) => candidate.id === id);
      announce(`${object?.name} is ${object?.visible ? "shown" : "hidden"}.`);
    },
    /** @param {number} id */
    clear: (id) => change("clear prompts", id, (object) => (isEmpty(object.prompts) ? false : void (object.prompts = noPrompts()))),
    /** @param {number} id */
    remove(id) {
      const name = store.get().document.objects.find((object) => object.id === id)?.name;
      const done = store.dispatch("delete object", (draft) => {
        const at = draft.objects.findIndex((object) => object.id === id);
        if (at < 0) return false;
        draft.objects.splice(at, 1);
        if (draft.activeId === id) draft.activeId = draft.objects[Math.min(at, draft.objects.length - 1)]?.id ?? null;
      });
      if (done) announce(`${name} is deleted. Undo brings it back.`);
    },
    /** @param {number} id @param {number} to its place in the list */
    move(id, to) {
      const done = store.dispatch("reorder", (draft) => {
        const at = draft.objects.findIndex((object) => object.id === id);
        const place = Math.max(0, Math.min(draft.objects.length - 1, to));
        if (at < 0 || at === place) return false;
        draft.objects.splice(place, 0, ...draft.objects.splice(at, 1));
      });
      if (done) announce(`Moved to place ${to + 1} of ${store.get().document.objects.length}.`);
    },
  };
}

/** @typedef {ReturnType<typeof objectActions>} Actions */

/** @param {App} app */
export function mountObjects(app) {
  const { store, commands } = app;
  const actions = objectActions(app);
  const host = byId("objects-panel");
  const list = el("ol", { class: "objects", id: "object-list", "data-testid": "object-list", "aria-label": "Objects, the first on top" });
  const add = el("button", { type: "button", class: "button", "data-testid": "new-object", "aria-keyshortcuts": "N", onclick: () => actions.add() }, icon("add"), "New");
  const empty = el("div", { class: "empty" }, icon("click"), el("h3", {}, "No objects yet"), el("p", {}, `${CLICK} something in the photo, or drag a box around it.`));
  host.append(el("div", { class: "panel-head" }, el("h2", {}, "Objects"), add), empty, list, hints());
  let renaming = 0;

  /** @param {number} id */
  function rename(id) {
    renaming = id;
    render();
    const input = list.querySelector(".object-rename");
    input?.focus();
    input?.select();
  }

  /** @param {number} id @param {string | null} name */
  function renamed(id, name) {
    if (renaming !== id) return;
    renaming = 0;
    if (name === null || !actions.rename(id, name)) render();
    list.querySelector(`[data-id="${id}"] .object-main`)?.focus();
  }

  function render() {
    const { document: made } = store.get();
    add.disabled = !made.image;
    empty.hidden = made.objects.length > 0;
    const focused = focusKey(list);
    list.replaceChildren(...made.objects.map((object, index) => item(object, index, made, actions, { renaming, rename, renamed })));
    restoreFocus(list, focused);
  }

  /** A result came in: the rows stay, so that a name being typed or a row being dragged does too. */
  function refresh() {
    const { document: made } = store.get();
    const rows = [...list.children];
    const same = rows.length === made.objects.length && rows.every((row, index) => row.dataset.id === String(made.objects[index].id));
    if (!same || list.querySelector(".object.active")?.dataset.id !== (made.activeId === null ? undefined : String(made.activeId))) return render();
    rows.forEach((row, index) => {
      const part = row.querySelector(".object-facts");
      if (part) part.textContent = facts(made.objects[index], made);
    });
  }

  orderByDragging(list, actions);
  store.subscribe((_, { document, reason }) => document && (reason === "patch" ? refresh() : render()));
  render();

  const withActive = (/** @type {(object: PromptedObject) => void} */ run) => () => {
    const active = activeObject(store.get().document);
    if (active) run(active);
  };
  commands.add("object-new", { keys: ["n"], run: actions.add });
  const remove = withActive(({ id }) => actions.remove(id));
  // Not while another part of the page has the focus: the key may be meant for it.
  const isHere = (/** @type {Event | undefined} */ event) => !(event?.target instanceof Element) || !event.target.closest(".side, .topbar, .start") || list.contains(event.target);
  commands.add("object-delete", { keys: ["Delete", "Backspace"], run: (event) => isHere(event) && remove() });
  commands.add("object-rename", { keys: ["F2"], run: withActive(({ id }) => (store.setView({ panel: "objects", sheet: true }), rename(id))) });
  for (let place = 1; place <= 9; place++) {
    const go = () => {
      const object = store.get().document.objects[place - 1];
      if (object) actions.activate(object.id);
    };
    commands.add(`object-${place}`, { keys: [String(place)], run: go });
  }
}

/** The list is made anew after each change; what had the focus gets it back. @param {HTMLElement} list */
function focusKey(list) {
  const focused = document.activeElement;
  if (!focused || !list.contains(focused)) return null;
  return [focused.closest("li")?.getAttribute("data-id"), focused.getAttribute("data-part")];
}

/** @param {HTMLElement} list @param {(string | null | undefined)[] | null} key */
function restoreFocus(list, key) {
  if (!key) return;
  const row = list.querySelector(`[data-id="${key[0]}"]`) ?? list.querySelector(".object.active") ?? list.lastElementChild;
  const part = row?.querySelector(`[data-part="${key[1]}"]:not(:disabled)`) ?? row?.querySelector(".object-main");
  if (part instanceof HTMLElement) part.focus();
  else document.getElementById("canvas")?.focus();
}

/**
 * @param {PromptedObject} object @param {number} index @param {Document} made @param {Actions} actions
 * @param {{ renaming: number, rename(id: number): void, renamed(id: number, name: string | null): void }} naming
 */
function item(object, index, made, actions, naming) {
  const active = object.id === made.activeId;
  const { id, name } = object;
  const row = el(
    "div",
    { class: "object-row" },
    el("span", { class: "object-drag", "aria-hidden": "true" }, icon("drag")),
    swatch(object, index, actions),
    naming.renaming === id ? renameField(object, naming) : mainButton(object, index, made, active, actions, naming),
    iconButton(object.visible ? "eye" : "eye-off", `${object.visible ? "Hide" : "Show"} ${name}`, () => actions.toggle(id), { "data-part": "eye" }),
  );
  return el(
    "li",
    { class: `object${active ? " active" : ""}${object.visible ? "" : " invisible"}`, "data-id": id, "data-testid": `object-${index + 1}` },
    row,
    active ? tools(object, index, made.objects.length, actions, naming) : null,
  );
}

/** @param {PromptedObject} object @param {number} index @param {Actions} actions its colour, and the key that goes to it */
function swatch({ id, name, colour }, index, actions) {
  const input = el("input", {
    type: "color", value: colour, title: "Colour", "aria-label": `Colour of ${name}`, "data-part": "colour",
    onchange: (/** @type {Event} */ event) => actions.recolour(id, /** @type {HTMLInputElement} */ (event.target).value),
  });
  const number = index < 9 ? el("span", { class: `object-number${isDark(colour) ? " on-dark" : ""}`, "aria-hidden": "true" }, index + 1) : null;
  return el("span", { class: "object-colour" }, input, number);
}

/** @param {string} colour "#rrggbb" */
export function isDark(colour) {
  const value = Number.parseInt(colour.slice(1), 16);
  return 0.299 * (value >> 16) + 0.587 * ((value >> 8) & 255) + 0.114 * (value & 255) < 110;
}

/** @param {PromptedObject} object @param {Document} made */
function facts({ result, prompts }, { image }) {
  if (isEmpty(prompts)) return "no prompts yet";
  if (!result || !image) return "…";
  if (result.area === 0) return "nothing found";
  return `${((100 * result.area) / (image.width * image.height)).toFixed(1)} % · ${Math.round(100 * result.score)} % sure`;
}

/** @param {PromptedObject} object @param {number} index @param {Document} made @param {boolean} active @param {Actions} actions @param {any} naming */
function mainButton(object, index, made, active, actions, naming) {
  return el(
    "button",
    {
      type: "button", class: "object-main", "data-part": "main", "aria-pressed": String(active),
      "aria-keyshortcuts": index < 9 ? String(index + 1) : null,
      onclick: () => actions.activate(object.id), ondblclick: () => naming.rename(object.id),
    },
    el("span", { class: "object-name" }, object.name),
    el("span", { class: "object-facts" }, facts(object, made)),
  );
}

/** @param {PromptedObject} object @param {any} naming */
function renameField({ id, name }, naming) {
  return el("input", {
    type: "text", class: "object-rename", value: name, maxLength: 80, "aria-label": `New name of ${name}`, "data-part": "name",
    onblur: (/** @type {Event} */ event) => naming.renamed(id, /** @type {HTMLInputElement} */ (event.target).value),
    onkeydown: (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Enter") naming.renamed(id, /** @type {HTMLInputElement} */ (event.target).value);
      if (event.key === "Escape") naming.renamed(id, null);
    },
  });
}

/** @param {PromptedObject} object @param {number} index @param {number} count @param {Actions} actions @param {any} naming */
function tools({ id, name, prompts }, index, count, actions, naming) {
  const tool = (/** @type {string} */ symbol, /** @type {string} */ label, /** @type {() => void} */ run, /** @type {boolean} */ disabled = false, more = {}) =>
    iconButton(symbol, `${label} ${name}`, run, { disabled, "data-part": symbol, ...more });
  return el(
    "div",
    { class: "object-tools", role: "group", "aria-label": `Change ${name}` },
    tool("rename", "Rename", () => naming.rename(id)),
    tool("up", "Move up", () => actions.move(id, index - 1), index === 0),
    tool("down", "Move down", () => actions.move(id, index + 1), index === count - 1),
    tool("clear", "Clear the prompts of", () => actions.clear(id), isEmpty(prompts)),
    tool("delete", "Delete", () => actions.remove(id), false, { class: "icon-button end" }),
  );
}

function hints() {
  const hint = (/** @type {string} */ key, /** @type {string} */ does) => el("li", {}, el("span", {}, el("kbd", {}, key)), el("span", {}, does));
  return el("ul", { class: "hints wide-only" }, hint("Shift click", "takes away"), hint("Drag", "draws a box"), hint("Wheel", "from part to whole"), hint("?", "all keys and gestures"));
}
