// Light, dark, or as the system has it.

import { byId } from "./dom.js";

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
  store.subscribe((state, { view }) => view.includes("theme") && apply(state.view.theme));
  apply(store.get().view.theme);
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
  try {
    theme === "auto" ? localStorage.removeItem("rmae-theme") : localStorage.setItem("rmae-theme", theme);
  } catch {
    // Storage is forbidden here: the choice lasts as long as the page.
  }
}
