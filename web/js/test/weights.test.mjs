// Weights over bad networks: run by `node --test web/js/test/*.test.mjs`.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { afterEach, beforeEach, test } from "node:test";

import { IntegrityError, ModelError, NetworkError } from "../errors.js";
import { checkKind, getWeights } from "../weights.js";
import * as server from "./server.mjs";

const hash = (bytes) => createHash("sha256").update(bytes).digest("hex");

/** What looks like a safetensors file, with `length` bytes of numbers. */
function weights(length = 200_000, fill = 7) {
  const header = new TextEncoder().encode('{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}');
  const bytes = new Uint8Array(8 + header.length + length).fill(fill);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(header.length), true);
  bytes.set(header, 8);
  return bytes;
}

/** Cache Storage as browsers have it, in memory. */
class Caches {
  entries = new Map();
  opened = 0;
  refuse = null;
  full = false;
  async open() {
    if (this.refuse) throw this.refuse;
    this.opened++;
    const { entries } = this;
    const at = (key) => (typeof key === "string" ? key : key.url);
    return {
      match: async (key) => entries.has(at(key)) ? new Response(entries.get(at(key))) : undefined,
      put: async (key, response) => {
        const bytes = new Uint8Array(await response.arrayBuffer());
        if (this.full) throw new DOMException("no room", "QuotaExceededError");
        entries.set(at(key), bytes);
      },
      delete: async (key) => entries.delete(at(key)),
      keys: async () => [...entries.keys()].map((url) => ({ url })),
    };
  }
}

let site, caches, seen;
const file = weights();
beforeEach(async () => {
  site = await server.misbehaving(file);
  caches = new Caches();
  seen = [];
});
afterEach(() => site.close());

const order = (more = {}) => ({
  url: site.url,
  sha256: hash(site.file),
  caches,
  backoff: 5,
  stallTimeout: 5000,
  progress: (step) => seen.push(step),
  ...more,
});
const same = ({ bytes }) => assert.equal(hash(bytes), hash(site.file));
const kept = () => [...caches.entries.values()].map(hash);

test("a whole file arrives with progress, is checked and kept", async () => {
  const got = await getWeights(order());
  same(got);
  assert.deepEqual([got.cached, got.note], [false, undefined]);
  const last = seen.filter(({ stage }) => stage === "weights").at(-1);
  assert.deepEqual([last.loaded, last.total], [file.length, file.length]);
  assert.ok(seen.some(({ stage }) => stage === "check"));
  assert.deepEqual(kept(), [hash(file)]);
});

test("the next visit needs no network", async () => {
  await getWeights(order());
  site.behaviours = [server.status(500)];
  const again = await getWeights(order());
  same(again);
  assert.equal(again.cached, true);
  assert.equal(site.seen.length, 1);
});

test("a download that was cut goes on where it stopped", async () => {
  site.behaviours = [server.cutAfter(50_000), server.cutAfter(60_000), server.well];
  same(await getWeights(order()));
  const ranges = site.seen.map(({ range }) => range);
  assert.equal(ranges[0], undefined);
  assert.match(ranges[1], /^bytes=\d+-$/);
  assert.equal(site.seen[1]["if-range"], '"one"');
  const from = ranges.slice(1).map((range) => Number(/\d+/.exec(range)[0]));
  assert.ok(from[0] > 0 && from[1] > from[0], `${from}`);
});

test("a server without ranges sends all again", async () => {
  const whole = (context) => {
    delete context.request.headers.range;
    server.well(context);
  };
  site.behaviours = [server.cutAfter(50_000), whole];
  same(await getWeights(order()));
});

test("without a validator nothing is joined", async () => {
  site.behaviours = [server.cutWithoutValidator(50_000), server.well];
  same(await getWeights(order()));
  assert.equal(site.seen[1].range, undefined);
});

test("a file that changed in between is fetched from its start", async () => {
  const changed = weights(150_000, 9);
  const change = (context) => {
    [context.site.file, context.site.etag] = [changed, '"two"'];
    server.well(context);
  };
  site.behaviours = [server.cutAfter(50_000), change];
  const got = await getWeights(order({ sha256: hash(changed) }));
  assert.equal(hash(got.bytes), hash(changed));
});

test("another part than asked for is not taken", async () => {
  site.behaviours = [server.cutAfter(50_000), server.wrongRange, server.well];
  same(await getWeights(order()));
});

test("a length that nobody announces is no trouble", async () => {
  site.behaviours = [server.chunked];
  same(await getWeights(order()));
  assert.equal(seen.find(({ stage }) => stage === "weights").total, undefined);
});

test("a stalled server is tried again, from where it stopped", async () => {
  site.behaviours = [server.stallAfter(50_000), server.well];
  same(await getWeights(order({ stallTimeout: 100 })));
  assert.match(site.seen[1].range, /^bytes=\d+-$/);
});

