// Weights on their way from a server to the engine: fetched with progress, resumed after an
// interruption, checked, kept for the next visit. What was not fetched whole and checked is never kept.

import { aborted, failure, throwIfAborted } from "./errors.js";

const CACHE = "rmae-weights";
const TRIES = 3;
const BACKOFF_MS = 500;
const STALL_MS = 20_000;

/**
 * @typedef {object} Order
 * @property {string} url
 * @property {string} [sha256] hexadecimal; without it nothing is checked, and nothing kept beyond the browser's own cache
 * @property {boolean} [cache]
 * @property {number} [stallTimeout] milliseconds
 * @property {number} [backoff] milliseconds before the second try; twice as long before the third
 * @property {AbortSignal} [signal]
 * @property {(progress: { stage: string, loaded?: number, total?: number, cached?: boolean, message: string }) => void} [progress]
 * @property {(bytes: Uint8Array) => string | Promise<string>} [digest] SHA-256 where the browser has none
 * @property {CacheStorage} [caches]
 */

/**
 * Gets weights from the cache or the network.
 * @param {Order} order
 * @returns {Promise<{ bytes: Uint8Array, cached: boolean, note?: string }>} `note` says why they are not kept
 */
export async function getWeights(order) {
  const progress = order.progress ?? (() => {});
  const store = await openStore(order);
  const kept = await fromStore(store, order, progress);
  if (kept) return { bytes: kept, cached: true };
  const bytes = await fetchChecked(order, progress);
  return { bytes, cached: false, note: await keep(store, bytes, order) };
}

/** Fetches and checks; once more, past the browser's cache, where the check fails. */
async function fetchChecked(order, progress) {
  for (const fresh of [false, true]) {
    const bytes = await download(order, fresh, progress);
    checkKind(bytes);
    if (!order.sha256) return bytes;
    progress({ stage: "check", message: "Checking the weights" });
    const found = await sha256(bytes, order);
    throwIfAborted(order.signal);
    if (found === order.sha256.toLowerCase()) return bytes;
    if (fresh) {
      throw failure("integrity", `The weights are not those that were announced: SHA-256 ${found.slice(0, 12)}… instead of ${order.sha256.slice(0, 12)}…. They were not kept.`);
    }
  }
}

/** @param {Uint8Array} bytes */
export function checkKind(bytes) {
  const text = new TextDecoder().decode(bytes.subarray(0, 256)).trimStart();
  if (/^(<!doctype|<html|<\?xml|<head|<body)/i.test(text)) {
    throw failure("model-html", "The server sent a web page in place of the weights.");
  }
  if (bytes.length < 10) throw failure("model-truncated", `The weights are ${bytes.length} bytes long: this is no safetensors file.`);
  const length = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true);
  if (bytes[8] !== 0x7b /* { */) throw failure("model-kind", "The weights are no safetensors file.");
  if (8n + length > BigInt(bytes.length)) throw failure("model-truncated", "The weights are truncated.");
}

/**
 * Hexadecimal SHA-256, by the browser where it has it (it does on https and on localhost).
 * @param {any} bytes
 * @param {Order} order
 */
async function sha256(bytes, { digest }) {
  const subtle = globalThis.crypto?.subtle;
  if (!subtle && digest) return digest(bytes);
  if (!subtle) throw failure("integrity-unchecked", "The weights cannot be checked: this browser computes no SHA-256 here.");
  const hash = new Uint8Array(await subtle.digest("SHA-256", bytes));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// --- network ---

/** Every byte of the file, in up to three tries that each go on where the one before was cut off. */
export async function download(order, fresh = false, progress = (_) => {}) {
  const state = { parts: [], loaded: 0, total: undefined, validator: undefined, best: 0 };
  for (let failed = 0; ; ) {
    const before = state.best;
    try {
      await attempt(order, fresh, state, progress);
      return joined(state);
    } catch (error) {
      throwIfAborted(order.signal);
      if (!error.retry) throw error;
      // A try that got further than any before does not count.
      failed = state.best > before ? 1 : failed + 1;
      if (failed >= TRIES) throw error;
      progress({ stage: "weights", loaded: state.loaded, total: state.total, message: `${error.message} Trying again` });
      await pause((order.backoff ?? BACKOFF_MS) * 2 ** (failed - 1), order.signal);
    }
  }
}

async function attempt(order, fresh, state, progress) {
  const watch = watchdog(order);
  try {
    const response = await reach(order, fresh, state, watch);
    begin(response, state);
    await drain(response, state, watch, progress);
  } catch (error) {
    throw watch.why(error);
  } finally {
    watch.end();
  }
}

async function reach({ url }, fresh, state, watch) {
  // Without a validator the rest could be that of another file.
  if (!state.validator) [state.parts, state.loaded] = [[], 0];
  const headers = state.loaded ? { Range: `bytes=${state.loaded}-`, "If-Range": state.validator } : {};
  const response = await fetch(url, { headers, signal: watch.signal, cache: fresh || state.loaded ? "no-store" : "default" });
  if (response.ok) return response;
  const { status } = response;
  response.body?.cancel().catch(() => {});
  if (status === 416) state.validator = undefined;
  const again = status === 416 || status === 408 || status === 429 || status >= 500;
  throw interrupted("network-status", `The server answered ${status}${status === 404 ? " (not found)" : ""} for ${url}.`, again);
}

/** Reads the headers: whether the server goes on or begins again, and how much will come. */
function begin(response, state) {
  if (/^text\/html\b/i.test(response.headers.get("content-type") ?? "")) {
    throw failure("model-html", "The server sent a web page in place of the weights.");
  }
  const range = /^bytes (\d+)-\d+\/(\d+|\*)/.exec(response.headers.get("content-range") ?? "");
  const goesOn = response.status === 206 && range && Number(range[1]) === state.loaded;
  if (response.status === 206 && !goesOn) {
    state.validator = undefined;
    throw interrupted("network-range", "The server sent another part than the one asked for.", true);
  }
  if (!goesOn) [state.parts, state.loaded] = [[], 0];
  state.total = announced(response, range, state.loaded);
  const etag = response.headers.get("etag");
  state.validator = etag && !etag.startsWith("W/") ? etag : (response.headers.get("last-modified") ?? undefined);
}

/** Bytes of the whole file, where the server says so; what is compressed has another length. */
function announced(response, range, loaded) {
  if (range && range[2] !== "*") return Number(range[2]);
  const length = response.headers.get("content-length");
  return length && !response.headers.get("content-encoding") ? loaded + Number(length) : undefined;
}

async function drain(response, state, watch, progress) {
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    watch.fed();
    state.parts.push(value);
    state.loaded += value.length;
    state.best = Math.max(state.best, state.loaded);
    progress({ stage: "weights", loaded: state.loaded, total: state.total, cached: false, message: "Loading the weights" });
  }
  if (state.total !== undefined && state.loaded !== state.total) {
    throw interrupted("network-cut", `The connection ended after ${state.loaded} of ${state.total} bytes.`, true);
  }
}

