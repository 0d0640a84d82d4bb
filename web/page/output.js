// What one takes away: masks, cut-outs, annotations. In the photo's own resolution, whatever that is.

import { el, icon } from "./dom.js";
import { download } from "./files.js";
import { inWorker } from "./in-worker.js";
import { baseName } from "./pixels.js";
import { activeObject, isEmpty } from "./store.js";

/**
 * @typedef {import("./app.js").App} App
 * @typedef {import("./store.js").PromptedObject} PromptedObject
 * @typedef {import("./pixels.js").Mask} Mask
 * @typedef {{ objects: (PromptedObject & { full: Mask })[], name: string, onProgress: (done: number) => void, signal: AbortSignal }} Job
 * @typedef {{ blob: Blob, file: string }} Made
 * @typedef {{ id: string, icon: string, title: string, line: string, make: (app: App, job: Job) => Promise<Made> }} Format
 */

/** How the visitor wants it; kept while the page is open. */
const wishes = { all: true, soft: true, crop: true };

/** @type {Format[]} */
export const FORMATS = [
  { id: "png", icon: "image", title: "Mask", line: "PNG, white where the object is", make: makeMask },
  { id: "cutout", icon: "box", title: "Cut-out", line: "PNG, the photo on transparency", make: makeCutout },
  { id: "coco", icon: "save", title: "COCO", line: "JSON with RLE, polygons and boxes", make: (app, job) => makeText(app, job, "coco") },
  { id: "svg", icon: "rename", title: "Outlines", line: "SVG, a path for each object", make: (app, job) => makeText(app, job, "svg") },
  { id: "labelmap", icon: "gallery", title: "Label map", line: "PNG in grey: 0 the ground, 1, 2, … the objects", make: makeLabels },
];

// The formats.

/** "photo-Object-1" for one object, "photo" for several @param {Job} job */
const stem = ({ name, objects }) => (objects.length === 1 ? `${baseName(name)}-${baseName(objects[0].name)}` : baseName(name));

/** @param {App} _ @param {Job} job @returns {Promise<Made>} */
async function makeMask(_, job) {
  return { blob: await png(job, { kind: "mask" }), file: `${stem(job)}-mask.png` };
}

/** @param {App} app @param {Job} job @returns {Promise<Made>} */
async function makeCutout({ engine }, job) {
  if (!engine.source) throw new Error("the photo is gone");
  const blob = await png(job, { kind: "cutout", photo: engine.source, soft: wishes.soft, crop: wishes.crop });
  return { blob, file: `${stem(job)}-cutout.png` };
}

/**
 * A PNG of a job's masks.
 * @param {Job} job @param {import("./export-worker.js").Job} work @param {Transferable[]} [transfer] @returns {Promise<Blob>}
 */
function png(job, work, transfer) {
  const masks = work.kind === "labels" ? [] : job.objects.map(({ full }) => full);
  return inWorker(work, { ...job, masks, transfer });
}

/** @param {Job} job */
const wire = ({ objects }) => objects.map(({ name, colour, full, result }) => ({ name, colour, mask: full, score: result?.score }));

/** @param {App} app @param {Job} job @param {'coco' | 'svg'} format @returns {Promise<Made>} */
async function makeText(app, job, format) {
  const text = await app.engine.segmenter.export({ format, name: job.name, objects: wire(job) });
  const type = format === "coco" ? "application/json" : "image/svg+xml";
  return { blob: new Blob([text], { type }), file: `${stem(job)}${format === "coco" ? "-coco.json" : ".svg"}` };
}

/** @param {App} app @param {Job} job @returns {Promise<Made>} */
async function makeLabels(app, job) {
  const { width, height, labels } = await app.engine.segmenter.export({ format: "labelmap", name: job.name, objects: wire(job) });
  const depth = job.objects.length > 255 ? 16 : 8;
  return { blob: await png(job, { kind: "labels", width, height, labels, depth }, [labels.buffer]), file: `${stem(job)}-labels.png` };
}

// The panel.

/** @param {HTMLElement} root @param {App} app */
export function mount(root, app) {
  const scope = segmented("What to export", [["all", "All objects"], ["active", "Active object"]], wishes.all ? "all" : "active", (value) => (wishes.all = value === "all"));
  const busy = progressRow();
  const rows = FORMATS.map((format) => formatRow(format, () => save(app, format, busy)));
  const copies = [copyButton(app, "png", "Copy the mask", busy), copyButton(app, "cutout", "Copy the cut-out", busy)];
  const note = el("p", { class: "quiet-text small", id: "export-note" });
  root.classList.add("stack");
  root.append(el("div", { class: "panel-head" }, el("h2", {}, "Export")), note, scope, el("ul", { class: "formats" }, ...rows), options(), el("div", { class: "row" }, ...copies), busy.root);
  const update = () => {
    const { ready, text } = state(app);
    note.textContent = text;
    for (const button of root.querySelectorAll("[data-export]")) /** @type {HTMLButtonElement} */ (button).disabled = !ready || busy.active;
  };
  busy.changed = update;
  app.store.subscribe((_, change) => (change.document || change.view.includes("busy")) && update());
  update();
}

/** @param {App} app */
function state(app) {
  const { objects, image } = app.store.get().document;
  const made = objects.filter(({ prompts, visible }) => visible && !isEmpty(prompts));
  if (!image) return { ready: false, text: "Open a photo and point at something; its mask is saved from here." };
  if (made.length === 0) return { ready: false, text: "Nothing to export yet: point at something in the photo." };
  const size = `${image.width} × ${image.height} pixels`;
  return { ready: true, text: `${made.length === 1 ? "One object" : `${made.length} visible objects`}, ${size}: the photo's own resolution.` };
}

