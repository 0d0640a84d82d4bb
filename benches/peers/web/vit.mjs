// A plain vision transformer as an ONNX file, of the size of the Ti preset's encoder and with as many
// tokens, written the way that exporters write one; where asked for, with the neck after it, which the page
// computes for every photo as well. Its weights are random: they change no time.

/** @param {number} value @returns {number[]} */
function varint(value) {
  const bytes = [];
  for (let rest = BigInt(value); ; rest >>= 7n) {
    if (rest < 128n) return [...bytes, Number(rest)];
    bytes.push(Number(rest & 127n) | 128);
  }
}

const int = (field, value) => Buffer.from([...varint(field << 3), ...varint(value)]);
const bytes = (field, value) => Buffer.concat([Buffer.from([...varint((field << 3) | 2), ...varint(value.length)]), value]);
const text = (field, value) => bytes(field, Buffer.from(value));
const message = (field, ...parts) => bytes(field, Buffer.concat(parts.flat()));

function float(field, value) {
  const data = Buffer.alloc(4);
  data.writeFloatLE(value);
  return Buffer.concat([Buffer.from(varint((field << 3) | 5)), data]);
}

const [FLOAT, INT64] = [1, 7];

function attribute([name, value]) {
  const named = text(1, name);
  if (Array.isArray(value)) return message(5, named, value.map((entry) => int(8, entry)), int(20, 7));
  if (Number.isInteger(value)) return message(5, named, int(3, value), int(20, 2));
  return message(5, named, float(2, value), int(20, 1));
}

function valueInfo(field, name, shape) {
  const dims = shape.map((size) => message(1, int(1, size)));
  return message(field, text(1, name), message(2, message(1, int(1, FLOAT), message(2, dims))));
}

/** Adds nodes and weights to a graph, with names that it makes. */
class Graph {
  nodes = [];
  weights = [];
  count = 0;
  state = 12345;

  name() {
    return `v${this.count++}`;
  }

  op(type, inputs, attributes = {}, outputs = 1) {
    const made = Array.from({ length: outputs }, () => this.name());
    this.nodes.push(
      message(1, inputs.map((input) => text(1, input)), made.map((output) => text(2, output)), text(4, type), Object.entries(attributes).map(attribute)),
    );
    return outputs === 1 ? made[0] : made;
  }

  tensor(shape, type, data) {
    const name = this.name();
    this.weights.push(message(5, shape.map((size) => int(1, size)), int(2, type), text(8, name), bytes(9, data)));
    return name;
  }

  random(shape, scale) {
    const data = new Float32Array(shape.reduce((a, b) => a * b, 1));
    for (let i = 0; i < data.length; i++) {
      this.state = (Math.imul(this.state, 1664525) + 1013904223) >>> 0;
      data[i] = (this.state / 2 ** 31 - 1) * scale;
    }
    return this.tensor(shape, FLOAT, Buffer.from(data.buffer));
  }

  ones(size) {
    return this.tensor([size], FLOAT, Buffer.from(new Float32Array(size).fill(1).buffer));
  }

  ints(values) {
    return this.tensor([values.length], INT64, Buffer.from(new BigInt64Array(values.map(BigInt)).buffer));
  }

  linear(x, from, to) {
    return this.op("Add", [this.op("MatMul", [x, this.random([from, to], 1 / Math.sqrt(from))]), this.random([to], 0.02)]);
  }

  norm(x, width) {
    return this.op("LayerNormalization", [x, this.ones(width), this.random([width], 0.02)], { axis: 2, epsilon: 1e-6 });
  }

  reshape(x, shape) {
    return this.op("Reshape", [x, this.ints(shape)]);
  }
}

/** The neck of preset Ti: narrower blocks. */
const NECK = { width: 128, depth: 4, heads: 8 };

/** @param {{ side?: number, patch?: number, width?: number, depth?: number, heads?: number, neck?: boolean }} [size] */
export function vit({ side = 224, patch = 16, width = 192, depth = 12, heads = 3, neck = false } = {}) {
  const graph = new Graph();
  const grid = side / patch;
  const tokens = grid * grid + 1;
  const kernel = graph.random([width, 3, patch, patch], 0.03);
  const patches = graph.op("Conv", ["image", kernel, graph.random([width], 0.02)], { kernel_shape: [patch, patch], strides: [patch, patch] });
  const rows = graph.op("Transpose", [graph.reshape(patches, [1, width, grid * grid])], { perm: [0, 2, 1] });
  let x = graph.op("Concat", [graph.random([1, 1, width], 0.02), rows], { axis: 1 });
  x = graph.op("Add", [x, graph.random([1, tokens, width], 0.02)]);
  x = blocks(graph, x, tokens, { width, depth, heads });
  if (neck) {
    x = graph.op("Add", [graph.linear(x, width, NECK.width), graph.random([1, tokens, NECK.width], 0.02)]);
    x = blocks(graph, x, tokens, NECK);
  }
  const output = graph.op("Identity", [x]);
  const inputs = valueInfo(11, "image", [1, 3, side, side]);
  const body = message(7, graph.nodes, text(2, "vit"), graph.weights, inputs, valueInfo(12, output, [1, tokens, neck ? NECK.width : width]));
  return Buffer.concat([int(1, 9), body, message(8, text(1, ""), int(2, 20))]);
}

/** Transformer blocks, and the norm after them. */
function blocks(graph, x, tokens, { width, depth, heads }) {
  for (let block = 0; block < depth; block++) {
    x = graph.op("Add", [x, attention(graph, graph.norm(x, width), { tokens, width, heads, head: width / heads })]);
    const hidden = graph.op("Gelu", [graph.linear(graph.norm(x, width), width, 4 * width)]);
    x = graph.op("Add", [x, graph.linear(hidden, 4 * width, width)]);
  }
  return graph.norm(x, width);
}

function attention(graph, x, { tokens, width, heads, head }) {
  const qkv = graph.reshape(graph.linear(x, width, 3 * width), [1, tokens, 3, heads, head]);
  const split = graph.op("Transpose", [qkv], { perm: [2, 0, 3, 1, 4] });
  const parts = graph.op("Split", [split], { axis: 0, num_outputs: 3 }, 3);
  const [q, k, v] = parts.map((part) => graph.reshape(part, [1, heads, tokens, head]));
  const scale = graph.tensor([1], FLOAT, Buffer.from(new Float32Array([head ** -0.5]).buffer));
  const scores = graph.op("MatMul", [graph.op("Mul", [q, scale]), graph.op("Transpose", [k], { perm: [0, 1, 3, 2] })]);
  const mixed = graph.op("MatMul", [graph.op("Softmax", [scores], { axis: 3 }), v]);
  const joined = graph.reshape(graph.op("Transpose", [mixed], { perm: [0, 2, 1, 3] }), [1, tokens, width]);
  return graph.linear(joined, width, width);
}
