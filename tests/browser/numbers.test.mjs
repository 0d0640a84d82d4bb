// The same numbers everywhere: what encoder and decoder say in the browser, on the CPU and on WebGPU,
// against `rmae segment` on the processor, with the shipped weights.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { browserForTests, env } from "./lib/page.mjs";

const chrome = browserForTests({ webgpu: true });

/** Largest relative error ‖a−b‖ / ‖b‖. */
const TOLERANCE = 1e-3;
const PHOTOS = ["coffee", "chelsea", "astronaut"];
/** Shares of the photo's sides. */
const CLICK = { x: 0.5, y: 0.45 };
const BESIDE = { x: 0.04, y: 0.05 };

/** Tensors of a safetensors file. @param {string} path @returns {Record<string, { shape: number[], data: Float32Array }>} */
function tensors(path) {
  const bytes = readFileSync(path);
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const { __metadata__, ...header } = JSON.parse(bytes.toString("utf8", 8, start));
  return Object.fromEntries(
    Object.entries(header).map(([name, { dtype, shape, data_offsets: [from, to] }]) => {
      assert.equal(dtype, "F32", name);
      const copy = Uint8Array.from(bytes.subarray(start + from, start + to));
      return [name, { shape, data: new Float32Array(copy.buffer) }];
    }),
  );
}

/** @param {Float32Array} have @param {Float32Array} want */
function relativeError(have, want) {
  assert.equal(have.length, want.length);
  let [difference, norm] = [0, 0];
  for (const [at, value] of want.entries()) {
    difference += (have[at] - value) ** 2;
    norm += value ** 2;
  }
  assert.ok(norm > 0, "nothing to compare with");
  return Math.sqrt(difference / norm);
}

/** A photo of the gallery as PNG, so that nobody's JPEG decoder is in the numbers. */
async function asPng(visit, name) {
  const base64 = await visit.page.evaluate(async (name) => {
    const bitmap = await createImageBitmap(await (await fetch(`gallery/${name}.jpg`)).blob());
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    const bytes = new Uint8Array(await (await canvas.convertToBlob({ type: "image/png" })).arrayBuffer());
    return bytes.toBase64?.() ?? btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  }, name);
  const png = Buffer.from(base64, "base64");
  return { png, width: png.readUInt32BE(16), height: png.readUInt32BE(20) };
}

/** Tokens, logits and mask of the photo that is open. */
async function said(visit, device, points) {
  const made = await visit.page.evaluate(
    async ([device, points]) => {
      const { segmenter } = globalThis.rmae;
      await segmenter.setDevice(device);
      const { tokens, width, data } = await segmenter.embedding();
      const { logits, mask } = await segmenter.predict({ points }, { logits: true });
      return { kind: segmenter.device.kind, shape: [1, tokens, width], latent: [...data], logits: [...logits.data], mask: [...mask.data] };
    },
    [device, points],
  );
  assert.equal(made.kind, device);
  return { ...made, latent: Float32Array.from(made.latent), logits: Float32Array.from(made.logits) };
}

/** The same by the command line; the mask comes as a picture of the photo's size. */
async function native(visit, folder, png, points) {
  const at = (file) => join(folder, file);
  writeFileSync(at("photo.png"), png);
  const clicks = points.flatMap(({ x, y, positive }) => ["--click", `${x},${y}${positive ? "" : ",-"}`]);
  const model = join(env.dist, "weights/rmae-ti.safetensors");
  execFileSync(env.command, ["--device", "cpu", "segment", "--model", model, at("photo.png"), ...clicks, "--tensors", at("said.safetensors"), "--out", at("mask.png")]);
  return { ...tensors(at("said.safetensors")), mask: await visit.pixels(readFileSync(at("mask.png"))) };
}

for (const name of PHOTOS) {
  test(`${name}: latent, logits and mask are the native executor's`, { timeout: 180_000 }, async (t) => {
    const visit = await chrome.visit(t, { weights: "shipped" });
    visit.context.setDefaultTimeout(120_000);
    const folder = mkdtempSync(join(tmpdir(), "rmae-numbers-"));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const { png, width, height } = await asPng(visit, name);
    const points = [{ ...CLICK, positive: true }, { ...BESIDE, positive: false }].map((p) => ({ ...p, x: Math.round(p.x * width), y: Math.round(p.y * height) }));
    await visit.open(png);
    const want = await native(visit, folder, png, points);
    assert.ok(want.mask.some(Boolean) && !want.mask.every(Boolean), "a mask of all or nothing compares nothing");
    for (const device of ["cpu", "webgpu"]) {
      const have = await said(visit, device, points);
      assert.deepEqual(have.shape, want.latent.shape);
      const [latent, logits] = [relativeError(have.latent, want.latent.data), relativeError(have.logits, want["logits.1"].data)];
      assert.equal(have.mask.length, want.mask.length);
      const same = have.mask.reduce((sum, value, i) => sum + Number(Boolean(value) === Boolean(want.mask[i])), 0) / have.mask.length;
      t.diagnostic(`${device}: latent ${latent.toExponential(1)}, logits ${logits.toExponential(1)}, ${(100 * same).toFixed(3)} % of the mask's pixels`);
      assert.ok(latent <= TOLERANCE && logits <= TOLERANCE, `${device}: latent ${latent}, logits ${logits}`);
      assert.ok(same >= 0.999, `${device}: ${same}`);
    }
  });
}
