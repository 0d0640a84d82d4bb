// Saving and loading what was made, and keeping it for the next visit.

import { el, icon } from "./dom.js";
import { complain, download, headOf, inspect, pick, sha256 } from "./files.js";
import * as kept from "./kept.js";
import { inWorker } from "./in-worker.js";
import { baseName } from "./pixels.js";
import { BadSession, photoInside, readSession, writeSession } from "./session-file.js";
import { sizeOf, sniff } from "./sniff.js";
import { addObject, isEmpty, noPrompts } from "./store.js";

/** @typedef {import("./app.js").App} App */
/** @typedef {ReturnType<typeof readSession>} Session */

const KEEP_AFTER_MS = 800;
/** Larger photos take too long to decode for a thumbnail. */
const SMALL_BYTES = 6e6;
let embed = true;

/** @param {HTMLElement} root @param {App} app */
export async function mount(root, app) {
  const save = el("button", { type: "button", class: "button", "data-testid": "save-session", onclick: () => saveSession(app) }, icon("save"), "Save session");
  const load = el("button", { type: "button", class: "button", "data-testid": "load-session", onclick: () => pickSession(app) }, icon("folder"), "Load session");
  const mask = el("button", { type: "button", class: "button", "data-testid": "load-mask", onclick: () => loadMask(app) }, icon("image"), "Use a mask as prompt");
  const inside = el("input", { type: "checkbox", checked: embed, onchange: () => (embed = inside.checked) });
  root.classList.add("stack");
  root.append(
    el("h3", {}, "Session"),
    el("p", { class: "quiet-text small" }, "Objects, names and prompts in one file, to go on with later or elsewhere."),
    el("label", { class: "check" }, inside, "With the photo inside"),
    el("div", { class: "row" }, save, load),
    el("p", { class: "quiet-text small" }, "Have a mask already? It can be a prompt, and be mended by clicks."),
    el("div", { class: "row" }, mask),
  );
  app.commands.add("save-session", { keys: ["Ctrl+s"], title: "Save the session", run: () => saveSession(app) });
  const update = () => (save.disabled = mask.disabled = !app.store.get().document.image);
  app.store.subscribe((_, change) => change.document && update());
  update();
  keepGoing(app);
  await offerLast(app);
}

/** @param {App} app */
async function saveSession(app) {
  const { document } = app.store.get();
  const source = app.engine.source;
  if (!document.image || !source) return;
  try {
    const data = embed ? { data: await base64(source) } : {};
    const text = writeSession(document, { sha256: await sha256(source), bytes: source.size, type: source.type, ...data });
    const file = `${baseName(document.image.name)}.rmae.json`;
    download(new Blob([text], { type: "application/json" }), file);
    app.toast({ kind: "good", id: "session", text: `${file} is saved.` });
  } catch (error) {
    app.toast({ kind: "error", id: "session", text: `The session could not be saved: ${/** @type {Error} */ (error).message}` });
  }
}

/** @param {Blob} blob @returns {Promise<string>} */
function base64(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result).split(",", 2)[1] ?? "");
    reader.onerror = () => reject(reader.error ?? new Error("the photo cannot be read any more"));
    reader.readAsDataURL(blob);
  });
}

/** @param {App} app */
async function pickSession(app) {
  const file = await pick({ accept: ".json,application/json" });
  if (file) await openSession(app, file);
}

/** @param {App} app @param {File} file */
export async function openSession(app, file) {
  try {
    const session = readSession(await file.text());
    const blob = (await photoInside(session.photo)) ?? (await photoAtHand(app, session));
    if (blob) await apply(app, session, blob);
    else askForPhoto(app, session);
  } catch (error) {
    if (!(error instanceof BadSession)) return complain(app, error, file.name);
    app.toast({ kind: "error", id: "session", text: `${file.name} cannot be loaded: ${error.message}` });
  }
}

/** The photo that is open, or one of the gallery. @param {App} app @param {Session} session */
async function photoAtHand(app, { document, photo }) {
  const open = app.engine.source;
  if (open && (await isThat(open, photo))) return open;
  const name = document.image?.name ?? "";
  if (!/^[a-z-]+\.jpg$/.test(name)) return null;
  const response = await fetch(`gallery/${name}`).catch(() => null);
  const blob = response?.ok ? await response.blob() : null;
  return blob && (await isThat(blob, photo)) ? blob : null;
}

/** @param {Blob} blob @param {Session['photo']} photo */
async function isThat(blob, photo) {
  if (blob.size !== photo.bytes) return false;
  const hash = await sha256(blob);
  return !hash || !photo.sha256 || hash === photo.sha256;
}

/** @param {App} app @param {Session} session */
function askForPhoto(app, session) {
  const { image } = session.document;
  const text = `This session belongs to ${image?.name} (${image?.width} × ${image?.height} pixels), which is not inside it.`;
  const run = async () => {
    const file = await pick({ accept: "image/*" });
    if (file) await applyTo(app, session, file);
  };
  app.toast({ id: "session", text, action: { label: "Choose the photo", run } });
}

