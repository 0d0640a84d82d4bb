// A further prompt in the page against the encode it follows: `bench.mjs` runs it.

import { scene } from "../../../tests/browser/lib/images.mjs";

/** Photos of 0.15 and 1 megapixel. */
const SIZES = /** @type {const} */ ([
  [480, 320],
  [1200, 833],
]);
/** Clicks on one photo, one after the other; the first is not a further one. */
const CLICKS = 7;

/** @param {number[]} values */
export const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

/** Times of one photo and of clicks on it, ms. */
function once(page, width, height) {
  return page.evaluate(
    async ([width, height, clicks, base64]) => {
      const { segmenter } = globalThis.rmae;
      if (segmenter.device.kind !== "cpu") await segmenter.setDevice("cpu");
      const photo = await createImageBitmap(new Blob([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))]));
      await segmenter.setImage(photo);
      const { lastEncodeMs, lastModelMs } = await segmenter.stats();
      const times = { model: [], mask: [] };
      for (const [key, refine] of Object.entries({ model: { edges: "off" }, mask: {} })) {
        const points = [];
        for (let click = 0; click < clicks; click++) {
          const [u, v] = [0.35 + 0.05 * click, click % 2 ? 0.3 : 0.55];
          points.push({ x: width * u, y: height * v, positive: click % 3 !== 2 });
          // Only the newest of the clicks is worked on; the mask at the model's own side: drawing a larger
          // one is no part of the model.
          const { ms } = await segmenter.predict({ points }, { refine, ...(key === "model" ? { maxSide: 224 } : {}) });
          if (click > 0) times[key].push(ms);
        }
      }
      return { encode: lastModelMs, image: lastEncodeMs, ...times };
    },
    [width, height, CLICKS, scene(width, height).toString("base64")],
  );
}

/** Prints what share of the image's time a further prompt takes; whether it is at most a tenth. */
export async function prompts(page, rounds) {
  console.log("\nWASM, one thread: a further prompt (the model alone; the whole mask) against the image before it");
  let fast = true;
  for (const [width, height] of SIZES) {
    const shares = { model: [], mask: [] };
    await once(page, width, height);
    for (let round = 1; round <= rounds; round++) {
      const { encode, image, model, mask } = await once(page, width, height);
      const [a, b] = [median(model), median(mask)];
      shares.model.push(a / encode);
      shares.mask.push(b / image);
      const of = (part, whole) => `${part.toFixed(1)} of ${whole.toFixed(1)} ms, 1/${(whole / part).toFixed(1)}`;
      console.log(`${width} × ${height}, round ${round}: model ${of(a, encode)}; mask ${of(b, image)}`);
    }
    for (const [key, values] of Object.entries(shares)) {
      const share = median(values);
      console.log(`${width} × ${height}, ${key}: median 1/${(1 / share).toFixed(1)}, wanted at most 1/10`);
      fast = share <= 0.1 && fast;
    }
  }
  return fast;
}
