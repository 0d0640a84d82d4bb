// Light, dark, or as the system has it; and whether single keys are shortcuts. Both are remembered.

import { byId, recall, remember } from "./dom.js";

const NEXT = /** @type {const} */ ({ auto: "light", light: "dark", dark: "auto" });
const NAMES = { auto: "as the system", light: "light", dark: "dark" };

/** @param {import("./app.js").App} app */
export function mountTheme({ store, commands, announce }) {
  const chosen = document.documentElement.dataset.theme;
  if (chosen === "light" || chosen === "dark") store.setView({ theme: chosen });
  commands.add("theme", {
    run: () => {
      store.setView({ theme: NEXT[store.get().view.theme] });
      announce(`Theme: ${NAMES[store.get().view.theme]}`);
    },
  });
  for (const button of choices()) button.addEventListener("click", () => store.setView({ theme: /** @type {any} */ (button.dataset.themeChoice) }));
  mountLetters(commands);
  store.subscribe((state, { view }) => view.includes("theme") && apply(state.view.theme));
  apply(store.get().view.theme);
}

/** @param {import("./commands.js").Commands} commands */
function mountLetters(commands) {
  const box = /** @type {HTMLInputElement} */ (byId("letters"));
  box.checked = recall("rmae-letters") !== "off";
  commands.useLetters(box.checked);
  box.addEventListener("change", () => {
    commands.useLetters(box.checked);
    remember("rmae-letters", box.checked ? null : "off");
  });
}

const choices = () => /** @type {HTMLElement[]} */ ([...byId("themes").children]);

/** @param {import("./store.js").View["theme"]} theme */
function apply(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  const label = `Theme: ${NAMES[theme]}`;
  byId("theme").setAttribute("aria-label", label);
  byId("theme").title = label;
  for (const button of choices()) button.setAttribute("aria-pressed", String(button.dataset.themeChoice === theme));
  remember("rmae-theme", theme === "auto" ? null : theme);
}
