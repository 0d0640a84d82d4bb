// A server that misbehaves as it is told: one behaviour a request, the last one for ever.

import { createServer } from "node:http";

/**
 * @typedef {(context: { request: import("node:http").IncomingMessage, response: import("node:http").ServerResponse,
 *   file: Uint8Array, from: number }) => void} Behaviour
 */

/** Serves `file` at /weights; `behaviours` may be changed while it runs. */
export async function misbehaving(file) {
  const site = { file, etag: '"one"', behaviours: [well], seen: [], closedEarly: 0 };
  const server = createServer((request, response) => {
    site.seen.push(request.headers);
    response.on("close", () => response.writableFinished || site.closedEarly++);
    const behaviour = site.behaviours.length > 1 ? site.behaviours.shift() : site.behaviours[0];
    behaviour({ request, response, site });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  site.url = `http://127.0.0.1:${server.address().port}/weights`;
  site.close = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  return site;
}

/** The part that is asked for, with its headers already sent. */
function start({ request, response, site }) {
  const { range } = request.headers;
  const validator = request.headers["if-range"];
  const from = range && validator === site.etag ? Number(/^bytes=(\d+)-$/.exec(range)[1]) : 0;
  const part = site.file.subarray(from);
  const headers = { etag: site.etag, "content-length": part.length, "content-type": "application/octet-stream" };
  if (from) headers["content-range"] = `bytes ${from}-${site.file.length - 1}/${site.file.length}`;
  response.writeHead(from ? 206 : 200, headers);
  return part;
}

export function well(context) {
  context.response.end(start(context));
}

/** Sends so many bytes, then breaks the connection. */
export const cutAfter = (count) => (context) => {
  const part = start(context);
  context.response.write(part.subarray(0, count), () => setTimeout(() => context.response.destroy(), 20));
};

/** Sends so many bytes, then nothing. */
export const stallAfter = (count) => (context) => {
  context.response.write(start(context).subarray(0, count));
};

/** Cuts, and tells no ETag, so that nobody can know whether the rest is of the same file. */
export const cutWithoutValidator = (count) => ({ response, site }) => {
  response.writeHead(200, { "content-length": site.file.length });
  response.write(site.file.subarray(0, count), () => setTimeout(() => response.destroy(), 20));
};

export const status = (code) => ({ response }) => {
  response.writeHead(code, { "content-type": "text/html" });
  response.end("<!doctype html><title>Sorry</title>");
};

export const page = (type) => ({ response }) => {
  response.writeHead(200, { "content-type": type });
  response.end("<!DOCTYPE html><title>Log in to this network</title>");
};

/** The part begins elsewhere than asked. */
export const wrongRange = (context) => {
  if (!context.request.headers.range) return well(context);
  context.response.writeHead(206, { "content-range": `bytes 3-${context.site.file.length - 1}/${context.site.file.length}` });
  context.response.end(context.site.file.subarray(3));
};

/** Announces no length. */
export const chunked = ({ response, site }) => {
  response.writeHead(200, { "content-type": "application/octet-stream" });
  response.write(site.file.subarray(0, 100));
  setTimeout(() => response.end(site.file.subarray(100)), 5);
};
