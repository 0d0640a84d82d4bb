// Writes the encoder of a preset as an ONNX file: `node export.mjs ti vit.onnx`.

import { writeFileSync } from "node:fs";

import { vit } from "./vit.mjs";

const SIZES = {
  ti: { width: 192, depth: 12, heads: 3 },
  s: { width: 384, depth: 12, heads: 6 },
  b: { width: 768, depth: 12, heads: 12 },
};

const [preset = "", file = ""] = process.argv.slice(2);
if (!(preset in SIZES) || file === "") throw new Error("usage: node export.mjs ti|s|b FILE.onnx");
writeFileSync(file, vit(SIZES[preset]));
