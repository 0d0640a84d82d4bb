// Runs a model in onnxruntime-web, on one thread or on WebGPU, and says how long each run took.

import { InferenceSession, Tensor, env } from "./ort/ort.webgpu.min.mjs";

env.wasm.numThreads = 1;
env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;

/** @type {Map<string, Promise<InferenceSession>>} */
const sessions = new Map();

const open = (/** @type {"wasm" | "webgpu"} */ provider, /** @type {string} */ model) =>
  InferenceSession.create(new URL(model, import.meta.url).href, { executionProviders: [provider], graphOptimizationLevel: "all" });

/**
 * @param {"wasm" | "webgpu"} provider @param {string} model @param {number} runs
 * @returns {Promise<{ ms: number[], tokens: number }>}
 */
globalThis.peer = async (provider, model, runs) => {
  const key = `${provider} ${model}`;
  if (!sessions.has(key)) sessions.set(key, open(provider, model));
  const session = await sessions.get(key);
  const image = new Tensor("float32", new Float32Array(3 * 224 * 224).fill(0.5), [1, 3, 224, 224]);
  const ms = [];
  let tokens = 0;
  for (let run = 0; run < runs; run++) {
    const start = performance.now();
    const outputs = await session.run({ image });
    const [latent] = Object.values(outputs);
    const values = await latent.getData();
    ms.push(performance.now() - start);
    if (!values.every(Number.isFinite)) throw new Error("the other engine's latent is not finite");
    tokens = latent.dims[1];
  }
  return { ms, tokens };
};