function joined({ parts, loaded }) {
  const bytes = new Uint8Array(loaded);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function interrupted(code, message, retry) {
  return Object.assign(failure(code, message), { retry });
}

/** A signal that is aborted by the caller, or when no byte came for a while. */
function watchdog({ signal, stallTimeout = STALL_MS, url }) {
  const controller = new AbortController();
  let timer, stalled = false;
  const fed = () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      stalled = true;
      controller.abort();
    }, stallTimeout);
  };
  const onAbort = () => controller.abort();
  if (signal?.aborted) onAbort();
  signal?.addEventListener("abort", onAbort);
  fed();
  const why = (error) => {
    if (signal?.aborted) return aborted(signal);
    if (stalled) return interrupted("network-stalled", `The server sent nothing for ${stallTimeout / 1000} s.`, true);
    if (error.code) return error;
    return interrupted("network", `${url} cannot be fetched: ${error.message}.`, true);
  };
  const end = () => {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
    // Lets go of a response that was not read to its end.
    controller.abort();
  };
  return { signal: controller.signal, fed, why, end };
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const onAbort = () => {
      clearTimeout(timer);
      reject(aborted(signal));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", onAbort);
      resolve(undefined);
    }, ms);
    signal?.addEventListener("abort", onAbort);
  });
}

// --- cache ---

/**
 * The cache, or why there is none: private windows and plain http often have none.
 * @param {Order} order
 * @returns {Promise<{ cache?: Cache, why?: string }>}
 */
async function openStore({ cache = true, sha256, caches = globalThis.caches }) {
  if (!cache) return {};
  if (!sha256) return {};
  if (!caches) return { why: "this browser keeps nothing for pages like this one" };
  try {
    return { cache: await caches.open(CACHE) };
  } catch (error) {
    return { why: `the browser refused (${error?.message ?? error})` };
  }
}

/**
 * One entry for each address and content.
 * @param {Order} order
 */
function key({ url, sha256 = "" }) {
  const address = new URL(url);
  address.searchParams.set("rmae-sha256", sha256.toLowerCase());
  return address.href;
}

/**
 * @param {{ cache?: Cache }} store
 * @param {Order} order
 * @param {NonNullable<Order["progress"]>} progress
 */
async function fromStore({ cache }, order, progress) {
  if (!cache) return undefined;
  try {
    const response = await cache.match(key(order));
    if (!response) return undefined;
    const bytes = new Uint8Array(await response.arrayBuffer());
    progress({ stage: "weights", loaded: bytes.length, total: bytes.length, cached: true, message: "The weights are there from an earlier visit" });
    if ((await sha256(bytes, order)) === order.sha256.toLowerCase()) return bytes;
    await cache.delete(key(order));
  } catch {
    // A cache that cannot be read is as good as none.
  }
  return undefined;
}

/**
 * Keeps checked weights; returns why not, where that fails.
 * @param {{ cache?: Cache, why?: string }} store
 * @param {any} bytes
 * @param {Order} order
 */
async function keep({ cache, why }, bytes, order) {
  if (!cache) return why && `The weights will be fetched again next time: ${why}.`;
  try {
    await cache.put(key(order), new Response(bytes, { headers: { "content-length": String(bytes.length) } }));
    await forgetOthers(cache, order);
    return undefined;
  } catch (error) {
    const full = error?.name === "QuotaExceededError";
    await cache.delete(key(order)).catch(() => {});
    return `The weights will be fetched again next time: ${full ? "the browser's storage is full" : `the browser did not keep them (${error?.message ?? error})`}.`;
  }
}

/** Removes earlier weights of the same address. */
async function forgetOthers(cache, order) {
  const bare = (url) => {
    const address = new URL(url);
    address.searchParams.delete("rmae-sha256");
    return address.href;
  };
  const others = (await cache.keys()).filter(({ url }) => bare(url) === bare(order.url) && url !== key(order));
  await Promise.all(others.map((request) => cache.delete(request)));
}
