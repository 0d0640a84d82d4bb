// The only place that calls the Segmenter. Photos and masks, which are large, live here and not in the store.

import { base, isTyping, recall, remember } from "./dom.js";
import { SHOWN_SIDE, createMaskRequests } from "./requests.js";
import { createPainter } from "./paint.js";
import { isEmpty } from "./store.js";

const WEIGHTS = "weights/rmae-ti.safetensors";

/**
 * @typedef {{ store: import("./store.js").Store, viewport: import("./viewport.js").Viewport,
 *   toast: (toast: import("./messages.js").Toast) => void, announce: (text: string) => void }} Parts
 */

/** @param {unknown} error */
const isAbort = (error) => error instanceof Error && error.name === "AbortError";
/** @param {unknown} error @returns {string} */
const messageOf = (error) => (error instanceof Error ? error.message : String(error));

/** @typedef {{ name?: string, sha256?: string, file?: string, bytes?: number }} WeightsCard */

/** @type {WeightsCard} */
const NO_CARD = {};

/** What is said of the weights beside them. @returns {Promise<WeightsCard>} */
async function weightsCard() {
  try {
    const answer = await fetch(new URL(`../${WEIGHTS.replace(/safetensors$/, "json")}`, base));
    return answer.ok ? await answer.json() : NO_CARD;
  } catch {
    return NO_CARD;
  }
}

