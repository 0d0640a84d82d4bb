// The worker: takes requests one at a time and answers them.

import { aborted, toPlain } from "./errors.js";
import { Session } from "./session.js";

const controllers = new Map();
const say = (event, detail) => postMessage({ event, detail });
const session = new Session(say);

/** Requests and recoveries, one after the other: the engine does one thing at a time. */
let turn = Promise.resolve();
const inTurn = (work) => (turn = turn.then(work, work));
session.inTurn = inTurn;

onmessage = ({ data }) => {
  if (data.abort !== undefined) return controllers.get(data.abort)?.abort();
  if (data.inherit) return session.inherit(data.inherit);
  inTurn(() => answer(data));
};

async function answer({ id, kind, args }) {
  const controller = new AbortController();
  controllers.set(id, controller);
  const context = {
    signal: controller.signal,
    progress: (detail) => postMessage({ event: "progress", id, detail }),
  };
  try {
    const { result, transfer = [] } = await session.serve(kind, args, context);
    postMessage({ id, result }, transfer);
  } catch (error) {
    if (isTrap(error)) return died(error.message);
    postMessage({ id, error: toPlain(controller.signal.aborted ? aborted(controller.signal) : error) });
  } finally {
    controllers.delete(id);
  }
}

// A panic leaves the WebAssembly instance unusable and its promises open for ever. What is worth
// keeping goes to the page, which starts another worker with it.
let dead = false;
function died(message, code = "internal-died") {
  if (!dead) postMessage({ event: "died", message, code, will: session.will() });
  dead = true;
}

const isTrap = (error) => error instanceof WebAssembly.RuntimeError;

/** Called by the module's panic hook. */
globalThis.rmaePanic = (message) => died(message);
/** Called by its allocator. */
globalThis.rmaeOutOfMemory = (bytes) => died(`${Math.ceil(bytes / 1e6)} MB more memory are not to be had`, "memory-wasm");
// What is thrown in a promise of the module's own comes here.
addEventListener("error", ({ error, message }) => isTrap(error) && died(message));
addEventListener("unhandledrejection", ({ reason }) => isTrap(reason) && died(reason.message));
