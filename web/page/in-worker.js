// The page's side of export-worker.js: a worker for one job, which ends with it.

/**
 * @param {import("./export-worker.js").Job} job
 * @param {{ masks?: import("./pixels.js").Mask[], transfer?: Transferable[], onProgress?: (done: number) => void, signal?: AbortSignal }} [options]
 * @returns {Promise<any>}
 */
export function inWorker(job, { masks = [], transfer = [], onProgress = () => {}, signal } = {}) {
  const worker = new Worker(new URL("export-worker.js", import.meta.url), { type: "module" });
  const made = new Promise((resolve, reject) => {
    worker.onmessage = ({ data: { done, result, error } }) => (result ? resolve(result) : error === undefined ? onProgress(done) : reject(new Error(error)));
    worker.onerror = (event) => reject(new Error(event.message || "the browser has too little memory for it"));
    if (signal?.aborted) reject(signal.reason);
    signal?.addEventListener("abort", () => reject(signal.reason));
    // One at a time: copies of many large masks in one go would stop the page for a while.
    for (const mask of masks) worker.postMessage({ mask });
    worker.postMessage({ job }, transfer);
  });
  return made.finally(() => worker.terminate());
}
