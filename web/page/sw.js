// Keeps the page for visits without a network. One complete set of files, a version, is served at a
// time; a newer one is fetched whole and checked before it takes over. Weights are not kept here: the
// engine has its own store for them, which can go on where a download was cut off.
//
// A classic script: not every browser takes modules as service workers.

const PREFIX = "rmae-page-";
const NOTES = "rmae-page-notes"; // which version is served, and which is ready to be
const AT_ONCE = 4;
const CARD_MS = 4000;

/** @typedef {{ url: string, sha256?: string }} Listed */
/** @typedef {{ version: string, files: Listed[] }} Manifest */

const worker = /** @type {ServiceWorkerGlobalScope} */ (/** @type {unknown} */ (self));
/** @param {string} path relative to the page */
const address = (path) => new URL(path, worker.registration.scope).href;
/** @param {string} version */
const cacheName = (version) => PREFIX + version;

/** Not for visitors, or kept elsewhere. @param {Listed} file */
const isKept = ({ url }) => !/(^|\/)(sw\.js|test\/.*)$|\.(safetensors|py|md|map)$/.test(url);

// Notes.

/** @param {'current' | 'next'} name @returns {Promise<string | null>} */
async function noted(name) {
  if (!(await caches.has(NOTES))) return null; // not opened: that would make one where all was cleared
  const notes = await caches.open(NOTES);
  const note = await notes.match(address(`.note-${name}`));
  return note ? note.text() : null;
}

/** @param {'current' | 'next'} name @param {string | null} version */
async function note(name, version) {
  const notes = await caches.open(NOTES);
  const key = address(`.note-${name}`);
  await (version === null ? notes.delete(key) : notes.put(key, new Response(version)));
}

// Fetching a version.

/** @returns {Promise<Manifest>} */
async function newestManifest() {
  const response = await fetch(address("sw-manifest.json"), { cache: "no-store" });
  if (response.status !== 200) throw new Error(`the list of files: ${response.status}`);
  const manifest = await response.json();
  if (typeof manifest?.version !== "string" || !Array.isArray(manifest.files)) throw new Error("the list of files is damaged");
  return manifest;
}

/** @type {Promise<string> | null} */
let preparing = null;

/** Has the newest version complete, under `next` unless it is served already. @returns {Promise<string>} its name */
function prepare() {
  preparing ??= fetchNewest().finally(() => (preparing = null));
  return preparing;
}

async function fetchNewest() {
  const manifest = await newestManifest();
  const { version } = manifest;
  if (version === (await noted("current")) || version === (await noted("next"))) return version;
  await fill(manifest);
  await note("next", version);
  return version;
}

/** All files or none. @param {Manifest} manifest */
async function fill({ version, files }) {
  const cache = await caches.open(cacheName(version));
  const waiting = files.filter(isKept);
  const one = async () => {
    for (let file = waiting.shift(); file; file = waiting.shift()) await cache.put(address(file.url), await obtain(file));
  };
  try {
    await Promise.all(Array.from({ length: AT_ONCE }, one));
  } catch (error) {
    waiting.length = 0;
    await caches.delete(cacheName(version));
    throw error;
  }
}

/** From the version that is served where the content is the same, else from the network. @param {Listed} file */
async function obtain(file) {
  const old = file.sha256 ? await current(address(file.url)) : undefined;
  if (old && (await isWhole(old.clone(), file))) return old;
  const response = await fetch(address(file.url), { cache: "no-cache" });
  if (response.status !== 200) throw new Error(`${file.url}: ${response.status}`);
  // A copy: no trace of redirects or of the transfer's compression.
  const type = response.headers.get("content-type");
  const made = new Response(await response.blob(), { headers: type ? { "content-type": type } : {} });
  if (!(await isWhole(made.clone(), file))) throw new Error(`${file.url}: other content than the list of files says`);
  return made;
}

/** @param {Response} response @param {Listed} file */
async function isWhole(response, { sha256 }) {
  const content = await response.arrayBuffer();
  if (!sha256) return true;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("") === sha256;
}

/** The version that is ready takes over; all others go. */
async function takeOver() {
  const next = await noted("next");
  if (next) {
    await note("current", next);
    await note("next", null);
  }
  const keep = [NOTES, cacheName((await noted("current")) ?? "")];
  for (const name of await caches.keys()) if (name.startsWith(PREFIX) && !keep.includes(name)) await caches.delete(name);
}

// Answering.

/** @param {string} href @returns {Promise<Response | undefined>} from the version that is served */
async function current(href) {
  const version = await noted("current");
  if (!version || !(await caches.has(cacheName(version)))) return undefined;
  return (await caches.open(cacheName(version))).match(href, { ignoreSearch: true, ignoreVary: true });
}

/** @param {Request} request */
async function answer(request) {
  const url = new URL(request.url);
  const isPage = request.mode === "navigate" && [address(""), address("index.html")].includes(url.origin + url.pathname);
  if (isPage) await takeOverIfAlone();
  if (isCard(url.pathname)) return freshCard(request);
  const kept = await current(isPage ? address("index.html") : request.url);
  // What is not kept is the network's; nothing of it is stored.
  return kept ?? fetch(request);
}

/** What is said of the weights: hosts may put others there without a new page. @param {string} path */
const isCard = (path) => /\/weights\/[^/]+\.json$/.test(path);

/** From the network, and kept; from the store where the network fails or takes its time. @param {Request} request */
async function freshCard(request) {
  const fresh = await fetch(request, { cache: "no-cache", signal: AbortSignal.timeout(CARD_MS) }).catch(() => null);
  if (fresh && (await isJson(fresh))) {
    const version = await noted("current");
    if (version) await (await caches.open(cacheName(version))).put(request.url, fresh.clone());
    return fresh;
  }
  return (await current(request.url)) ?? fresh ?? Response.error();
}

/** @param {Response} response */
async function isJson(response) {
  const isComplete = async () => Boolean(await response.clone().json());
  return response.status === 200 && (await isComplete().catch(() => false));
}

/** A new version begins when no tab shows the old one: their parts must not mix. */
async function takeOverIfAlone() {
  if (!(await noted("next"))) return;
  const tabs = await worker.clients.matchAll({ type: "window" });
  if (tabs.length === 0) await takeOver();
}

/** Looks for a newer version, and tells the tabs when it is there. */
async function look() {
  const version = await prepare().catch(() => null);
  if (!version || version !== (await noted("next"))) return;
  for (const tab of await worker.clients.matchAll({ type: "window" })) tab.postMessage({ rmae: "update" });
}

worker.addEventListener("install", (event) => event.waitUntil(prepare()));

worker.addEventListener("activate", (event) => event.waitUntil(takeOver().then(() => worker.clients.claim())));

worker.addEventListener("fetch", (event) => {
  const { request } = event;
  const own = request.url.startsWith(worker.registration.scope);
  // Parts of files are the engine's way to resume a download.
  if (request.method !== "GET" || !own || request.headers.has("range")) return;
  event.respondWith(answer(request));
});

worker.addEventListener("message", (event) => {
  if (event.data?.rmae === "look") event.waitUntil(look());
  if (event.data?.rmae === "switch") event.waitUntil(takeOver().then(() => event.source?.postMessage({ rmae: "switched" })));
});
