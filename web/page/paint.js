// The page's side of paint-worker.js.

/**
 * @typedef {{ width: number, height: number, bitmaps: ImageBitmap[] }} Photo the largest bitmap first
 * @typedef {{ fill: ImageBitmap, path: Path2D, width: number, height: number, area: number, box: number[] | null }} MaskArt in pixels of the mask
 */

export function createPainter() {
  const worker = new Worker(new URL("paint-worker.js", import.meta.url), { type: "module" });
  /** @type {Map<number, { resolve(value: any): void, reject(error: Error): void }>} */
  const waiting = new Map();
  let last = 0;
  worker.onmessage = ({ data: { id, result, error } }) => {
    const job = waiting.get(id);
    waiting.delete(id);
    error === undefined ? job?.resolve(result) : job?.reject(new Error(error));
  };
  worker.onerror = (event) => {
    for (const job of waiting.values()) job.reject(new Error(event.message || "the drawing worker stopped"));
    waiting.clear();
  };

  /** @param {string} kind @param {any} job @returns {Promise<any>} */
  function ask(kind, job) {
    const id = ++last;
    return new Promise((resolve, reject) => {
      waiting.set(id, { resolve, reject });
      worker.postMessage({ id, kind, job });
    });
  }

  return {
    /** @param {Blob} blob @returns {Promise<Photo>} as EXIF turns it; rejects when it is no picture */
    photo: (blob) => ask("photo", { blob }),
    /** @param {import("./store.js").Mask} mask @param {string} colour "#rrggbb" @returns {Promise<MaskArt>} */
    async mask({ data, width, height }, colour) {
      const { lines, ...art } = await ask("mask", { data, width, height, colour });
      return { ...art, path: pathOf(lines) };
    },
  };
}

/** @param {Float32Array[]} lines @returns {Path2D} */
function pathOf(lines) {
  const path = new Path2D();
  for (const line of lines) {
    path.moveTo(line[0], line[1]);
    for (let index = 2; index < line.length; index += 2) path.lineTo(line[index], line[index + 1]);
    path.closePath();
  }
  return path;
}
