// Files on their way in and out.

import { el } from "./dom.js";
import { HEAD, refusal, sizeOf, sniff, undecodable } from "./sniff.js";

/** @typedef {import("./app.js").App} App */

/** A file that the page says no to, in words for people. */
export class Refused extends Error {}

/** @param {Blob} blob */
export const headOf = async (blob) => new Uint8Array(await blob.slice(0, HEAD).arrayBuffer());

/**
 * Looks at a photo's first bytes; throws `Refused` for what cannot be one.
 * @param {Blob} blob @param {string} name
 */
export async function inspect(blob, name) {
  const head = await headOf(blob);
  const kind = sniff(head);
  const reason = refusal(kind, sizeOf(head, kind), name);
  if (reason) throw new Refused(reason);
  return kind;
}

let turns = 0;

/**
 * Opens a photo whatever it turns out to be; whatever fails ends in a message. True when it is open.
 * @param {App} app @param {Blob} blob @param {string} name
 */
export async function openPhoto(app, blob, name) {
  const turn = ++turns;
  try {
    const kind = await inspect(blob, name);
    const opened = await app.engine.openImage(blob, name);
    // The engine tells what the decoder said; a file that looked right and is not deserves a better reason.
    if (!opened && turn === turns) throw new Refused(undecodable(kind, name));
    return opened;
  } catch (error) {
    complain(app, error, name);
    return false;
  }
}

/** @param {App} app @param {unknown} error @param {string} name */
export function complain(app, error, name) {
  const { name: kind, message } = /** @type {Error} */ (error);
  if (kind === "AbortError") return;
  if (kind === "NotReadableError" || kind === "NotFoundError") {
    app.toast({ kind: "error", id: "open", text: `${name} cannot be read any more: it was moved, changed or deleted.` });
  } else if (error instanceof Refused) {
    app.toast({ kind: "error", id: "open", text: message });
  } else {
    console.error(error);
    app.toast({ kind: "error", id: "open", text: `${name} could not be opened: ${message}` });
  }
}

/** Hands a file to the visitor. @param {Blob} blob @param {string} name */
export function download(blob, name) {
  const href = URL.createObjectURL(blob);
  const link = el("a", { href, download: name, hidden: true });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}

/**
 * Asks for a file. Resolves to null when the visitor thinks better of it (where browsers tell).
 * @param {{ accept: string, capture?: string }} options @returns {Promise<File | null>}
 */
export function pick({ accept, capture }) {
  return new Promise((resolve) => {
    const input = el("input", { type: "file", accept, hidden: true });
    if (capture) input.setAttribute("capture", capture);
    const done = () => {
      resolve(input.files?.[0] ?? null);
      input.remove();
    };
    input.addEventListener("change", done);
    input.addEventListener("cancel", done);
    document.body.append(input);
    input.click();
  });
}

/** "1.4 MB" @param {number} bytes */
export function sizeText(bytes) {
  const units = ["bytes", "kB", "MB", "GB"];
  const step = bytes < 1000 ? 0 : Math.min(3, Math.floor(Math.log10(bytes) / 3));
  const value = bytes / 1000 ** step;
  return `${value >= 100 || step === 0 ? Math.round(value) : value.toFixed(1)} ${units[step]}`;
}

/** @param {Blob} blob @returns {Promise<string>} SHA-256 in hexadecimal, or "" where the browser has none (plain http) */
export async function sha256(blob) {
  if (!globalThis.crypto?.subtle) return "";
  const digest = await crypto.subtle.digest("SHA-256", await blob.arrayBuffer());
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
