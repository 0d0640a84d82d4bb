// The page's side of sw.js: the page works without a network after the first visit.

/** @typedef {import("./app.js").App} App */
/** @typedef {{ state: 'none' | 'preparing' | 'ready', text: string }} Offline */

/** @type {Offline} */
let offline = { state: "preparing", text: "The page is being kept for visits without a network." };
/** @type {Set<(offline: Offline) => void>} */
const listeners = new Set();

/** @param {Offline['state']} state @param {string} text */
function tell(state, text) {
  offline = { state, text };
  for (const listener of listeners) listener(offline);
}

/** @param {(offline: Offline) => void} listener is told at once, and whenever it changes */
export function watchOffline(listener) {
  listeners.add(listener);
  listener(offline);
}

/** @param {App} app */
export async function startOffline(app) {
  const container = navigator.serviceWorker;
  if (!container) return tell("none", "This browser, or this window, keeps no pages for visits without a network.");
  container.addEventListener("message", ({ data }) => {
    if (data?.rmae === "update") offerUpdate(app);
    if (data?.rmae === "switched") location.reload();
  });
  try {
    const registration = await container.register("sw.js", { scope: "./", updateViaCache: "none" });
    registration.active?.postMessage({ rmae: "look" });
    await activeWorker(registration);
    tell("ready", "The page works without a network from now on.");
  } catch (error) {
    console.info("No service worker:", error);
    tell("none", "The page could not be kept for visits without a network. It works all the same while there is one.");
  }
}

/** Resolves when a worker serves the page; rejects when the first one could not be installed. @param {ServiceWorkerRegistration} registration */
async function activeWorker({ active, waiting, installing }) {
  if (active) return;
  const worker = waiting ?? installing;
  await new Promise((resolve, reject) => {
    const check = () => (worker?.state === "activated" ? resolve(null) : worker?.state === "redundant" && reject(new Error("not all files could be fetched")));
    worker?.addEventListener("statechange", check);
    check();
  });
}

/** @param {App} app */
function offerUpdate(app) {
  const run = () => navigator.serviceWorker.controller?.postMessage({ rmae: "switch" });
  app.toast({ id: "update", text: "A newer version of this page is ready. Your session is kept.", action: { label: "Reload", run } });
}
