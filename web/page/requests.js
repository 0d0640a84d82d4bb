// Which masks to ask for, and when: one request runs at a time, and only the latest wish is waited for.

import { activeObject, isEmpty } from "./store.js";

/**
 * @typedef {import("./store.js").Mask} Mask
 * @typedef {import("./store.js").PromptedObject} PromptedObject
 * @typedef {{ mask: Mask, score: number, area: number, box: [number, number, number, number] | null }} Result
 */

/** Masks on the page are at most this long; exports are made in full. */
export const SHOWN_SIDE = 2048;
/** Longer side of the mask under the cursor: it is gone in a moment. */
const PREVIEW_SIDE = 640;
const PREVIEW_DELAY_MS = 45;
/** Bytes of masks that are kept for undo and redo. */
const KEPT_BYTES = 96e6;

/** Prompts as the Segmenter takes them. @param {import("./store.js").Prompts} prompts */
export function wire({ points, boxes, scribbles, mask }) {
  return { points, boxes, scribbles, ...(mask ? { mask } : {}) };
}

/** Gives each loaded mask a name for keys. */
const maskNames = new WeakMap();
let masksNamed = 0;

/** @param {PromptedObject} object what its mask depends on */
export function keyOf({ prompts: { points, boxes, scribbles, mask }, granularity }) {
  if (mask && !maskNames.has(mask.data)) maskNames.set(mask.data, ++masksNamed);
  return JSON.stringify([points, boxes, scribbles, mask && maskNames.get(mask.data), granularity]);
}

/**
 * @param {{ store: import("./store.js").Store, viewport: import("./viewport.js").Viewport,
 *   painter: ReturnType<typeof import("./paint.js").createPainter>,
 *   predict: (prompts: any[], options: any) => Promise<any[] | null>, failed: (error: unknown) => void }} parts
 */
