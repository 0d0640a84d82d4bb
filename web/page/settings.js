// The engine: which device, which weights, what is kept on this machine.

import { el, icon } from "./dom.js";
import { complain, headOf, pick, sizeText } from "./files.js";
import { startOffline, watchOffline } from "./offline.js";
import { sniff } from "./sniff.js";

/** @typedef {import("./app.js").App} App */

const CARD = "weights/rmae-ti.json";
const DEVICES = /** @type {['auto' | 'webgpu' | 'cpu', string, string][]} */ ([
  ["auto", "Automatic", "A real GPU by WebGPU, else the CPU"],
  ["webgpu", "WebGPU", "Also where it is simulated in software"],
  ["cpu", "CPU", "WebAssembly; works everywhere"],
]);

/** Whether weights of the visitor's own are in use. */
let own = false;

/** @param {HTMLElement} root @param {App} app */
export function mount(root, app) {
  const device = deviceSection(app);
  const weights = weightsSection(app);
  const storage = storageSection(app);
  root.classList.add("sections");
  root.append(device.root, weights.root, storage.root);
  const update = () => [device, weights].forEach((section) => section.update());
  app.store.subscribe((_, { view }) => {
    if (view.some((name) => ["device", "model", "busy"].includes(name))) update();
    if (view.includes("panel")) void storage.update();
  });
  update();
  void storage.update();
  void loaded(app).then(() => startOffline(app));
}

/** When the engine is there or has failed: keeping the page must not slow its download. @param {App} app @returns {Promise<void>} */
function loaded({ store }) {
  const is = () => Boolean(store.get().view.model || store.get().view.error);
  return new Promise((resolve) => {
    if (is()) return resolve();
    const stop = store.subscribe(() => is() && (stop(), resolve()));
  });
}

// Device.

/** @param {App} app */
function deviceSection({ store, engine }) {
  const chosen = remembered();
  const now = el("p", { class: "small", "data-testid": "device-reason" });
  const choices = DEVICES.map(([value, title, line]) => {
    const input = el("input", { type: "radio", name: "device", value, checked: value === chosen, "data-testid": `device-${value}`, onchange: () => engine.setDevice(value) });
    return el("label", { class: "choice" }, input, el("span", {}, title, el("small", {}, line)));
  });
  const root = el("section", { class: "stack", "aria-labelledby": "device-title" }, el("h2", { id: "device-title" }, "Device"), now, el("fieldset", { class: "choices" }, el("legend", { class: "hidden" }, "Device"), ...choices));

  function update() {
    const { device, busy } = store.get().view;
    now.replaceChildren(...(device ? ["In use: ", el("strong", {}, device.name), ". ", sentence(device.reason)] : ["No engine yet."]));
    const why = device?.available?.webgpu === false && !device.available.software ? device.available.why ?? "This browser has no WebGPU." : "";
    for (const input of root.querySelectorAll("input")) {
      input.disabled = busy === "load" || (input.value === "webgpu" && Boolean(why));
      if (input.value === "webgpu" && input.nextElementSibling?.lastElementChild) input.nextElementSibling.lastElementChild.textContent = why ? sentence(why) : DEVICES[1][2];
    }
  }
  return { root, update };
}

/** @param {string | undefined} text */
const sentence = (text) => (text ? `${text[0].toUpperCase()}${text.slice(1).replace(/\.$/, "")}.` : "");

function remembered() {
  try {
    return localStorage.getItem("rmae-device") ?? "auto";
  } catch {
    return "auto";
  }
}

// Weights.

/** @param {App} app */
function weightsSection(app) {
  const card = el("dl", { class: "model-card", "data-testid": "model-card" });
  const choose = el("button", { type: "button", class: "button", "data-testid": "own-weights", onclick: () => pickWeights(app) }, icon("open"), "Use my own");
  const reset = el("button", { type: "button", class: "button", "data-testid": "reset-weights", onclick: () => shippedWeights(app) }, icon("retry"), "Back to the shipped ones");
  const root = el(
    "section",
    { class: "stack", "aria-labelledby": "weights-title" },
    el("h2", { id: "weights-title" }, "Model"), card,
    el("p", { class: "quiet-text small" }, "Trained your own with ", el("code", {}, "rmae pretrain"), "? Drop its .safetensors anywhere on this page. It stays on this machine, until you leave."),
    el("div", { class: "row" }, choose, reset),
  );
  return {
    root,
    update() {
      const { model, busy } = app.store.get().view;
      choose.disabled = reset.disabled = busy === "load";
      reset.hidden = !own;
      card.replaceChildren(...(model ? modelFacts(model) : []).flatMap(([term, text]) => [el("dt", {}, term), el("dd", {}, text)]));
    },
  };
}

