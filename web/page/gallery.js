// Pictures that come with the page: a choice for those who have no photo at hand.

import { el } from "./dom.js";
import { openPhoto } from "./files.js";

/** @typedef {{ file: string, thumb: string, title: string, alt: string, credit: string, width: number, height: number }} Item */

const FOLDER = "gallery/";

/** @param {HTMLElement} root @param {import("./app.js").App} app */
export async function mount(root, app) {
  const list = el("ul", { class: "gallery", "aria-label": "Photos to try" });
  const terms = el("p", { class: "quiet-text small gallery-terms" }, "Photos are CC0 or in the public domain; the still life and the lake were drawn for this page.");
  root.replaceChildren(el("h3", { class: "gallery-title" }, "Or try one of these"), list, terms);
  list.append(...Array.from({ length: 8 }, () => el("li", { class: "gallery-waiting", "aria-hidden": "true" })));
  try {
    const items = await loadIndex();
    list.replaceChildren(...items.map((item, i) => el("li", {}, button(item, i, app))));
  } catch {
    root.replaceChildren(el("p", { class: "quiet-text small" }, "The photos that come with this page could not be loaded. Your own ones work all the same."));
  }
}

/** @returns {Promise<Item[]>} */
async function loadIndex() {
  const response = await fetch(`${FOLDER}index.json`);
  if (!response.ok) throw new Error(`${response.status} for the gallery's index`);
  return response.json();
}

/** @param {Item} item @param {number} i @param {import("./app.js").App} app */
function button(item, i, app) {
  const image = el("img", { src: FOLDER + item.thumb, alt: item.alt, width: 240, height: 160, decoding: "async", draggable: false });
  const open = () => choose(item, made, app);
  const made = el(
    "button",
    { type: "button", class: "gallery-item", "data-testid": `gallery-item-${i}`, title: item.credit, onclick: open },
    image,
    el("span", { class: "gallery-name" }, item.title),
  );
  return made;
}

/** @param {Item} item @param {HTMLButtonElement} button @param {import("./app.js").App} app */
async function choose(item, button, app) {
  button.setAttribute("aria-busy", "true");
  try {
    const response = await fetch(FOLDER + item.file);
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    await openPhoto(app, await response.blob(), item.file);
  } catch (error) {
    const reason = error instanceof TypeError ? "there is no connection" : /** @type {Error} */ (error).message;
    app.toast({ kind: "error", text: `“${item.title}” could not be opened: ${reason}.`, action: { label: "Try again", run: () => choose(item, button, app) } });
  } finally {
    button.removeAttribute("aria-busy");
  }
}