test("three stalls are an error, and nothing is kept", async () => {
  site.behaviours = [server.stallAfter(0)];
  await assert.rejects(getWeights(order({ stallTimeout: 60 })), (error) => {
    assert.ok(error instanceof NetworkError);
    assert.equal(error.code, "network-stalled");
    return true;
  });
  assert.equal(site.seen.length, 3);
  assert.deepEqual(kept(), []);
});

test("a server that cuts for ever is given up, and nothing is kept", async () => {
  site.behaviours = [server.cutWithoutValidator(1000)];
  await assert.rejects(getWeights(order()), NetworkError);
  assert.equal(site.seen.length, 3);
  assert.deepEqual(kept(), []);
});

test("what is missing is told at once", async () => {
  site.behaviours = [server.status(404)];
  await assert.rejects(getWeights(order()), { code: "network-status", message: /404 \(not found\)/ });
  assert.equal(site.seen.length, 1);
});

test("a server in trouble is tried three times", async () => {
  site.behaviours = [server.status(503), server.status(503), server.well];
  same(await getWeights(order()));
  site.behaviours = [server.status(503)];
  site.seen.length = 0;
  await assert.rejects(getWeights(order({ cache: false })), { code: "network-status" });
  assert.equal(site.seen.length, 3);
});

test("nobody at that address", async () => {
  const { url } = site;
  await site.close();
  await assert.rejects(getWeights(order({ url })), NetworkError);
});

for (const type of ["text/html; charset=utf-8", "application/octet-stream"]) {
  test(`a web page as ${type} is no model`, async () => {
    site.behaviours = [server.page(type)];
    await assert.rejects(getWeights(order()), (error) => {
      assert.ok(error instanceof ModelError, error.stack);
      assert.match(error.message, /web page/);
      return true;
    });
    assert.deepEqual(kept(), []);
  });
}

test("other bytes than announced are fetched once more, then refused and not kept", async () => {
  await assert.rejects(getWeights(order({ sha256: hash(weights(3)) })), IntegrityError);
  assert.equal(site.seen.length, 2);
  assert.deepEqual(kept(), []);
});

test("a poisoned cache is noticed and replaced", async () => {
  await getWeights(order());
  const [key] = caches.entries.keys();
  caches.entries.set(key, file.subarray(0, 1000));
  const got = await getWeights(order());
  same(got);
  assert.equal(got.cached, false);
  assert.deepEqual(kept(), [hash(file)]);
});

test("new weights at an address replace the old ones", async () => {
  await getWeights(order());
  site.file = weights(1000, 3);
  await getWeights(order());
  assert.deepEqual(kept(), [hash(site.file)]);
});

test("a full storage, a refused cache and no cache at all are only told", async () => {
  caches.full = true;
  assert.match((await getWeights(order())).note, /storage is full/);
  caches.refuse = new DOMException("The operation is insecure.", "SecurityError");
  assert.match((await getWeights(order())).note, /insecure/);
  const none = await getWeights(order({ caches: null }));
  same(none);
  assert.match(none.note, /keeps nothing/);
});

test("without a hash nothing is kept", async () => {
  const got = await getWeights(order({ sha256: undefined }));
  same(got);
  assert.equal(caches.opened, 0);
});

test("an abort ends the download at every stage", async () => {
  const cancelled = { name: "AbortError", code: "abort" };
  await assert.rejects(getWeights(order({ signal: AbortSignal.abort() })), cancelled);

  site.behaviours = [server.stallAfter(1000)];
  const during = new AbortController();
  const progress = ({ loaded }) => loaded && during.abort();
  await assert.rejects(getWeights(order({ signal: during.signal, progress })), cancelled);
  await new Promise((resume) => setTimeout(resume, 50));
  assert.equal(site.closedEarly, 1, "the connection is given up");

  site.behaviours = [server.status(503)];
  const pausing = new AbortController();
  setTimeout(() => pausing.abort(), 50);
  await assert.rejects(getWeights(order({ signal: pausing.signal, backoff: 60_000 })), cancelled);
  assert.deepEqual(kept(), []);
});

test("SHA-256 comes from elsewhere where the browser has none", async () => {
  const { crypto } = globalThis;
  Object.defineProperty(globalThis, "crypto", { value: {}, configurable: true });
  try {
    same(await getWeights(order({ digest: hash })));
    await assert.rejects(getWeights(order({ caches: new Caches() })), { code: "integrity-unchecked" });
  } finally {
    Object.defineProperty(globalThis, "crypto", { value: crypto, configurable: true });
  }
});

test("kinds of files are told apart by their first bytes", () => {
  const zip = new Uint8Array(100).fill(80);
  assert.throws(() => checkKind(zip), { code: "model-kind" });
  assert.throws(() => checkKind(new Uint8Array(3)), { code: "model-truncated" });
  assert.throws(() => checkKind(weights().subarray(0, 20)), { code: "model-truncated" });
  checkKind(weights());
});
