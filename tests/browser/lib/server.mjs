// A static host, as bad as a test wants it: it can stall, cut, lie, and know no ranges.

import { createHash } from "node:crypto";
import { open, stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".wasm": "application/wasm",
  ".json": "application/json",
  ".png": "image/png",
  ".jpg": "image/jpeg",
  ".svg": "image/svg+xml",
  ".woff2": "font/woff2",
};

/**
 * What to do to a request instead of answering it as it should be.
 * @typedef {object} Fault
 * @property {number} [status] answers with nothing but this
 * @property {Buffer | string} [body] sends this instead of the file
 * @property {string} [type] says that it is this
 * @property {number} [stallAt] sends so many bytes, then nothing more, and stays open
 * @property {number} [cutAt] sends so many bytes, then closes the connection
 * @property {boolean} [noRanges] answers every request with the whole file, and says nothing of its version
 * @property {number} [bytesPerSecond] is that slow
 * @property {number} [times] for so many requests only
 */

/** Serves `folder` on the loopback address, below `base`, until closed. */
export async function serve(folder, { base = "/", host = "127.0.0.1" } = {}) {
  /** @type {{ path: string, fault: Fault }[]} */
  const faults = [];
  const overrides = new Map();
  const requests = [];
  const sockets = new Set();

  const server = createServer((request, response) => {
    const url = new URL(request.url ?? "/", "http://localhost");
    requests.push({ method: request.method, path: url.pathname, range: request.headers.range ?? null });
    if (!url.pathname.startsWith(base)) return void response.writeHead(404).end("not below the base");
    const path = decodeURIComponent(url.pathname.slice(base.length)) || "index.html";
    answer(request, response, path).catch((error) => {
      const missing = error.code === "ENOENT" || error.code === "EISDIR";
      if (!response.headersSent) response.writeHead(missing ? 404 : 500, { "Content-Type": "text/plain" });
      response.end(missing ? "not found" : String(error));
    });
  });
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });

  function takeFault(path) {
    const found = faults.find((entry) => entry.path === path && (entry.fault.times ?? 1) > 0);
    if (found?.fault.times !== undefined) found.fault.times -= 1;
    return found?.fault ?? {};
  }

  async function answer(request, response, path) {
    const fault = takeFault(path);
    if (fault.status) return void response.writeHead(fault.status, { "Content-Type": "text/plain" }).end("so says the test");
    const file = overrides.get(path) ?? join(folder, normalize(`/${path}`));
    const body = fault.body !== undefined ? Buffer.from(fault.body) : Buffer.isBuffer(file) ? file : null;
    const size = body ? body.length : (await stat(file)).size;
    const version = `"${body ? createHash("sha1").update(body).digest("hex") : `${size}-${(await stat(file)).mtimeMs}`}"`;
    const stale = request.headers["if-range"] && request.headers["if-range"] !== version;
    const range = fault.noRanges || stale ? null : parseRange(request.headers.range, size);
    const [from, to] = range ?? [0, size];
    const headers = {
      "Content-Type": fault.type ?? TYPES[extname(path)] ?? "application/octet-stream",
      "Content-Length": to - from,
      "Cache-Control": "no-cache",
      "X-Content-Type-Options": "nosniff",
      ...(fault.noRanges ? {} : { "Accept-Ranges": "bytes", ETag: version }),
      ...(range ? { "Content-Range": `bytes ${from}-${to - 1}/${size}` } : {}),
    };
    response.writeHead(range ? 206 : 200, headers);
    if (request.method === "HEAD") return void response.end();
    await send(response, body ?? file, from, to, fault);
  }

  const port = await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));
  return {
    origin: `http://${host}:${port}`,
    url: `http://${host}:${port}${base}`,
    /** Every request so far: method, path, range. */
    requests,
    /** Requests for a file, relative to the page. */
    requestsOf: (path) => requests.filter((request) => request.path === base + path),
    /** @param {string} path relative to the page @param {Fault} fault */
    fault: (path, fault) => void faults.push({ path, fault: { ...fault } }),
    heal: () => void (faults.length = 0),
    /** Another file, or bytes, under an address. @param {string} path @param {string | Buffer} file */
    override: (path, file) => void overrides.set(path, file),
    /** As if the network were gone. */
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** @returns {[number, number] | null} from, and the first byte that is not sent */
export function parseRange(header, size) {
  const match = /^bytes=(\d+)-(\d*)$/.exec(header ?? "");
  if (!match) return null;
  const from = Number(match[1]);
  const to = match[2] ? Math.min(size, Number(match[2]) + 1) : size;
  return from < to ? [from, to] : null;
}

async function send(response, source, from, to, { stallAt, cutAt, bytesPerSecond }) {
  const end = from + Math.min(to - from, stallAt ?? Infinity, cutAt ?? Infinity);
  for await (const chunk of chunks(source, from, end, bytesPerSecond)) {
    if (response.destroyed) return;
    if (!response.write(chunk)) await drained(response);
  }
  if (cutAt !== undefined && end < to) return void setTimeout(() => response.destroy(), 50);
  if (stallAt !== undefined && end < to) return;
  response.end();
}

/** Until more can be written, or nobody listens any more. @returns {Promise<void>} */
function drained(response) {
  return new Promise((resolve) => {
    const done = () => {
      response.off("drain", done).off("close", done);
      resolve();
    };
    response.on("drain", done).on("close", done);
  });
}

async function* chunks(source, from, end, bytesPerSecond) {
  const size = bytesPerSecond ? Math.max(1, Math.ceil(bytesPerSecond / 10)) : 1 << 18;
  const handle = Buffer.isBuffer(source) ? null : await open(source);
  try {
    for (let at = from; at < end; at += size) {
      const length = Math.min(size, end - at);
      yield handle ? (await handle.read(Buffer.alloc(length), 0, length, at)).buffer : source.subarray(at, at + length);
      if (bytesPerSecond) await new Promise((resolve) => setTimeout(resolve, 100));
    }
  } finally {
    await handle?.close();
  }
}
