// The page: shows what the worker reports, and computes nothing.

const element = (id) => document.getElementById(id);

function verdict(state, text) {
  element("verdict").dataset.state = state;
  element("verdict").textContent = text;
}

function engine(id, state, detail, figures = []) {
  const card = element(id);
  card.dataset.state = state;
  card.querySelector(".detail").textContent = detail;
  card.querySelector("dl").replaceChildren(...figures.map(figure));
}

function figure([name, value]) {
  const pair = document.createElement("div");
  const [term, data] = ["dt", "dd"].map((tag) => document.createElement(tag));
  [term.textContent, data.textContent] = [name, value];
  pair.append(term, data);
  return pair;
}

function figures({ first_ms, again_ms, relative_error }) {
  const list = [
    ["first run", `${first_ms.toFixed(0)} ms`],
    ["again", `${again_ms.toFixed(1)} ms`],
  ];
  if (relative_error != null) list.push(["difference from CPU", relative_error.toExponential(1)]);
  return list;
}

const shown = {
  version: ({ version }) => (element("version").textContent = version),
  picture: ({ side, rgba }) => {
    const canvas = element("picture");
    canvas.width = canvas.height = side;
    canvas.getContext("2d").putImageData(new ImageData(rgba, side, side), 0, 0);
  },
  running: ({ id }) => {
    engine(id, "running", "running");
    verdict("running", "Checking…");
  },
  ran: ({ id, report }) => engine(id, report.agrees ? "good" : "bad", report.adapter, figures(report)),
  absent: ({ id, why }) => engine(id, "bad", why),
  verdict: ({ state, text }) => verdict(state, text),
};

// Trunk names the module after its content, and tells here how.
const named = (name) => new URL(document.querySelector(`meta[name=${name}]`).content, document.baseURI).href;

const worker = new Worker("worker.js", { type: "module" });
worker.onmessage = ({ data }) => shown[data.kind](data);
worker.onerror = (event) => verdict("bad", `The engine could not start: ${event.message ?? "see the console"}`);
worker.postMessage({ module: named("rmae-module"), wasm: named("rmae-wasm") });
