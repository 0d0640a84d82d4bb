// What the worker holds: the WebAssembly module, weights, one image, and the engine made of them on
// one device. When the device is lost, a new engine is made of the rest, and nobody notices.

import { choose, openedDevice, probe } from "./device.js";
import { failure, throwIfAborted } from "./errors.js";
import { decode, stream } from "./pixels.js";
import { checkKind, download, getWeights } from "./weights.js";

/** Losses within this many milliseconds are one trouble: WebGPU is tried once more, then the CPU. */
const SAME_TROUBLE_MS = 120_000;
/** How long a request may take to notice that its device is gone. */
const NOTICE_MS = 3_000;

export class Session {
  #say;
  #code = null;
  /** The module while it is being loaded, and after. */
  #coming = null;
  #weights = null; // { bytes, name }
  #image = null; // { width, height, pixels }, the last at the size that engines work at
  #engine = null;
  #device = null;
  #gpu = null;
  /** Whether the engine looks for things in images. */
  #glances = false;
  #lastLoss = -Infinity;
  #timings = { lastEncodeMs: 0, lastModelMs: 0, lastPredictMs: 0 };
  /** Set by the worker: runs work after what is under way. */
  inTurn = (work) => work();

  /** @param {(event: string, detail: unknown) => void} say */
  constructor(say) {
    this.#say = say;
  }

  /**
   * @param {string} kind
   * @param {any} args
   * @param {{ signal: AbortSignal, progress: (detail: object) => void }} context
   * @returns {Promise<{ result: any, transfer?: Transferable[] }>}
   */
  async serve(kind, args, context) {
    const handler = this.#handlers[kind];
    if (!handler) throw failure("internal", `The worker knows no request "${kind}".`);
    return handler(args, context);
  }

