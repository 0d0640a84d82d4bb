// Everything that can be done by a button or a key has a name here. Buttons say `data-action="name"`.

import { isTyping } from "./dom.js";

/** @typedef {{ run: (event?: Event) => void, keys?: string[], title?: string }} Command `keys` as in "Ctrl+Shift+z", "f", "?" */

/** @param {KeyboardEvent} event */
export function keyName(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  // A character such as "?" has its Shift in it already.
  const shift = event.shiftKey && (event.key.length > 1 || /[a-z]/.test(key));
  return `${event.ctrlKey || event.metaKey ? "Ctrl+" : ""}${event.altKey ? "Alt+" : ""}${shift ? "Shift+" : ""}${key}`;
}

export function createCommands() {
  /** @type {Map<string, Command>} */
  const named = new Map();
  /** @type {Map<string, string>} */
  const byKey = new Map();
  // Who dictates, or has shaky hands, can keep single characters to the canvas.
  let letters = true;

  /** @param {string} name @param {Event} [event] */
  function run(name, event) {
    const command = named.get(name);
    command?.run(event);
    return Boolean(command);
  }

  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element ? event.target.closest("[data-action]") : null;
    if (button instanceof HTMLElement && button.dataset.action) run(button.dataset.action, event);
  });

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || isTyping(event.target) || document.querySelector("dialog[open]")) return;
    const key = keyName(event);
    const name = byKey.get(key);
    if (!name || (key.length === 1 && !letters && !(event.target instanceof HTMLCanvasElement))) return;
    event.preventDefault();
    run(name, event);
  });

  return {
    /** @param {string} name @param {Command} command replaces an older one of that name */
    add(name, command) {
      named.set(name, command);
      for (const key of command.keys ?? []) byKey.set(key, name);
    },
    run,
    /** @param {boolean} on whether single characters are commands wherever the focus is */
    useLetters(on) {
      letters = on;
    },
    /** @param {string} name */
    has: (name) => named.has(name),
  };
}

/** @typedef {ReturnType<typeof createCommands>} Commands */
