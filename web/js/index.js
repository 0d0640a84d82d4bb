// The package's face. Everything heavy happens in a worker: this file forwards requests to it.

import { failure, throwIfAborted } from "./errors.js";
import { Link } from "./link.js";
import { decodedHere, portable } from "./sources.js";
import { checkedObjects, checkedOptions, checkedTarget } from "./prompts.js";

export {
  RmaeError,
  AbortError,
  NetworkError,
  IntegrityError,
  ModelError,
  ImageError,
  PromptError,
  DeviceError,
  MemoryError,
  DisposedError,
} from "./errors.js";

/** @import * as api from "./index.js" */

const DEVICES = ["auto", "webgpu", "cpu"];
const FORMATS = ["coco", "svg", "labelmap"];

/** One model on one device with one image; see index.d.ts. */
export class Segmenter extends EventTarget {
  #link;
  #code;
  #device = null;
  #model = null;
  #image = null;

  /** For `load` alone: a Segmenter without a model is of no use. */
  constructor(code) {
    super();
    this.#code = code;
    this.#link = new Link(code.worker, (event) => this.#heard(event));
  }

  /**
   * @param {string | URL | Blob | ArrayBuffer} weights
   * @param {api.LoadOptions} [options]
   */
  static async load(weights, options = {}) {
    throwIfAborted(options.signal);
    const segmenter = new Segmenter(locations(options));
    try {
      await segmenter.#load("load", weights, options, { device: checkedDevice(options.device ?? "auto") });
      return segmenter;
    } catch (error) {
      segmenter.dispose();
      throw error;
    }
  }

  get device() {
    return this.#device;
  }

  get model() {
    return this.#model;
  }

  get image() {
    return this.#image;
  }

  /**
   * @param {api.ImageSource} source
   * @param {{ signal?: AbortSignal }} [options]
   */
  async setImage(source, { signal } = {}) {
    const reply = await this.#setImage(source, signal);
    this.#image = { width: reply.width, height: reply.height };
    return reply;
  }

  /**
   * @param {api.Prompts | api.Prompts[]} prompts
   * @param {api.PredictOptions} [options]
   */
  async predict(prompts, options = {}) {
    const several = Array.isArray(prompts);
    const objects = checkedObjects(several ? prompts : [prompts], several);
    const args = { objects, options: checkedOptions(options) };
    const results = await this.#link.request("predict", () => ({ args }), { signal: options.signal });
    return several ? results : results[0];
  }

  /**
   * @param {api.Prompts} prompts
   * @param {api.CandidateOptions} [options]
   */
  async candidates(prompts, options = {}) {
    const args = { objects: checkedObjects([prompts], false), options: checkedOptions(options), candidates: true };
    return this.#link.request("predict", () => ({ args }), { signal: options.signal });
  }

  async embedding() {
    return this.#link.request("embedding", () => ({ args: {} }));
  }

  async attention(o) {
    const args = checkedTarget(o);
    return this.#link.request("attention", () => ({ args }));
  }

  async reconstruct({ maskRatio, seed = 0 }) {
    const made = await this.#link.request("reconstruct", () => ({ args: { maskRatio, seed } }));
    const picture = (rgba) => rgba && new ImageData(rgba, made.side, made.side);
    const pictures = (region) =>
      Object.fromEntries(Object.entries(region).map(([name, rgba]) => [name, picture(rgba)]));
    return {
      side: made.side,
      masked: picture(made.masked),
      reconstruction: picture(made.reconstruction) ?? null,
      regions: made.regions.map(pictures),
    };
  }

  async regions({ scale }) {
    return this.#link.request("regions", () => ({ args: { scale } }));
  }

  async export({ format, name = "image", objects }) {
    if (!FORMATS.includes(format)) {
      throw failure("prompt-format", `There is no format "${format}"; there are ${FORMATS.join(", ")}.`);
    }
    return this.#link.request("export", () => ({ args: { format, name, objects } }));
  }

  async replaceWeights(weights, options = {}) {
    await this.#load("replaceWeights", weights, options, {});
    return this.#model;
  }

  async setDevice(device) {
    const args = { device: checkedDevice(device) };
    const reply = await this.#link.request("setDevice", () => ({ args }));
    this.#device = reply.device;
    return reply.device;
  }

  async stats() {
    return this.#link.request("stats", () => ({ args: {} }));
  }

  /** For tests: `destroyDevice` does what a driver's reset does, `trap` what a defect of the engine does. */
  [Symbol.for("rmae.test")](kind) {
    return this.#link.request(kind, () => ({ args: {} }));
  }

  dispose() {
    this.#link.dispose();
    this.#image = null;
  }

  async #setImage(source, signal) {
    const ask = (image) => this.#link.request("setImage", () => portable(image), { signal });
    try {
      return await ask(source);
    } catch (error) {
      if (error.code !== "image-orientation") throw error;
      return ask(await decodedHere(source));
    }
  }

  async #load(kind, weights, options, more) {
    const { onProgress, signal, sha256, cache = true, name, stallTimeout } = options;
    const { module, wasm, glance } = this.#code;
    const args = { ...more, ...weightsSource(weights), module, wasm, glance, sha256, cache, name, stallTimeout };
    const reply = await this.#link.request(kind, () => ({ args }), { signal, onProgress });
    [this.#device, this.#model] = [reply.device, reply.model];
  }

  #heard({ event, detail }) {
    if (event === "device") this.#device = detail;
    this.dispatchEvent(new CustomEvent(event, { detail }));
  }
}

function checkedDevice(device) {
  if (DEVICES.includes(device)) return device;
  throw failure("prompt-device", `There is no device "${device}"; there are ${DEVICES.join(", ")}.`);
}

/** What the worker can fetch or read. Relative addresses are the page's, as those of `fetch` are. */
function weightsSource(weights) {
  if (weights instanceof Blob) return { blob: weights };
  if (weights instanceof ArrayBuffer) return { blob: new Blob([weights]) };
  if (typeof weights === "string" || weights instanceof URL) {
    return { url: new URL(weights, globalThis.document?.baseURI ?? globalThis.location?.href).href };
  }
  throw failure("model-source", "Weights are given as an address, a Blob or an ArrayBuffer.");
}

/**
 * Where the worker and the WebAssembly module are: told by the caller, else by the page (a build
 * tool that names the module after its content says how in <meta> elements), else beside this file.
 * @param {api.LoadOptions} options
 */
function locations({ base, module, wasm, glance }) {
  const page = globalThis.document?.baseURI ?? globalThis.location?.href;
  const folder = new URL(base ?? ".", base === undefined ? import.meta.url : page);
  const named = (name) => {
    const content = globalThis.document?.querySelector(`meta[name="rmae-${name}"]`)?.getAttribute("content");
    return content && base === undefined ? new URL(content, page).href : undefined;
  };
  return {
    worker: new URL("worker.js", folder),
    module: module ? new URL(module, page).href : (named("module") ?? new URL("rmae/rmae_web.js", folder).href),
    wasm: wasm ? new URL(wasm, page).href : (named("wasm") ?? new URL("rmae/rmae_web_bg.wasm", folder).href),
    glance: new URL(glance ?? "glance.bin", glance ? page : folder).href,
  };
}
