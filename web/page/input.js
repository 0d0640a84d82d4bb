// Photos come in: file picker, drop, paste, camera, address. Checkpoints and sessions may be dropped too.

import { imageAsked, load } from "./address.js";
import { takePhoto } from "./camera.js";
import { el, icon } from "./dom.js";
import { Refused, complain, headOf, openPhoto, pick } from "./files.js";
import { sniff } from "./sniff.js";

/** @typedef {import("./app.js").App} App */

export const ACCEPT = "image/*,.heic,.heif,.avif";

/** @param {HTMLElement} root @param {App} app */
export async function mount(root, app) {
  app.commands.add("open-file", { keys: ["Ctrl+o"], title: "Open a photo", run: () => openPicked(app) });
  app.commands.add("camera", { title: "Take a photo", run: () => openCamera(app) });
  app.commands.add("paste", { title: "Paste a photo", run: () => pasteByButton(app) });
  root.append(
    el(
      "div",
      { class: "row" },
      el("button", { type: "button", class: "button", "data-action": "camera", "data-testid": "camera" }, icon("camera"), "Take a photo"),
      el("button", { type: "button", class: "button", "data-action": "paste", "data-testid": "paste" }, icon("paste"), "Paste"),
    ),
  );
  watchDrops(app);
  document.addEventListener("paste", (event) => void pasted(event, app));
  await openAsked(app);
}

/** @param {App} app */
async function openPicked(app) {
  const file = await pick({ accept: ACCEPT });
  if (file) await receive(app, file);
}

/** @param {App} app */
async function openCamera(app) {
  const photo = await takePhoto(app);
  const time = new Date().toISOString().slice(0, 19).replace(/[T:]/g, "-");
  if (photo) await openPhoto(app, photo, `camera-${time}.jpg`);
}

/**
 * Any file, from anywhere: goes by what it is.
 * @param {App} app @param {File} file
 */
export async function receive(app, file) {
  try {
    const kind = sniff(await headOf(file));
    if (kind === "safetensors" || /\.(safetensors|pth|pt|ckpt)$/i.test(file.name)) return await (await import("./settings.js")).useWeights(app, file);
    if (kind === "json") return await (await import("./session.js")).openSession(app, file);
    return await openPhoto(app, file, file.name || "photo");
  } catch (error) {
    complain(app, error, file.name);
  }
}

// Drag and drop: the whole page takes files, and says so while one is over it.

/** @param {App} app */
function watchDrops(app) {
  const cover = el("div", { class: "drop-cover", hidden: true, "aria-hidden": "true", "data-testid": "drop-cover" }, dropText());
  document.body.append(cover);
  let depth = 0;
  const show = (/** @type {boolean} */ shown) => {
    cover.hidden = !shown;
    document.body.classList.toggle("dropping", shown);
    if (!shown) depth = 0;
  };
  const carries = (/** @type {DragEvent} */ event) => [...(event.dataTransfer?.types ?? [])].some((type) => type === "Files" || type === "text/uri-list");
  addEventListener("dragenter", (event) => carries(event) && ((depth += 1), show(true)));
  addEventListener("dragleave", () => (depth = Math.max(0, depth - 1)) === 0 && show(false));
  addEventListener("dragend", () => show(false));
  addEventListener("dragover", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    if (event.dataTransfer) event.dataTransfer.dropEffect = "copy";
  });
  addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    show(false);
    void dropped(/** @type {DataTransfer} */ (event.dataTransfer), app);
  });
}

const dropText = () =>
  el("div", { class: "drop-card" }, icon("image"), el("strong", {}, "Drop it anywhere"), el("span", {}, "a photo, a saved session, or a checkpoint (.safetensors)"));

/** @param {DataTransfer} data @param {App} app */
async function dropped(data, app) {
  const files = [...data.files];
  const link = data.getData("text/uri-list");
  if (files.length > 1) app.toast({ text: `One photo at a time: ${files[0].name} is opened, ${files.length - 1} more left out.` });
  if (files.length > 0) await receive(app, files[0]);
  else if (link) await openAddress(app, link.split("\n")[0].trim());
  else app.toast({ kind: "error", id: "open", text: "There was no file in what you dropped. Save the picture first, then drop the file." });
}

// Clipboard.

/** @param {ClipboardEvent} event @param {App} app */
async function pasted(event, app) {
  if (event.target instanceof HTMLInputElement || event.target instanceof HTMLTextAreaElement) return;
  const file = [...(event.clipboardData?.files ?? [])][0];
  if (!file) return app.toast({ id: "paste", text: "There is no picture on the clipboard. Copy the picture itself, not its address." });
  event.preventDefault();
  await receive(app, file.name && file.name !== "image.png" ? file : new File([file], "pasted.png", { type: file.type }));
}

/** @param {App} app */
async function pasteByButton(app) {
  try {
    for (const item of await navigator.clipboard.read()) {
      const type = item.types.find((candidate) => candidate.startsWith("image/"));
      if (type) return void (await openPhoto(app, await item.getType(type), `pasted.${type.split("/")[1]}`));
    }
    app.toast({ id: "paste", text: "There is no picture on the clipboard. Copy one, then try again." });
  } catch {
    app.toast({ id: "paste", text: "The browser does not let this button read the clipboard. Press Ctrl+V (or ⌘V) instead." });
  }
}

// The address.

/** @param {App} app */
async function openAsked(app) {
  const value = new URLSearchParams(location.search).get("image");
  if (value) await openAddress(app, value);
}

/** @param {App} app @param {string} value */
async function openAddress(app, value) {
  try {
    const { blob, name } = await load(imageAsked(value, document.baseURI));
    await openPhoto(app, blob, name);
  } catch (error) {
    complain(app, error, error instanceof Refused ? "" : "The picture in this page's address");
  }
}