/** @param {any} model @returns {[string, string][]} */
function modelFacts({ name, preset, parameters, bytes, depth, heads, imgSize, patchSize, pixels, regions }) {
  const skills = [pixels && "fills in pixels", regions && "completes regions"].filter(Boolean).join(", ");
  return [
    ["Name", name],
    ["Encoder", `ViT ${preset}: ${depth} layers, ${heads} heads`],
    ["Sees", `${imgSize} × ${imgSize} pixels in patches of ${patchSize}`],
    ["Size", `${(parameters / 1e6).toFixed(1)} million parameters, ${sizeText(bytes)}`],
    ["Can do", skills || "encode only: no masks without a region decoder"],
  ];
}

/** @param {App} app */
async function pickWeights(app) {
  const file = await pick({ accept: ".safetensors" });
  if (file) await useWeights(app, file);
}

/** @param {App} app @param {File} file */
export async function useWeights(app, file) {
  try {
    if (sniff(await headOf(file)) !== "safetensors") {
      const text = `${file.name} is not a safetensors file. “rmae export” makes one from a run or from a PyTorch checkpoint.`;
      return void app.toast({ kind: "error", id: "weights", text });
    }
    if (await app.engine.replaceWeights(file, file.name)) setOwn(app, true);
  } catch (error) {
    complain(app, error, file.name);
  }
}

/** @param {App} app */
async function shippedWeights(app) {
  const answer = await fetch(CARD).catch(() => null);
  const card = answer?.ok ? await answer.json() : {};
  const url = new URL(card.file ? `weights/${card.file}` : CARD.replace(/json$/, "safetensors"), document.baseURI);
  if (await app.engine.replaceWeights(url.href, card.name ?? "R-MAE Ti", { sha256: card.sha256 })) setOwn(app, false);
}

/** @param {App} app @param {boolean} theirs */
function setOwn({ store }, theirs) {
  own = theirs;
  const { model } = store.get().view;
  store.setView({ model: model && { ...model } });
}

// What is kept.

/** @param {App} app */
function storageSection(app) {
  const used = el("p", { class: "small", "data-testid": "storage-used" });
  const offline = el("p", { class: "small offline", role: "status", "data-testid": "offline" });
  const clear = el("button", { type: "button", class: "button danger", "data-testid": "clear-storage" }, icon("delete"), "Clear it");
  clear.addEventListener("click", () => confirmClear(app, update));
  watchOffline(({ state, text }) => {
    offline.dataset.state = state;
    offline.textContent = text;
  });
  const root = el("section", { class: "stack", "aria-labelledby": "storage-title" }, el("h2", { id: "storage-title" }, "On this machine"), offline, used, el("div", { class: "row" }, clear));

  async function update() {
    const { usage = null } = (await navigator.storage?.estimate?.().catch(() => null)) ?? {};
    used.textContent = `${usage === null ? "The browser does not tell how much is kept" : `${sizeText(usage)} are kept`}: the page, the weights and your last session. Photos are never sent anywhere.`;
  }
  return { root, update };
}

/** @param {App} app @param {() => void} then */
function confirmClear(app, then) {
  const dialog = el("dialog", { class: "confirm", "aria-labelledby": "clear-title" });
  const answer = (/** @type {boolean} */ yes) => {
    dialog.close();
    if (yes) void clearAll(app).then(then);
  };
  dialog.append(
    el("div", { class: "stack" }, el("h2", { id: "clear-title" }, "Clear what is kept?"), el("p", {}, "The last session is forgotten, and the next visit downloads page and weights again. What is open now stays open.")),
    el("div", { class: "dialog-actions" }, el("button", { type: "button", class: "button", onclick: () => answer(false) }, "Keep it"), el("button", { type: "button", class: "button primary", "data-testid": "clear-yes", onclick: () => answer(true) }, "Clear")),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

/** Only what is this page's: others may live at the same site. @param {App} app */
async function clearAll(app) {
  const mine = (/** @type {string | undefined} */ name) => name?.startsWith("rmae");
  const jobs = [
    async () => Promise.all((await caches.keys()).filter(mine).map((name) => caches.delete(name))),
    async () => Promise.all((await indexedDB.databases()).map(({ name }) => mine(name) && indexedDB.deleteDatabase(String(name)))),
    async () => Object.keys(localStorage).filter(mine).forEach((name) => localStorage.removeItem(name)),
    async () => (await navigator.serviceWorker?.getRegistration())?.unregister(),
    async () => clearFiles(await navigator.storage.getDirectory(), mine),
  ];
  // Each for itself: a browser without one of them still clears the others.
  const results = await Promise.allSettled(jobs.map((job) => job()));
  document.querySelector(".restore")?.remove();
  console.info("Cleared:", results.map(({ status }) => status).join(", "));
  app.toast({ kind: "good", id: "clear", text: "Nothing of this page is kept on this machine any more." });
}

/** @param {any} folder of the origin's private file system @param {(name: string) => boolean | undefined} mine */
async function clearFiles(folder, mine) {
  for await (const name of folder.keys()) if (mine(name)) await folder.removeEntry(name, { recursive: true });
}
