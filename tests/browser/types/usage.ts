// What a program that uses the package may write, and what the compiler must refuse. Never run.

import { AbortError, ModelError, RmaeError, Segmenter } from "../../../web/js/index.js";
import type { DeviceInfo, Progress, Prompts, Result } from "../../../web/js/index.js";

export async function everything(canvas: HTMLCanvasElement, file: File): Promise<string> {
  const controller = new AbortController();
  const s = await Segmenter.load("weights/rmae-ti.safetensors", {
    device: "auto",
    signal: controller.signal,
    sha256: "00",
    onProgress: ({ stage, loaded, total }: Progress) => console.log(stage, (loaded ?? 0) / (total ?? 1)),
  });
  s.addEventListener("device", (event) => console.log(event.detail.reason satisfies string));
  s.addEventListener("status", (event) => console.log(event.detail.message satisfies string));
  const { width, height, ms } = await s.setImage(await createImageBitmap(canvas));
  await s.setImage(file, { signal: controller.signal });
  const prompts: Prompts = {
    points: [{ x: 1, y: 2 }, { x: 3, y: 4, positive: false, radius: 5 }],
    box: { x0: 0, y0: 0, x1: width, y1: height },
    scribbles: [{ points: [[0, 0], [5, 5]], width: 3, positive: true }],
  };
  const one: Result = await s.predict(prompts, { granularity: 0.5, refine: { edges: "guided", holes: false } });
  const [first] = await s.predict([prompts, { mask: one.mask }], { maxSide: 512, crop: true, signal: controller.signal });
  const [least] = await s.candidates(prompts, { maxSide: 512, signal: controller.signal });
  const { values, layers } = await s.attention({ x: 1, y: 1, layer: 0, head: "mean" });
  const { reconstruction, regions } = await s.reconstruct({ maskRatio: 0.75, seed: 1 });
  const { labels, count } = await s.regions({ scale: 300 });
  const text: string = await s.export({ format: "coco", objects: [{ name: "cat", mask: one.mask, score: one.score }] });
  const map = await s.export({ format: "labelmap", objects: [{ name: "cat", mask: one.mask }] });
  const device: DeviceInfo = await s.setDevice("cpu");
  const model = await s.replaceWeights(file);
  const { handles, wasmBytes } = await s.stats();
  s.dispose();
  return [ms, first?.area, least?.granularity, values[0], layers, reconstruction?.width, regions.length, labels[0], count, text, map.labels[0], device.software, model.depth, handles, wasmBytes].join();
}

export function explain(error: unknown): string {
  if (error instanceof AbortError) return "left";
  if (error instanceof ModelError) return `weights: ${error.code}`;
  return error instanceof RmaeError ? error.code : "not ours";
}

export async function refused(s: Segmenter): Promise<void> {
  // @ts-expect-error a click has two coordinates
  await s.predict({ points: [{ x: 1 }] });
  // @ts-expect-error prompts of one object give one result
  (await s.predict({ points: [] })).length;
  // @ts-expect-error candidates have every granularity
  await s.candidates({ points: [] }, { granularity: 0.5 });
  // @ts-expect-error there is no such device
  await s.setDevice("cuda");
  // @ts-expect-error there is no such format
  await s.export({ format: "jpeg", objects: [] });
  // @ts-expect-error it is made by `load` alone
  new Segmenter();
  // @ts-expect-error what it is on is not for callers to set
  s.device = null;
}
