// What the page says: passing messages, the status line, and words for screen readers alone.

import { byId, el, icon, iconButton } from "./dom.js";

/**
 * @typedef {{ kind?: 'info' | 'good' | 'error', text: string, action?: { label: string, run: () => void }, id?: string, keep?: boolean }} Toast
 */

const SHOWN_MS = 6000;
const ICONS = { info: "info", good: "check", error: "warning" };

/**
 * A message that goes by itself, unless it is an error or offers something to do. One with the `id` of
 * an older message takes its place.
 * @param {Toast} toast @returns {() => void} takes it away
 */
export function toast({ kind = "info", text, action, id, keep = kind === "error" || Boolean(action) }) {
  const host = byId("toasts");
  if (id) host.querySelector(`[data-id="${CSS.escape(id)}"]`)?.remove();
  const remove = () => message.remove();
  const message = el(
    "div",
    { class: "toast", role: kind === "error" ? "alert" : "status", "data-testid": "toast", "data-kind": kind, "data-id": id },
    icon(ICONS[kind]),
    el("p", {}, text),
    action && el("button", { type: "button", class: "button quiet", onclick: () => (remove(), action.run()) }, action.label),
    iconButton("close", "Dismiss", remove),
  );
  host.append(message);
  while (host.children.length > 4) host.firstElementChild?.remove();
  if (!keep) setTimeout(remove, SHOWN_MS);
  return remove;
}

/** Tells screen readers, and nobody else. @param {string} text */
export function announce(text) {
  const announcer = byId("announcer");
  announcer.textContent = announcer.textContent === text ? `${text}\u00a0` : text;
}
