// Damages weights in the ways that the world does.

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
