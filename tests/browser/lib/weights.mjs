// Weights that tests need: a small model, and weights damaged in the ways that the world does.

/** @param {Buffer} file safetensors */
function read(file) {
  const length = Number(file.readBigUInt64LE(0));
  return { header: JSON.parse(file.subarray(8, 8 + length).toString("utf8")), data: file.subarray(8 + length) };
}

/** @param {object} header @param {Buffer} data */
function write(header, data) {
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, data]);
}

/**
 * A model with the shipped one's widths and fewer blocks: a sixth of its work, and masks that still
 * follow the prompts.
 * @param {Buffer} file
 */
export function fewerBlocks(file) {
  const { header, data } = read(file);
  const kept = { blocks: 2, decoder_blocks: 1, region_cross_blocks: 1 };
  const { __metadata__: metadata, ...tensors } = header;
  const isKept = (/** @type {string} */ name) => {
    const [, stack, index] = /^(\w+)\.(\d+)\./.exec(name) ?? [];
    return !(stack in kept) || Number(index) < kept[stack];
  };
  const small = {};
  const parts = [];
  let at = 0;
  for (const [name, tensor] of Object.entries(tensors).filter(([name]) => isKept(name))) {
    const part = data.subarray(...tensor.data_offsets);
    small[name] = { ...tensor, data_offsets: [at, at + part.length] };
    parts.push(part);
    at += part.length;
  }
  const sizes = { depth: kept.blocks, decoder_depth: kept.decoder_blocks, region_cross_layer: kept.region_cross_blocks };
  const model = JSON.stringify({ ...JSON.parse(metadata["rmae.model"]), ...sizes });
  return write({ __metadata__: { ...metadata, "rmae.model": model }, ...small }, Buffer.concat(parts));
}

/** The same weights, but one number of a tensor is none. @param {Buffer} file @param {string} name */
export function withNan(file, name) {
  const { header, data } = read(file);
  const { dtype, data_offsets: offsets } = header[name];
  const copy = Buffer.from(data);
  if (dtype === "F16") copy.writeUInt16LE(0x7e00, offsets[0] + 10);
  else copy.writeFloatLE(NaN, offsets[0] + 20);
  return write(header, copy);
}

/** The same weights, but a tensor has another name. @param {Buffer} file @param {string} name */
export function withoutTensor(file, name) {
  const { header, data } = read(file);
  const { [name]: tensor, ...rest } = header;
  return write({ ...rest, "somebody.elses.tensor": tensor }, data);
}