  #handlers = {
    load: (args, context) => this.#load(args, context),
    replaceWeights: (args, context) => this.#replaceWeights(args, context),
    setDevice: (args) => this.#setDevice(args),
    setImage: (args, context) => this.#setImage(args, context),
    predict: (args) => this.#predict(args),
    embedding: () => this.#embedding(),
    attention: (args) => this.#attention(args),
    reconstruct: (args) => this.#reconstruct(args),
    regions: (args) => this.#regions(args),
    export: (args) => this.#export(args),
    stats: () => this.#stats(),
    destroyDevice: () => this.#destroyDevice(),
    trap: () => Promise.reject(new WebAssembly.RuntimeError("unreachable")),
  };

  // --- life ---

  async #load(args, context) {
    const { signal, progress } = context;
    progress({ stage: "code", message: "Loading the engine" });
    this.#coming = importCode(args);
    const fetched = this.#fetchWeights(args, context);
    fetched.catch(() => {});
    this.#code = await this.#coming;
    const weights = await fetched;
    const device = choose(args.device, await probe());
    throwIfAborted(signal);
    progress({ stage: "compile", message: device.kind === "webgpu" ? "Compiling for the GPU" : "Preparing the model" });
    await this.#adopt(weights, device, null);
    progress({ stage: "ready", message: `Ready, on ${this.#device.name}` });
    return { result: this.#state() };
  }

  async #replaceWeights(args, context) {
    const weights = await this.#fetchWeights(args, context);
    throwIfAborted(context.signal);
    context.progress({ stage: "compile", message: "Preparing the model" });
    await this.#adopt(weights, this.#device ?? choose("auto", await probe()), this.#image);
    context.progress({ stage: "ready", message: "The new weights are in use" });
    return { result: this.#state() };
  }

  async #setDevice({ device: wanted }) {
    const device = choose(wanted, await probe());
    if (wanted === "webgpu" && device.kind !== "webgpu") {
      throw failure("device-none", `WebGPU cannot be used: ${device.available.why}. ${this.#device.name} stays in use.`);
    }
    await this.#adopt(this.#weights, device, this.#image, wanted === "webgpu");
    return { result: this.#state() };
  }

  #state() {
    const model = { ...JSON.parse(this.#engine.model()), name: this.#weights.name, bytes: this.#weights.bytes.length, glance: this.#glances };
    return { device: this.#device, model };
  }

  /** Weights of an address or a file. */
  async #fetchWeights({ url, blob, name, sha256, cache, stallTimeout }, { signal, progress }) {
    if (blob) {
      progress({ stage: "weights", loaded: 0, total: blob.size, message: "Reading the weights" });
      const bytes = new Uint8Array(await blob.arrayBuffer());
      checkKind(bytes);
      return { bytes, name: name ?? blob.name ?? "weights of yours" };
    }
    // The module may still be on its way when the weights are there.
    const digest = async (bytes) => (await this.#coming).sha256(bytes);
    const { bytes, note } = await getWeights({ url, sha256, cache, stallTimeout, signal, progress, digest });
    if (note) {
      progress({ stage: "check", message: note });
      this.#say("status", { stage: "cache", message: note });
    }
    return { bytes, name: name ?? decodeURIComponent(new URL(url).pathname.split("/").pop() || "weights") };
  }

  /**
   * Makes an engine of these and, only once it works, drops the one before.
   * @param {boolean} [insist] whether WebGPU was asked for, so that the CPU will not do
   */
  async #adopt(weights, device, image, insist = false) {
    const made = await this.#make(weights, device, image, insist);
    this.#drop();
    [this.#engine, this.#gpu, this.#device, this.#weights] = [made.engine, made.gpu, made.device, weights];
    this.#gpu?.lost.then((info) => this.#lost(made.engine, info));
  }

  async #make(weights, device, image, insist) {
    try {
      const engine = await this.#code.Engine.create(weights.bytes, device.kind === "webgpu");
      this.#glances = engine.useGlance(this.#code.glance ?? new Uint8Array());
      const gpu = device.kind === "webgpu" ? openedDevice() : null;
      if (image) await restored(engine, image);
      return { engine, gpu, device };
    } catch (error) {
      if (device.kind !== "webgpu" || insist || !isOfDevice(error)) throw error;
      const cpu = choose("cpu", device.available);
      const reason = `On the CPU, as WebGPU failed: ${error.message}`;
      return this.#make(weights, { ...cpu, reason, available: device.available }, image, false);
    }
  }

  #drop() {
    const [engine, gpu] = [this.#engine, this.#gpu];
    [this.#engine, this.#gpu] = [null, null];
    try {
      engine?.free();
    } catch {
      // A request that never came back still holds it.
    }
    gpu?.destroy();
  }

  // --- losses ---

  /** The browser says that a device is gone; the engine is made anew at once, if it was in use. */
  #lost(engine, info) {
    if (engine !== this.#engine) return;
    this.inTurn(async () => {
      if (engine !== this.#engine) return;
      await this.#recover(info.message || "the browser took the device away").catch(() => {});
    });
  }

  async #recover(why) {
    const again = performance.now() - this.#lastLoss < SAME_TROUBLE_MS;
    this.#lastLoss = performance.now();
    const { available } = this.#device;
    const device = again || this.#device.kind === "cpu" ? { ...choose("cpu", available), available } : this.#device;
    this.#say("status", { stage: "recover", message: `The device failed (${why}); starting again.` });
    const kept = this.#device;
    await this.#adopt(this.#weights, device, this.#image);
    const same = this.#device.kind === kept.kind;
    this.#device = { ...this.#device, reason: same ? `WebGPU was lost (${why}) and started again.` : `On the CPU, as WebGPU was lost: ${why}` };
    this.#say("device", this.#device);
    this.#say("status", { stage: "ready", message: `Ready, on ${this.#device.name}` });
  }

  /** Runs work on the engine; where its device fails, on the next one. */
  async #on(work) {
    for (let tries = 0; ; tries++) {
      if (!this.#engine) throw failure("model-none", "There is no model: load weights first.");
      try {
        return await this.#noticing(work(this.#engine));
      } catch (error) {
        if (!isOfDevice(error) || tries >= 2) throw error;
        await this.#recover(error.message);
      }
    }
  }

  /** Work that fails soon after its device is lost, whether or not it notices. */
  async #noticing(work) {
    if (!this.#gpu) return work;
    const gone = this.#gpu.lost.then(async (info) => {
      await new Promise((resume) => setTimeout(resume, NOTICE_MS));
      throw failure("device-lost", info.message || "the device was lost");
    });
    gone.catch(() => {});
    let lost = null;
    this.#gpu.lost.then((info) => (lost = info));
    try {
      return await Promise.race([work, gone]);
    } catch (error) {
      await Promise.resolve();
      // What fails on a lost device fails because of that.
      throw lost ? failure("device-lost", lost.message || "the device was lost") : error;
    }
  }

  async #destroyDevice() {
    this.#gpu?.destroy();
    return { result: Boolean(this.#gpu) };
  }

  /** What another worker needs to go on. */
  will() {
    if (!this.#weights) return null;
    const { bytes, name } = this.#weights;
    return { bytes, name, code: this.#code.locations, device: this.#device, image: this.#image };
  }

  /** Goes on where a worker that died stood. */
  inherit({ bytes, name, code, device, image }) {
    this.inTurn(async () => {
      try {
        this.#coming = importCode(code);
        this.#code = await this.#coming;
        [this.#weights, this.#device, this.#image] = [{ bytes, name }, device, image];
        await this.#adopt(this.#weights, device, image);
        this.#say("device", this.#device);
        this.#say("status", { stage: "ready", message: `Ready, on ${this.#device.name}` });
      } catch (error) {
        this.#say("status", { stage: "error", message: `The engine could not be started again: ${error.message}` });
      }
    });
  }

  // --- requests ---

  async #setImage({ blob, bitmap, pixels, canHelp }, { signal, progress }) {
    const start = performance.now();
    try {
      if (blob) bitmap = await decode(blob);
    } catch (error) {
      if (error.code === "image-orientation" && !canHelp) error.code = "image-undecodable";
      throw error;
    }
    throwIfAborted(signal);
    progress({ stage: "encode", message: "Looking at the image" });
    const reader = this.#engine;
    const { width, height } = await this.#read({ bitmap, pixels }, signal);
    // With this the image can be given to another engine.
    const image = { width, height, pixels: reader.endImage() };
    const began = performance.now();
    await this.#on((engine) => (engine === reader ? engine.encode() : restored(engine, image)));
    this.#timings.lastModelMs = performance.now() - began;
    this.#engine.prepare();
    this.#image = image;
    const ms = performance.now() - start;
    this.#timings.lastEncodeMs = ms;
    return { result: { width, height, ms } };
  }

  #read(image, signal) {
    if (!this.#engine) throw failure("model-none", "There is no model: load weights first.");
    const sink = {
      begin: (width, height) => this.#engine.beginImage(width, height),
      rows: (rgba) => this.#engine.pushRows(rgba),
    };
    return stream(image, sink, signal);
  }

  async #predict({ objects, options, candidates }) {
    this.#needImage();
    const start = performance.now();
    const masks = objects.map(({ mask }) => mask);
    const prompts = JSON.stringify(objects.map(({ mask, ...others }) => others));
    const { logits: wanted, ...rest } = options;
    const told = JSON.stringify(rest);
    const made = await this.#on((engine) =>
      candidates ? engine.candidates(prompts, masks, told) : engine.predict(prompts, masks, told, Boolean(wanted)),
    );
    const ms = performance.now() - start;
    if (!candidates) this.#timings.lastPredictMs = ms;
    const result = made.map(({ width, height, data, logits, seen, ...facts }) => ({
      mask: { width, height, data },
      ...facts,
      ms,
      ...(logits ? { logits: { side: Math.sqrt(logits.length), data: logits, box: seen } } : {}),
    }));
    return { result, transfer: result.flatMap(({ mask, logits }) => [mask.data.buffer, ...(logits ? [logits.data.buffer] : [])]) };
  }

  async #embedding() {
    this.#needImage();
    const result = await this.#on(async (engine) => engine.embedding());
    return { result, transfer: [result.data.buffer] };
  }

  async #attention({ x, y, layer, head }) {
    this.#needImage();
    const result = await this.#on((engine) => engine.attention(x, y, layer, head));
    return { result, transfer: [result.values.buffer] };
  }

  async #reconstruct({ maskRatio, seed }) {
    this.#needImage();
    return { result: await this.#on((engine) => engine.reconstruct(maskRatio, seed)) };
  }

  async #regions({ scale }) {
    this.#needImage();
    const result = await this.#on(async (engine) => engine.regions(scale));
    return { result, transfer: [result.labels.buffer] };
  }

  async #export({ format, name, objects }) {
    const masks = objects.map(({ mask }) => mask);
    const rest = JSON.stringify(objects.map(({ mask, ...others }) => others));
    return { result: await this.#on(async (engine) => engine.export(format, name, rest, masks)) };
  }

  async #stats() {
    const { memory, handles } = this.#code;
    return { result: { wasmBytes: memory?.buffer.byteLength ?? 0, handles: handles?.() ?? 0, ...this.#timings } };
  }

  #needImage() {
    if (!this.#image) throw failure("image-none", "There is no image: set one first.");
  }
}

/** Gives an engine an image that another one has read, ready for the first prompt. */
async function restored(engine, { width, height, pixels }) {
  await engine.restoreImage(width, height, pixels);
  engine.prepare();
}

/** Whether another device may do better. */
function isOfDevice({ code = "" }) {
  return code.startsWith("device") || code.startsWith("memory");
}

async function importCode({ module, wasm, glance, stallTimeout }) {
  const looking = fetchGlance(glance, stallTimeout);
  const { default: init, Engine, sha256, handles } = await import(module);
  const { memory } = await init({ module_or_path: wasm });
  return { Engine, sha256, handles, memory, glance: await looking, locations: { module, wasm, glance } };
}

/** What looks for things in an image before there are prompts; null where it cannot be had. */
function fetchGlance(url, stallTimeout) {
  return download({ url, stallTimeout }).catch(() => null);
}
