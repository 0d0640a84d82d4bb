// Which device to compute on, and why.

/**
 * `DeviceInfo` in index.d.ts.
 * @typedef {{ kind: 'webgpu' | 'cpu', name: string, software: boolean, reason: string,
 *   available: { webgpu: boolean, software: boolean, why?: string } }} Device
 */

/** What browsers call adapters that compute on the processor. */
const SOFTWARE = /swiftshader|llvmpipe|lavapipe|\bwarp\b|basic render|softpipe|software/i;

/**
 * What WebGPU offers here.
 * @param {any} [gpu] `navigator.gpu`
 * @returns {Promise<{ webgpu: boolean, software: boolean, name: string, why?: string }>}
 */
export async function probe(gpu = globalThis.navigator?.gpu) {
  if (!gpu) return absent(globalThis.isSecureContext === false ? "WebGPU needs a page served over https" : "this browser has no WebGPU");
  try {
    const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
    return adapter ? described(adapter) : absent("the browser offers no GPU");
  } catch (error) {
    return absent(`the browser refused WebGPU: ${error?.message ?? error}`);
  }
}

function absent(why) {
  return { webgpu: false, software: false, name: "", why };
}

function described(adapter) {
  const info = adapter.info ?? {};
  const words = [info.description, info.vendor, info.architecture, info.device].filter(Boolean);
  const software = Boolean(info.isFallbackAdapter ?? adapter.isFallbackAdapter) || SOFTWARE.test(words.join(" "));
  const name = info.description || [info.vendor, info.architecture].filter(Boolean).join(" ") || "unnamed GPU";
  return { webgpu: true, software, name, ...(software ? { why: `its WebGPU is simulated on the processor (${name})` } : {}) };
}

let opened = null;

/** The device that was opened last: wgpu keeps its own to itself, but it must be watched and, at the end, destroyed. */
export function openedDevice() {
  return opened;
}

/** Whether threads of an adapter's subgroups can hand each other values, and it computes on the processor, where that halves the time of products. */
function handsRound(adapter) {
  const { subgroupMinSize: least, subgroupMaxSize: most } = adapter.info ?? {};
  return adapter.features.has("subgroups") && least > 0 && least === most && described(adapter).software;
}

const adapters = globalThis.GPUAdapter?.prototype;
if (adapters) {
  const { requestDevice } = adapters;
  adapters.requestDevice = async function (descriptor = {}) {
    // wgpu does not ask for subgroups on the web, and is told that they are there by the engine.
    const wanted = handsRound(this) ? [...(descriptor.requiredFeatures ?? []), "subgroups"] : descriptor.requiredFeatures;
    opened = await requestDevice.call(this, wanted ? { ...descriptor, requiredFeatures: wanted } : descriptor);
    globalThis.rmaeSubgroups = opened.features.has("subgroups");
    return opened;
  };
}

/**
 * The device to take.
 * @param {'auto' | 'webgpu' | 'cpu'} wanted
 * @param {Awaited<ReturnType<typeof probe>>} found
 * @returns {Device}
 */
export function choose(wanted, found) {
  const { webgpu, software, name, why } = found;
  const available = { webgpu, software, ...(why ? { why } : {}) };
  /** @returns {Device} */
  const gpu = (reason) => ({ kind: "webgpu", name, software, reason, available });
  /** @returns {Device} */
  const cpu = (reason) => ({ kind: "cpu", name: "CPU (WebAssembly)", software: false, reason, available });
  if (wanted === "cpu") return cpu("You chose the CPU.");
  if (wanted === "webgpu") return webgpu ? gpu("You chose WebGPU.") : cpu(`You chose WebGPU, but ${why}.`);
  if (!webgpu) return cpu(`On the CPU, as ${why}.`);
  if (software) return cpu(`On the CPU, which is faster: ${why}.`);
  return gpu("WebGPU on this machine's GPU is the fastest.");
}
