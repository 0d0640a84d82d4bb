import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import vm from "node:vm";

const SCOPE = "https://example.org/some/path/";
const source = readFileSync(new URL("../sw.js", import.meta.url), "utf8");
const sha256 = (text) => createHash("sha256").update(text).digest("hex");

/** The Cache API, as far as it is used. */
function memoryCaches() {
  const all = new Map();
  const cache = () => {
    const entries = new Map();
    return {
      entries,
      put: async (key, response) => void entries.set(String(key), response),
      match: async (key) => entries.get(String(key).split("?")[0])?.clone(),
      delete: async (key) => entries.delete(String(key)),
    };
  };
  return {
    all,
    open: async (name) => (all.has(name) || all.set(name, cache()), all.get(name)),
    has: async (name) => all.has(name),
    delete: async (name) => all.delete(name),
    keys: async () => [...all.keys()],
  };
}

/** A service worker beside a server whose files a test can change. */
function setUp(files) {
  const listeners = {};
  const fetched = [];
  const server = { files: { ...files }, online: true };
  const fetch = async (request) => {
    const url = typeof request === "string" ? request : request.url;
    const path = url.slice(SCOPE.length);
    fetched.push(path);
    if (!server.online) throw new TypeError("no network");
    const body = server.files[path];
    if (server.broken === path) return new Response('{"error": "overloaded"}', { status: 503 });
    return body === undefined ? new Response("no", { status: 404 }) : new Response(body, { headers: { "content-type": "text/plain" } });
  };
  const tabs = [];
  const self = {
    registration: { scope: SCOPE },
    clients: { claim: async () => {}, matchAll: async () => tabs },
    addEventListener: (name, listener) => (listeners[name] = listener),
  };
  const caches = memoryCaches();
  vm.runInNewContext(source, { self, caches, fetch, Response, URL, crypto, Uint8Array, Array, Promise, Error, AbortSignal });
  const during = (name, more = {}) => {
    let waited;
    listeners[name]({ waitUntil: (promise) => (waited = promise), ...more });
    return waited;
  };
  return {
    caches, fetched, server, tabs,
    install: () => during("install"),
    activate: () => during("activate"),
    tell: (rmae, source = { postMessage() {} }) => during("message", { data: { rmae }, source }),
    /** What a page gets; null where the worker leaves it to the browser. */
    async get(path, { mode = "cors", range } = {}) {
      let answered = null;
      const request = { url: new URL(path, SCOPE).href, method: "GET", mode, headers: new Headers(range ? { range } : {}) };
      listeners.fetch({ request, respondWith: (promise) => (answered = promise) });
      const response = await answered;
      return response && (response.status === 200 ? response.text() : response.status);
    },
  };
}

/** Files of a version, with the list of them. */
function release(version, files, listed = files) {
  const list = Object.entries(listed).map(([url, text]) => ({ url, sha256: sha256(text) }));
  return { ...files, "sw-manifest.json": JSON.stringify({ version, files: list }) };
}

const one = { "weights/w.json": "{\"bytes\": 1}", "index.html": "page 1", "page/app.js": "app 1", "page/same.css": "same", "weights/w.safetensors": "large", "gallery/make.py": "tool" };
const two = { ...one, "index.html": "page 2", "page/app.js": "app 2" };

async function installed(files = release("1", one)) {
  const set = setUp(files);
  await set.install();
  await set.activate();
  return set;
}

test("after the first visit everything but the weights comes without a network, under a path", async () => {
  const { server, get, fetched } = await installed();
  server.online = false;
  assert.equal(await get("", { mode: "navigate" }), "page 1");
  assert.equal(await get("?image=x.jpg", { mode: "navigate" }), "page 1");
  assert.equal(await get("page/app.js"), "app 1");
  await assert.rejects(get("weights/w.safetensors"), TypeError);
  assert.ok(!fetched.includes("gallery/make.py"));
});