/** A picture as the prompt of a new object. @param {App} app */
async function loadMask(app) {
  const file = await pick({ accept: "image/png,image/*" });
  const image = app.store.get().document.image;
  if (!file || !image) return;
  try {
    const mask = await inWorker({ kind: "read", file, width: image.width, height: image.height });
    if (app.store.get().document.image !== image) return;
    app.store.dispatch("load mask", (draft) => void addObject(draft, { name: baseName(file.name).slice(0, 40), prompts: { ...noPrompts(), mask } }));
    app.toast({ kind: "good", id: "mask", text: `${file.name} is the prompt of a new object.` });
  } catch (error) {
    app.toast({ kind: "error", id: "mask", text: `${file.name} cannot be a mask here: ${/** @type {Error} */ (error).message}.` });
  }
}

/** A photo that the visitor says it is: another size cannot be right. @param {App} app @param {Session} session @param {File} file */
async function applyTo(app, session, file) {
  try {
    await inspect(file, file.name);
    const head = await headOf(file);
    const size = sizeOf(head, sniff(head));
    const wanted = session.document.image;
    // Cameras turn photos by a note in the file, so width and height may be swapped.
    const fits = !size || !wanted || size.width * size.height === wanted.width * wanted.height;
    if (!fits) throw new BadSession(`${file.name} has ${size.width} × ${size.height} pixels, the session's photo ${wanted.width} × ${wanted.height}.`);
    if (!(await isThat(file, session.photo))) app.toast({ id: "other", text: "This is not the very file that the session was made with: the objects may lie elsewhere in it." });
    await apply(app, session, file);
  } catch (error) {
    if (!(error instanceof BadSession)) return complain(app, error, file.name);
    app.toast({ kind: "error", id: "session", text: error.message, action: { label: "Choose another", run: () => askForPhoto(app, session) } });
  }
}

/** @param {App} app @param {Session} session @param {Blob} blob */
async function apply(app, { document }, blob) {
  const opened = await app.engine.openImage(blob, document.image?.name, { document });
  const count = document.objects.length;
  if (opened) app.toast({ kind: "good", id: "session", text: `The session is open: ${count === 1 ? "one object" : `${count} objects`}.` });
}

// Between visits.

/** Keeps the latest document with prompts, with its photo. @param {App} app */
function keepGoing(app) {
  let [timer, changed] = [0, false];
  const keep = () => {
    clearTimeout(timer);
    const { document } = app.store.get();
    const blob = app.engine.source;
    if (!changed || !blob || !document.objects.some(({ prompts }) => !isEmpty(prompts))) return;
    changed = false;
    void kept.put({ savedAt: Date.now(), blob, document });
  };
  app.store.subscribe((_, change) => {
    if (!change.document || change.reason === "patch") return;
    changed = true;
    clearTimeout(timer);
    timer = window.setTimeout(keep, KEEP_AFTER_MS);
  });
  addEventListener("visibilitychange", () => document.visibilityState === "hidden" && keep());
}

/** @param {App} app */
async function offerLast(app) {
  const last = await kept.get();
  if (!last) return;
  const { document: made, savedAt, blob } = last;
  const count = made.objects.length;
  const card = el("section", { class: "restore card", "aria-label": "Your last session", "data-testid": "restore" });
  const go = async () => {
    card.remove();
    await app.engine.openImage(blob, made.image?.name, { document: made });
  };
  const forget = () => {
    card.remove();
    void kept.clear();
  };
  card.append(
    el("p", {}, el("strong", {}, made.image?.name), el("span", { class: "quiet-text small" }, `${count === 1 ? "One object" : `${count} objects`}, ${ago(Date.now() - savedAt)}`)),
    el("div", { class: "row" }, el("button", { type: "button", class: "button primary", "data-testid": "restore-go", onclick: go }, "Go on"), el("button", { type: "button", class: "button", onclick: forget }, "Forget it")),
  );
  document.querySelector("#start .lead")?.after(card);
  card.prepend(...(await thumbnail(blob)));
}

/** A small picture, if it can be had cheaply. @param {Blob} blob @returns {Promise<Node[]>} */
async function thumbnail(blob) {
  if (blob.size > SMALL_BYTES) return [];
  const bitmap = await createImageBitmap(blob).catch(() => null);
  if (!bitmap) return [];
  const canvas = el("canvas", { width: 132, height: 96, "aria-hidden": "true" });
  const scale = Math.max(132 / bitmap.width, 96 / bitmap.height);
  const [width, height] = [bitmap.width * scale, bitmap.height * scale];
  canvas.getContext("2d").drawImage(bitmap, (132 - width) / 2, (96 - height) / 2, width, height);
  bitmap.close();
  return [canvas];
}

/** @param {number} ms */
export function ago(ms) {
  const steps = /** @type {const} */ ([[86400e3, "day"], [3600e3, "hour"], [60e3, "minute"]]);
  const step = steps.find(([length]) => ms >= length);
  return step ? new Intl.RelativeTimeFormat("en", { numeric: "auto" }).format(-Math.floor(ms / step[0]), step[1]) : "a moment ago";
}