/** @param {Format} format @param {() => void} onclick */
function formatRow({ id, icon: symbol, title, line }, onclick) {
  const button = el("button", { type: "button", class: "format", "data-export": id, "data-testid": `export-${id}`, onclick }, icon(symbol));
  button.append(el("span", { class: "format-title" }, title), el("span", { class: "format-line" }, line), icon("download"));
  return el("li", {}, button);
}

function options() {
  const box = (/** @type {'soft' | 'crop'} */ key, /** @type {string} */ label) =>
    el("label", { class: "check" }, el("input", { type: "checkbox", checked: wishes[key], onchange: (/** @type {any} */ event) => (wishes[key] = event.target.checked) }), label);
  return el("fieldset", { class: "checks" }, el("legend", {}, "Cut-out"), box("soft", "Soft edge"), box("crop", "Crop to the object"));
}

/** @param {App} app @param {'png' | 'cutout'} id @param {string} label @param {Busy} busy */
function copyButton(app, id, label, busy) {
  const format = /** @type {Format} */ (FORMATS.find((candidate) => candidate.id === id));
  const testid = id === "png" ? "export-copy" : "export-copy-cutout";
  return el("button", { type: "button", class: "button", "data-export": id, "data-testid": testid, onclick: () => copy(app, format, busy) }, icon("copy"), label);
}

/**
 * A choice of a few, as radio buttons that look like one control.
 * @param {string} label @param {[string, string][]} choices value, text @param {string} chosen @param {(value: string) => void} onChoice @param {string} [testid]
 */
export function segmented(label, choices, chosen, onChoice, testid) {
  const name = `choice-${label.replace(/\W+/g, "-").toLowerCase()}`;
  const radio = (/** @type {[string, string]} */ [value, text]) =>
    el("label", { "data-testid": testid && `${testid}-${value}` }, el("input", { type: "radio", name, value, checked: value === chosen, onchange: () => onChoice(value) }), el("span", {}, text));
  return el("fieldset", { class: "segmented" }, el("legend", { class: "hidden" }, label), ...choices.map(radio));
}

/** @typedef {ReturnType<typeof progressRow>} Busy */

function progressRow() {
  const bar = el("progress", { max: 1, value: 0, "aria-label": "Export" });
  const cancel = el("button", { type: "button", class: "button quiet" }, "Cancel");
  const root = el("div", { class: "export-progress", hidden: true }, bar, cancel);
  /** @type {AbortController | null} */
  let controller = null;
  cancel.addEventListener("click", () => controller?.abort());
  const busy = {
    root,
    get active() {
      return controller !== null;
    },
    changed: () => {},
    begin() {
      controller = new AbortController();
      bar.removeAttribute("value");
      const timer = setTimeout(() => (root.hidden = false), 250);
      busy.changed();
      const end = () => (clearTimeout(timer), (root.hidden = true), (controller = null), busy.changed());
      return { signal: controller.signal, onProgress: (/** @type {number} */ done) => (bar.value = done), end };
    },
  };
  return busy;
}

// Doing it.

/** @param {App} app @param {Format} format @param {{ signal: AbortSignal, onProgress: (done: number) => void }} run @returns {Promise<Made>} */
async function make(app, format, { signal, onProgress }) {
  const { document } = app.store.get();
  const masks = await app.engine.exportMasks({ signal });
  const active = activeObject(document);
  const wanted = wishes.all ? document.objects.filter(({ visible }) => visible) : active ? [active] : [];
  const objects = wanted.filter(({ id }) => masks.has(id)).map((object) => ({ ...object, full: /** @type {Mask} */ (masks.get(object.id)) }));
  if (objects.length === 0) throw new Error(wishes.all ? "no visible object has a mask yet" : "the active object has no mask yet");
  return format.make(app, { objects, name: document.image?.name ?? "photo", signal, onProgress });
}

/** @param {App} app @param {Format} format @param {Busy} busy */
async function save(app, format, busy) {
  const run = busy.begin();
  try {
    const { blob, file } = await make(app, format, run);
    download(blob, file);
    app.toast({ kind: "good", id: "export", text: `${file} is saved.` });
  } catch (error) {
    failed(app, format, error);
  } finally {
    run.end();
  }
}

/** @param {App} app @param {Format} format @param {Busy} busy */
async function copy(app, format, busy) {
  if (!navigator.clipboard?.write) return app.toast({ kind: "error", id: "export", text: "The browser lets only pages of https addresses write to the clipboard. Save the file instead." });
  const run = busy.begin();
  try {
    // The promise goes into the item: Safari wants the clipboard asked for within the click.
    const made = make(app, format, run).then(({ blob }) => blob);
    await navigator.clipboard.write([new ClipboardItem({ "image/png": made })]);
    app.toast({ kind: "good", id: "export", text: `The ${format.title.toLowerCase()} is on the clipboard.` });
  } catch (error) {
    failed(app, format, error);
  } finally {
    run.end();
  }
}

/** @param {App} app @param {Format} format @param {unknown} error */
function failed(app, format, error) {
  const { name, message } = /** @type {Error} */ (error);
  if (name === "AbortError") return app.toast({ id: "export", text: "The export was cancelled." });
  console.error(error);
  const text = name === "NotAllowedError" ? "The browser did not let this page write to the clipboard. Click on the page, then try again." : `No ${format.title.toLowerCase()} was made: ${message}.`;
  app.toast({ kind: "error", id: "export", text: text.replace(/\.\.$/, ".") });
}