test("what is not kept goes to the network and is never stored, errors least of all", async () => {
  const { server, get, caches } = await installed();
  assert.equal(await get("missing.js"), 404);
  server.files["missing.js"] = "there now";
  assert.equal(await get("missing.js"), "there now");
  assert.deepEqual([...caches.all.get("rmae-page-1").entries.keys()].filter((key) => key.includes("missing")), []);
  assert.equal(await get("page/app.js", { range: "bytes=5-" }), null);
  assert.equal(await get("https://elsewhere.org/x"), null);
});

test("a version that is not complete is not installed, and leaves nothing", async () => {
  for (const broken of [release("1", { "index.html": "page 1" }, one), release("1", { ...one, "page/app.js": "cut of" }, one), { "sw-manifest.json": "{}" }, {}]) {
    const set = setUp(broken);
    await assert.rejects(set.install());
    assert.deepEqual((await set.caches.keys()).filter((name) => name !== "rmae-page-notes"), []);
  }
});

test("an answer that is no success is never kept, where the list has no hashes either", async () => {
  const set = setUp({ ...one, "sw-manifest.json": JSON.stringify({ version: "1", files: Object.keys(one).map((url) => ({ url })) }) });
  set.server.broken = "page/app.js";
  await assert.rejects(set.install());
  delete set.server.broken;
  await set.install();
  await set.activate();
  assert.equal(await set.get("page/app.js"), "app 1");
});

test("an update is prepared beside, and takes over only as a whole", async () => {
  const { server, get, tell, tabs, fetched, caches } = await installed();
  const heard = [];
  tabs.push({ postMessage: (message) => heard.push(message.rmae) });
  server.files = release("2", two);
  fetched.length = 0;
  await tell("look");
  assert.deepEqual(heard, ["update"]);
  assert.deepEqual(fetched.sort(), ["index.html", "page/app.js", "sw-manifest.json"], "what stays the same is not fetched again");
  assert.equal(await get("", { mode: "navigate" }), "page 1", "a tab is open");
  assert.equal(await get("page/app.js"), "app 1");
  await tell("switch", { postMessage: (message) => heard.push(message.rmae) });
  assert.deepEqual(heard, ["update", "switched"]);
  server.online = false;
  assert.equal(await get("page/app.js"), "app 2");
  assert.equal(await get("page/same.css"), "same");
  assert.deepEqual((await caches.keys()).sort(), ["rmae-page-2", "rmae-page-notes"]);
});

test("without a tab the prepared version begins with the next visit; a broken one never does", async () => {
  const { server, get, tell } = await installed();
  server.files = release("2", two);
  await tell("look");
  assert.equal(await get("", { mode: "navigate" }), "page 2");
  assert.equal(await get("page/app.js"), "app 2");
  server.files = release("3", { ...two, "page/app.js": "half" }, two);
  await tell("look");
  assert.equal(await get("", { mode: "navigate" }), "page 2");
});

test("the card of the weights is the host's newest, and the last good one without a network", async () => {
  const { server, get } = await installed();
  server.files["weights/w.json"] = '{"bytes": 2}';
  assert.equal(await get("weights/w.json"), '{"bytes": 2}');
  server.files["weights/w.json"] = "<html>maintenance</html>";
  assert.equal(await get("weights/w.json"), '{"bytes": 2}');
  server.broken = "weights/w.json";
  assert.equal(await get("weights/w.json"), '{"bytes": 2}');
  server.online = false;
  assert.equal(await get("weights/w.json"), '{"bytes": 2}');
  server.online = true;
  assert.equal(await get("weights/none.json"), 404);
});

test("where all was cleared, answering makes no store anew", async () => {
  const { get, caches, server } = await installed();
  for (const name of await caches.keys()) await caches.delete(name);
  server.files["page/app.js"] = "app 9";
  assert.equal(await get("page/app.js"), "app 9");
  assert.deepEqual(await caches.keys(), []);
});
