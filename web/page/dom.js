// Small helpers to make elements without a framework.

/** The page's own folder, so that relative names work under any path. */
export const base = new URL(".", import.meta.url);

/** Whether the screen is touched rather than pointed at. */
export const FINGERS = Boolean(globalThis.matchMedia?.("(pointer: coarse)").matches);
/** Fingers tap. */
export const CLICK = FINGERS ? "Tap" : "Click";

/** @param {string} id @returns {HTMLElement} an element that index.html promises */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html has no element #${id}`);
  return element;
}

/**
 * @param {string} name a symbol of icons.svg @returns {SVGSVGElement}
 */
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = /** @type {SVGSVGElement} */ (document.createElementNS(space, "svg"));
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `page/icons.svg#${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

/**
 * An element: `on…` properties listen, `class`, `aria-*`, `data-*` and other dashed names are attributes,
 * the rest are properties; `null` and `undefined` children are left out.
 * @param {string} tag @param {Record<string, any>} [properties] @param {...(Node | string | number | null | undefined)} children
 * @returns {any}
 */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "for" || name === "role" || name.includes("-")) element.setAttribute(name, String(value));
    else /** @type {any} */ (element)[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined).map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

/**
 * @param {string} name of the icon @param {string} label for screen readers and as the title
 * @param {(event: MouseEvent) => void} onclick @param {Record<string, any>} [more]
 */
export function iconButton(name, label, onclick, more = {}) {
  return el("button", { type: "button", class: "icon-button", "aria-label": label, title: label, onclick, ...more }, icon(name));
}

/** @param {Element} svg @param {string} name another symbol for an icon that is there */
export function setIcon(svg, name) {
  svg.querySelector("use")?.setAttribute("href", `page/icons.svg#${name}`);
}

/** @param {number} value @param {number} low @param {number} high */
export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** @param {EventTarget | null} target whether keys belong to it and are no commands */
export function isTyping(target) {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement) return !["range", "checkbox", "radio", "button", "color"].includes(target.type);
  return target.isContentEditable || target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement;
}

/** A preference from an earlier visit. @param {string} name @returns {string | null} */
export function recall(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

/** @param {string} name @param {string | null} value `null` forgets it */
export function remember(name, value) {
  try {
    value === null ? localStorage.removeItem(name) : localStorage.setItem(name, value);
  } catch {
    // Storage is forbidden here: the preference lasts as long as the page.
  }
}
