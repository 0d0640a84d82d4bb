// The page's end of the line to the worker: one request at a time, aborted at once, and a new
// worker in the place of one that died.

import { aborted, failure, fromPlain } from "./errors.js";

/** Deaths within this many milliseconds of each other are one trouble: the worker is replaced once. */
const SAME_TROUBLE_MS = 60_000;

export class Link {
  #address;
  #heard;
  #worker = null;
  #queue = [];
  #current = null;
  #next = 1;
  #disposed = false;
  #lastDeath = -Infinity;
  #will = null;

  /**
   * @param {URL} address of the worker's script
   * @param {(event: { event: string, detail: unknown }) => void} heard called with what the worker says unasked
   */
  constructor(address, heard) {
    this.#address = address;
    this.#heard = heard;
  }

  /**
   * Asks the worker for something, after what was asked before.
   * @param {string} kind
   * @param {() => any} prepare makes `{ args, transfer }` when the request's turn has come, perhaps a second time
   * @param {{ signal?: AbortSignal, onProgress?: (progress: any) => void }} [options]
   * @returns {Promise<any>}
   */
  request(kind, prepare, { signal, onProgress } = {}) {
    if (this.#disposed) return Promise.reject(disposed());
    if (signal?.aborted) return Promise.reject(aborted(signal));
    return new Promise((resolve, reject) => {
      const task = { id: this.#next++, kind, prepare, onProgress, settled: false, sent: false };
      const onAbort = () => this.#abort(task, signal);
      const settle = (how) => (value) => {
        if (task.settled) return;
        task.settled = true;
        signal?.removeEventListener("abort", onAbort);
        how(value);
      };
      [task.resolve, task.reject] = [settle(resolve), settle(reject)];
      signal?.addEventListener("abort", onAbort);
      this.#queue.push(task);
      this.#advance();
    });
  }

  /** Ends the worker and every request. */
  dispose() {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#worker?.terminate();
    const waiting = [this.#current, ...this.#queue].filter(Boolean);
    [this.#worker, this.#current, this.#queue, this.#will] = [null, null, [], null];
    waiting.forEach((task) => task.reject(disposed()));
  }

  #abort(task, signal) {
    task.reject(aborted(signal));
    this.#queue = this.#queue.filter((other) => other !== task);
    // The worker answers an aborted request too, and only then is the next one sent.
    if (task === this.#current && task.sent) this.#worker?.postMessage({ abort: task.id });
  }

  async #advance() {
    if (this.#current || this.#queue.length === 0) return;
    const task = (this.#current = this.#queue.shift());
    try {
      const { args, transfer = [] } = await task.prepare();
      if (task.settled || this.#current !== task) return this.#done(task);
      this.#start();
      this.#worker.postMessage({ id: task.id, kind: task.kind, args }, transfer);
      task.sent = true;
    } catch (error) {
      task.reject(error);
      this.#done(task);
    }
  }

  #done(task) {
    if (this.#current === task) this.#current = null;
    this.#advance();
  }

  #start() {
    if (this.#worker) return;
    const worker = (this.#worker = new Worker(this.#address, { type: "module" }));
    worker.onmessage = ({ data }) => worker === this.#worker && this.#message(data);
    worker.onmessageerror = () => this.#died("a message could not be read");
    worker.onerror = (event) => {
      event.preventDefault();
      if (worker === this.#worker) this.#died(event.message ?? "its code could not be loaded");
    };
    // A worker that takes over from one that died gets what that one held.
    if (this.#will) worker.postMessage({ inherit: this.#will });
  }

  #message(data) {
    const task = this.#current;
    if (data.event === "progress") return task?.id === data.id && !task.settled && task.onProgress?.(data.detail);
    if (data.event === "died") {
      this.#will = data.will;
      return this.#died(data.message, data.code);
    }
    if (data.event) return this.#heard(data);
    if (task?.id !== data.id) return;
    if (data.error) task.reject(fromPlain(data.error));
    else task.resolve(data.result);
    this.#done(task);
  }

  /** Replaces the worker and asks again, unless that has just been tried. */
  #died(why, code = "internal-died") {
    this.#worker?.terminate();
    this.#worker = null;
    const again = performance.now() - this.#lastDeath < SAME_TROUBLE_MS;
    this.#lastDeath = performance.now();
    const task = this.#current;
    this.#current = null;
    if (again || !this.#will) {
      task?.reject(failure(code, `The engine failed: ${why}`));
    } else {
      this.#heard({ event: "status", detail: { stage: "restart", message: `The engine failed and was started again: ${why}` } });
      if (task && !task.settled) {
        task.sent = false;
        this.#queue.unshift(task);
      }
    }
    this.#advance();
  }
}

function disposed() {
  return failure("disposed", "This Segmenter was disposed of.");
}
