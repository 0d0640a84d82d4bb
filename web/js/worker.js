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
    postMessage({ id, error: toPlain(controller.signal.aborted ? aborted(controller.signal) : error) });
  } finally {
    controllers.delete(id);
  }
}

// A panic leaves the WebAssembly instance unusable and its promises open for ever. What is worth
// keeping goes to the page, which starts another worker with it.
globalThis.rmaePanic = (message) => {
  const will = session.will();
  postMessage({ event: "died", message, will }, will?.transfer ?? []);
};