export function createMaskRequests({ store, viewport, painter, predict, failed }) {
  /** @type {Map<number, Mask>} */
  const masks = new Map();
  /** What is shown of each object, and in which colour. @type {Map<number, { key: string, colour: string }>} */
  const shown = new Map();
  /** Latest last. @type {Map<string, Result>} */
  const cache = new Map();
  /** Not to be asked again until something changes. @type {Set<string>} */
  const refused = new Set();
  /** @type {{ x: number, y: number, positive: boolean } | null} */
  let wish = null;
  /** @type {AbortController | null} */
  let flight = null;
  /** @type {Promise<void> | null} */
  let running = null;
  let [generation, hoverTurn, wanted] = [0, 0, false];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let hoverTimer;

  const objects = () => store.get().document.objects;

  /** @param {boolean} [again] forget what is known, e.g. because the model is another one */
  function request(again = false) {
    if (again) forgetResults();
    for (const id of [...masks.keys()]) if (!objects().some((object) => object.id === id && !isEmpty(object.prompts))) drop(id);
    for (const object of objects()) known(object);
    if (stale().length > 0) flight?.abort();
    pump();
  }

  /** @param {number} id */
  function drop(id) {
    masks.delete(id);
    shown.delete(id);
    viewport.setMask(id, null);
  }

  function forgetResults() {
    cache.clear();
    shown.clear();
    refused.clear();
  }

  /** Objects whose mask is not that of their prompts. */
  const stale = () => objects().filter((object) => !isEmpty(object.prompts) && shown.get(object.id)?.key !== keyOf(object) && !refused.has(keyOf(object)));

  /** @param {PromptedObject} object */
  async function fromCache(object) {
    if (isEmpty(object.prompts)) return clearResult(object);
    const key = keyOf(object);
    const before = shown.get(object.id);
    if (before?.key === key && before.colour === object.colour) return;
    const result = cache.get(key);
    if (result) await accept(object, key, result);
  }

  /** Masks from the cache that are being painted. @type {Set<Promise<void>>} */
  const painting = new Set();

  /** @param {PromptedObject} object */
  function known(object) {
    const painted = fromCache(object).finally(() => painting.delete(painted));
    painting.add(painted);
  }

  /** @param {PromptedObject} object */
  function clearResult({ id, result }) {
    viewport.setPreview(null);
    if (result) store.patch((draft) => void (find(draft, id).result = null));
  }

  /** @param {import("./store.js").Document} draft @param {number} id @returns {any} */
  const find = (draft, id) => draft.objects.find((object) => object.id === id) ?? {};

  /** @param {PromptedObject} object @param {string} key @param {Result} result */
  async function accept({ id, colour }, key, result) {
    const turn = generation;
    masks.set(id, result.mask);
    shown.set(id, { key, colour });
    cache.delete(key);
    cache.set(key, result);
    trim();
    const art = await painter.mask(result.mask, colour);
    const now = shown.get(id);
    if (turn !== generation || now?.key !== key || now.colour !== colour) return art.fill.close();
    viewport.setMask(id, art);
    note(id, result.score, art);
    if (id === store.get().document.activeId) viewport.setPreview(null);
  }

  /** In pixels of the photo, of which the mask may be a reduced one. @param {number} id @param {number} score @param {import("./paint.js").MaskArt} art */
  function note(id, score, { area, box, width, height }) {
    const { objects, image } = store.get().document;
    const before = objects.find((object) => object.id === id)?.result;
    if (!image) return;
    const [sx, sy] = [image.width / width, image.height / height];
    const result = {
      score,
      area: Math.round(area * sx * sy),
      box: box && /** @type {[number, number, number, number]} */ (box.map((side, index) => Math.round(side * (index % 2 ? sy : sx)))),
    };
    if (!before || before.score !== score || before.area !== result.area) store.patch((draft) => void (find(draft, id).result = result));
  }

  /** The oldest results go; they can be made again. */
  function trim() {
    let bytes = 0;
    for (const [key, { mask }] of [...cache].reverse()) {
      bytes += mask.data.length;
      if (bytes > KEPT_BYTES) cache.delete(key);
    }
  }

  function pump() {
    wanted = true;
    running ??= run().finally(() => {
      running = null;
      // Asked for while the last round was ending.
      if (wanted) pump();
    });
  }

  async function run() {
    await null; // Several changes in a row are one.
    for (;;) {
      wanted = false;
      const turn = generation;
      const group = nextGroup();
      const hovered = wish;
      if (group.length === 0 && !hovered) return;
      flight = new AbortController();
      try {
        const done = group.length > 0 ? await make(group, flight.signal) : await preview(hovered, flight.signal);
        if (!done) return;
      } catch (error) {
        if (error instanceof Error && error.name === "AbortError") continue;
        if (turn !== generation) continue;
        for (const object of group) refused.add(keyOf(object));
        if (group.length === 0) wish = null;
        else failed(error);
      } finally {
        flight = null;
      }
    }
  }

  /**
   * One object at a time: queries of one pass look at each other, so that a mask would depend on which
   * other objects were asked for with it, and undo, export and a session would give others than were seen.
   */
  const nextGroup = () => stale().slice(0, 1);

  /** @param {PromptedObject[]} group @param {AbortSignal} signal */
  async function make(group, signal) {
    const turn = generation;
    store.setView({ busy: "predict" });
    const keys = group.map(keyOf);
    const results = await predict(group.map(({ prompts }) => wire(prompts)), { granularity: group[0].granularity, maxSide: SHOWN_SIDE, signal });
    store.setView({ busy: store.get().view.busy === "predict" ? "" : store.get().view.busy });
    if (!results || turn !== generation) return Boolean(results);
    store.setView({ predictMs: results[0].ms });
    await Promise.all(
      group.map(({ id }, index) => {
        const object = objects().find((candidate) => candidate.id === id);
        return object && accept(object, keys[index], results[index]);
      }),
    );
    return true;
  }

  /** @param {{ x: number, y: number, positive: boolean } | null} at @param {AbortSignal} signal */
  async function preview(at, signal) {
    if (!at) return true;
    const turn = hoverTurn;
    const active = activeObject(store.get().document);
    const prompts = active ? wire(active.prompts) : { points: [], boxes: [], scribbles: [] };
    const options = { granularity: active?.granularity ?? store.get().view.granularity, maxSide: PREVIEW_SIDE, signal };
    if (wish === at) wish = null;
    const results = await predict([{ ...prompts, points: [...prompts.points, at] }], options);
    if (!results) return false;
    if (turn !== hoverTurn) return true;
    const art = await painter.mask(results[0].mask, active?.colour ?? "#ffffff");
    turn === hoverTurn ? viewport.setPreview(art) : art.fill.close();
    return true;
  }

  return {
    masks,
    wire,
    request,

    /** The mask of an object, if it is that of its prompts now. @param {PromptedObject} object */
    current: (object) => (shown.get(object.id)?.key === keyOf(object) ? masks.get(object.id) : undefined),

    /** @param {{ x: number, y: number, positive: boolean } | null} at image pixels; `null` when nothing is pointed at */
    hover(at) {
      clearTimeout(hoverTimer);
      hoverTurn++;
      wish = null;
      if (!at) return viewport.setPreview(null);
      hoverTimer = setTimeout(() => {
        wish = at;
        pump();
      }, PREVIEW_DELAY_MS);
    },

    /** No new preview; the one that is shown stays until the mask that it foretold is there. */
    hoverHold() {
      clearTimeout(hoverTimer);
      hoverTurn++;
      wish = null;
    },

    /** Another photo: everything is void. */
    forget() {
      generation++;
      flight?.abort();
      clearTimeout(hoverTimer);
      hoverTurn++;
      wish = null;
      forgetResults();
      for (const id of [...masks.keys()]) drop(id);
    },

    async settled() {
      while (running || painting.size > 0) await Promise.all([running, ...painting]);
    },
  };
}