/** @param {Parts} parts */
export function createEngine({ store, viewport, toast, announce }) {
  const painter = createPainter();
  /** @type {any} */
  let segmenter = null;
  /** @type {Blob | null} */
  let source = null;
  let [opening, encoded] = [0, /** @type {Blob | null} */ (null)];
  /** @type {Promise<void> | null} */
  let encoding = null;
  let lookingAt = new AbortController();

  const requests = createMaskRequests({ store, viewport, painter, predict, failed: predictFailed });

  /** @param {any} error @param {string} [title] */
  function fail(error, title) {
    console.error(error);
    store.setView({ error: { title: title ?? "Something went wrong", message: messageOf(error), code: error?.code ?? "" }, busy: "", progress: null });
  }

  /** @param {unknown} error */
  function predictFailed(error) {
    store.setView({ busy: "" });
    if (isAbort(error)) return;
    console.error(error);
    toast({ kind: "error", id: "predict", text: `No mask could be made: ${messageOf(error)}`, action: { label: "Try again", run: () => requests.request(true) } });
  }

  /**
   * Fetches the weights and starts the engine. Never rejects: what went wrong is shown, with a way on.
   * @param {string | Blob | ArrayBuffer} [weights] @param {string} [name]
   */
  async function load(weights, name) {
    store.setView({ busy: "load", error: null, progress: { stage: "code", message: "Starting the engine" } });
    try {
      const [{ Segmenter }, card] = await Promise.all([import(new URL("../js/index.js", base).href), weights ? NO_CARD : weightsCard()]);
      const file = card.file ? new URL(`../weights/${card.file}`, base) : new URL(`../${WEIGHTS}`, base);
      segmenter = await Segmenter.load(weights ?? file, {
        device: recall("rmae-device") ?? "auto",
        sha256: card.sha256,
        name: name ?? card.name,
        onProgress: (/** @type {any} */ progress) => store.setView({ progress }),
      });
      listen(segmenter);
      store.setView({ busy: "", progress: null, device: segmenter.device, model: segmenter.model });
      announce("The engine is ready.");
      if (!segmenter.model.glance) toast({ kind: "error", id: "glance", text: "Part of the engine (glance.bin) could not be fetched: masks are worse. Reload the page to try again." });
      if (source) await encode(source);
    } catch (error) {
      fail(error, "The model could not be loaded");
    }
  }

  /** @param {any} loaded */
  function listen(loaded) {
    loaded.addEventListener("device", (/** @type {any} */ event) => {
      store.setView({ device: loaded.device, model: loaded.model });
      const why = event.detail?.reason ?? loaded.device.reason;
      toast({ id: "device", text: `Now on ${loaded.device.kind === "webgpu" ? "WebGPU" : "the CPU"}: ${why}` });
      requests.request(true);
    });
    loaded.addEventListener("status", (/** @type {any} */ { detail }) => detail && heard(loaded, detail));
  }

  /** What the engine says unasked. @param {any} loaded @param {{ stage: string, message: string }} status */
  function heard(loaded, { stage, message }) {
    if (stage !== "error") return toast({ id: "engine", text: message });
    // It will not come back by itself: the way on is a new one.
    loaded.dispose();
    if (loaded === segmenter) segmenter = encoded = null;
    fail(new Error(message), "The engine stopped");
  }

  /**
   * Shows a photo and gives it to the model. Resolves when it is shown; rejects never: an error is told.
   * @param {Blob | URL | string} given @param {string} [name] @param {{ document?: import("./store.js").Document }} [options] a session's document
   * @returns {Promise<boolean>} whether the photo is shown
   */
  async function openImage(given, name, { document } = {}) {
    const turn = ++opening;
    store.setView({ busy: "open" });
    try {
      const blob = given instanceof Blob ? given : await fetched(given);
      const title = name ?? (blob instanceof File ? blob.name : String(given).split("/").at(-1)) ?? "photo";
      const photo = await painter.photo(blob);
      if (turn !== opening) return photo.bitmaps.forEach((bitmap) => bitmap.close()), false;
      show(blob, title, photo, document);
      return true;
    } catch (error) {
      if (turn !== opening) return false;
      store.setView({ busy: "" });
      console.warn(error);
      toast({ kind: "error", id: "open", text: `${name ?? "That"} could not be opened: ${messageOf(error)}` });
      return false;
    }
  }

  /** @param {URL | string} url @returns {Promise<Blob>} */
  async function fetched(url) {
    const answer = await fetch(url);
    if (!answer.ok) throw new Error(`the server answered ${answer.status}.`);
    return answer.blob();
  }

  /** @param {Blob} blob @param {string} name @param {import("./paint.js").Photo} photo @param {import("./store.js").Document} [document] */
  function show(blob, name, photo, document) {
    const { width, height } = photo;
    requests.forget();
    source = blob;
    store.open({ name, width, height, key: `${name}:${blob.size}:${width}x${height}` }, document);
    viewport.setPhoto(photo);
    store.setView({ start: false, busy: "", encodeMs: null, predictMs: null });
    announce(`${name}, ${width} by ${height} pixels.`);
    // Keys are meant for the photo now, not for the button that opened it: Space would press that again.
    if (!isTyping(globalThis.document.activeElement)) viewport.canvas.focus({ preventScroll: true });
    void encode(blob);
  }

  /** @param {Blob} blob */
  function encode(blob) {
    if (!segmenter) return Promise.resolve();
    lookingAt.abort();
    const { signal } = (lookingAt = new AbortController());
    encoding = (async () => {
      store.setView({ busy: "encode", error: null });
      try {
        const { ms } = await segmenter.setImage(blob, { signal });
        if (blob !== source) return;
        encoded = blob;
        store.setView({ busy: "", encodeMs: ms });
        announce("The photo is ready for prompts.");
        void measure();
        requests.request();
      } catch (error) {
        if (blob !== source || isAbort(error)) return;
        fail(error, "The model could not read this photo");
      }
    })();
    return encoding;
  }

  /** @param {any[]} prompts @param {any} options */
  async function predict(prompts, options) {
    if (!segmenter || !source || encoded !== source) return null;
    const results = await segmenter.predict(prompts, options);
    void measure();
    return results;
  }

  let measured = 0;
  /** Memory, at most once a second. */
  async function measure() {
    if (performance.now() - measured < 1000) return;
    measured = performance.now();
    try {
      const { wasmBytes } = await segmenter.stats();
      store.setView({ bytes: wasmBytes });
    } catch {
      // A figure only.
    }
  }

  store.subscribe((_, { document }) => document && requests.request());

  return {
    get segmenter() {
      return segmenter;
    },
    /** The photo's file. */
    get source() {
      return source;
    },
    /** Masks as they are shown, by id of the object; their longer side is at most `shownSide`. */
    masks: requests.masks,
    shownSide: SHOWN_SIDE,
    load,
    openImage,
    /** After an error: whatever is missing, again. */
    retry: () => (segmenter ? source && encode(source) : load()),
    /** Masks for what has changed; runs by itself after each change of the document. */
    requestMasks: () => requests.request(),
    /** What a click would make there. @param {number} x @param {number} y @param {boolean} [positive] */
    hover: (x, y, positive = true) => requests.hover({ x, y, positive }),
    hoverEnd: () => requests.hover(null),
    /** The click is made: its preview stays until the mask is there, and no other comes. */
    hoverHold: () => requests.hoverHold(),
    /** Resolves when no photo is being encoded and no mask is being made. */
    async settled() {
      await encoding;
      await requests.settled();
    },

    /**
     * The masks of all objects in the photo's own resolution, for export.
     * @param {{ signal?: AbortSignal }} [options] @returns {Promise<Map<number, import("./store.js").Mask>>}
     */
    async exportMasks({ signal } = {}) {
      const { objects, image } = store.get().document;
      const full = new Map();
      for (const object of objects.filter(({ prompts }) => !isEmpty(prompts))) {
        signal?.throwIfAborted();
        const shown = requests.current(object);
        const enough = shown && image && shown.width === image.width && shown.height === image.height;
        const mask = enough ? shown : (await predict([requests.wire(object.prompts)], { granularity: object.granularity, signal }))?.[0].mask;
        if (mask) full.set(object.id, mask);
      }
      return full;
    },

    /** @param {'auto' | 'webgpu' | 'cpu'} device remembered for the next visit */
    async setDevice(device) {
      remember("rmae-device", device);
      if (!segmenter) return load();
      store.setView({ busy: "load", progress: { stage: "compile", message: "Changing the device" } });
      try {
        await segmenter.setDevice(device);
        store.setView({ device: segmenter.device, busy: "", progress: null });
        requests.request(true);
      } catch (error) {
        store.setView({ device: segmenter.device, busy: "", progress: null });
        toast({ kind: "error", id: "device", text: `That device cannot be used: ${messageOf(error)}` });
      }
    },

    /**
     * Other weights, with photo and prompts kept.
     * @param {Blob | string} weights @param {string} name @param {{ sha256?: string }} [options] @returns {Promise<boolean>} whether they are in use
     */
    async replaceWeights(weights, name, { sha256 } = {}) {
      if (!segmenter) return load(weights, name).then(() => segmenter !== null);
      store.setView({ busy: "load", progress: { stage: "weights", message: `Reading ${name}` } });
      try {
        const model = await segmenter.replaceWeights(weights, { name, sha256, onProgress: (/** @type {any} */ progress) => store.setView({ progress }) });
        store.setView({ model, busy: "", progress: null });
        toast({ kind: "good", id: "weights", text: `${name} is in use.` });
        requests.request(true);
        return true;
      } catch (error) {
        store.setView({ busy: "", progress: null });
        toast({ kind: "error", id: "weights", text: `${name} cannot be used: ${messageOf(error)} The weights from before stay.` });
        return false;
      }
    },
  };
}

/** @typedef {ReturnType<typeof createEngine>} Engine */
