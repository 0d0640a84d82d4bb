// Runs the engine check away from the page's own thread, and tells the page how it goes.

const SIDE = 224;

async function run(check, id) {
  postMessage({ kind: "running", id });
  try {
    const report = await check.run(id);
    postMessage({ kind: "ran", id, report });
    return report.agrees;
  } catch (error) {
    postMessage({ kind: "absent", id, why: error?.message ?? String(error) });
    return undefined;
  }
}

function verdict(cpu, webgpu) {
  if (!cpu) return ["bad", "The CPU engine does not work in this browser."];
  if (webgpu === undefined) return ["good", "Ready, on the CPU: there is no usable WebGPU here."];
  if (!webgpu) return ["bad", "The two engines disagree: WebGPU will not be used here."];
  return ["good", "Ready: both engines agree."];
}

onmessage = async ({ data: { module, wasm } }) => {
  try {
    const { default: init, EngineCheck, version } = await import(module);
    await init({ module_or_path: wasm });
    postMessage({ kind: "version", version: version() });
    const check = new EngineCheck(SIDE);
    postMessage({ kind: "picture", side: SIDE, rgba: check.picture() });
    const [state, text] = verdict(await run(check, "cpu"), await run(check, "webgpu"));
    postMessage({ kind: "verdict", state, text });
  } catch (error) {
    postMessage({ kind: "verdict", state: "bad", text: `The engine could not start: ${error}` });
  }
};
