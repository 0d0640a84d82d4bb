// The canvas: where the photo lies, and everything that is drawn on it. Reacts to no pointer (see tools.js).

import { centred, fit, inside, keepVisible, toImage, toScreen, zoomAround } from "./geometry.js";
import { drawMask, drawPhoto, drawPrompts } from "./drawing.js";
import { activeObject } from "./store.js";

/**
 * @typedef {import("./geometry.js").Placement} Placement
 * @typedef {(context: CanvasRenderingContext2D, placement: Placement, image: { width: number, height: number }) => void} Draw
 *   in CSS pixels of the stage; put the photo's own pixels there with `translate(panX, panY); scale(zoom, zoom)`
 */

/** Margin of a fitted photo, and what is left free below it. */
const LARGE = /** @type {const} */ ([20, 52]);
const SMALL = /** @type {const} */ ([10, 58]);

/** @param {HTMLCanvasElement} canvas @param {import("./store.js").Store} store */
export function createViewport(canvas, store) {
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const stage = { width: 1, height: 1 };
  /** @type {import("./paint.js").Photo | null} */
  let photo = null;
  /** @type {Map<number, import("./paint.js").MaskArt>} */
  const masks = new Map();
  /** @type {import("./paint.js").MaskArt | null} */
  let preview = null;
  /** @type {Set<{ draw: Draw, under: boolean }>} */
  const layers = new Set();
  let [masksShown, frame, fitted] = [true, 0, true];

  /** @returns {Placement} */
  const placement = () => store.get().view;
  const image = () => store.get().document.image;

  function invalidate() {
    frame ||= requestAnimationFrame(draw);
  }

  function draw() {
    frame = 0;
    const ratio = canvas.width / stage.width;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, stage.width, stage.height);
    const { document, view } = store.get();
    if (!photo || !document.image) return;
    drawPhoto(context, photo, view, stage, ratio);
    drawLayers(true);
    if (masksShown) drawMasks(document);
    const active = activeObject(document);
    // Beside a mask that is there, a line is enough to tell what would change.
    if (masksShown && preview) drawMask(context, preview, view, document.image, active?.visible && masks.has(active.id) ? "change" : "preview");
    if (masksShown && active?.visible) drawPrompts(context, active, view);
    drawLayers(false);
  }

  /** @param {import("./store.js").Document} document */
  function drawMasks({ objects, activeId, image }) {
    // The first of the list lies on top, and the one that is worked on above all.
    const isActive = (/** @type {{ id: number }} */ { id }) => Number(id === activeId);
    for (const object of [...objects].reverse().sort((a, b) => isActive(a) - isActive(b))) {
      const art = masks.get(object.id);
      if (!art || !image || !object.visible) continue;
      drawMask(context, art, placement(), image, object.id === activeId ? "active" : "other", object.colour);
    }
  }

  /** @param {boolean} under */
  function drawLayers(under) {
    const shown = image();
    for (const layer of layers) {
      if (layer.under !== under || !shown) continue;
      context.save();
      layer.draw(context, placement(), shown);
      context.restore();
    }
  }

  /** @param {Placement} next @param {boolean} [isFit] */
  function place(next, isFit = false) {
    const shown = image();
    if (!shown) return;
    fitted = isFit;
    store.setView(keepVisible(next, stage, shown));
    invalidate();
  }

  const leastZoom = () => {
    const shown = image();
    return shown ? Math.min(1, whole(shown).zoom) / 2 : 0.01;
  };

  /** The photo above the controls at the bottom of the stage. @param {{ width: number, height: number }} shown */
  const whole = (shown) => fit(stage, shown, ...(stage.width < 600 ? SMALL : LARGE));

  new ResizeObserver(([entry]) => {
    const { width, height } = entry.contentRect;
    const middle = toImage(placement(), stage.width / 2, stage.height / 2);
    Object.assign(stage, { width: Math.max(1, width), height: Math.max(1, height) });
    const ratio = Math.min(devicePixelRatio || 1, 3);
    canvas.width = Math.max(1, Math.round(width * ratio));
    canvas.height = Math.max(1, Math.round(height * ratio));
    if (fitted) viewport.fit();
    else viewport.centre(...middle);
    draw();
  }).observe(canvas);

  const viewport = {
    canvas,
    stage,
    invalidate,

    /** @param {import("./paint.js").Photo | null} next closes the bitmaps of the one before */
    setPhoto(next) {
      for (const bitmap of photo?.bitmaps ?? []) bitmap.close();
      photo = next;
      viewport.clearMasks();
      if (next) viewport.fit();
      invalidate();
    },
    /** The photo as it is drawn: `bitmaps[0]` is the whole one. */
    get photo() {
      return photo;
    },

    /** @param {number} id @param {import("./paint.js").MaskArt | null} art */
    setMask(id, art) {
      masks.get(id)?.fill.close();
      art ? masks.set(id, art) : masks.delete(id);
      invalidate();
    },
    clearMasks() {
      for (const id of [...masks.keys()]) viewport.setMask(id, null);
      viewport.setPreview(null);
    },
    /** What the next click would make. @param {import("./paint.js").MaskArt | null} art */
    setPreview(art) {
      if (!art && !preview) return;
      preview?.fill.close();
      preview = art;
      invalidate();
    },
    /** Hides masks and prompts, for views that show something else of the photo. @param {boolean} shown */
    showMasks(shown) {
      masksShown = shown;
      invalidate();
    },

    /**
     * Something more to draw: over all the rest, or under the masks.
     * @param {Draw} draw @param {{ under?: boolean }} [options] @returns {() => void} takes it away
     */
    addLayer(draw, { under = false } = {}) {
      const layer = { draw, under };
      layers.add(layer);
      invalidate();
      return () => {
        layers.delete(layer);
        invalidate();
      };
    },

    /** @param {number} clientX @param {number} clientY @returns {[number, number]} on the stage */
    toStage(clientX, clientY) {
      const { left, top } = canvas.getBoundingClientRect();
      return [clientX - left, clientY - top];
    },
    /** @param {number} clientX @param {number} clientY @returns {[number, number]} image pixels */
    toImage(clientX, clientY) {
      return toImage(placement(), ...viewport.toStage(clientX, clientY));
    },
    /** @param {number} x @param {number} y image pixels @returns {[number, number]} on the stage */
    toScreen: (x, y) => toScreen(placement(), x, y),
    /** @param {number} x @param {number} y image pixels */
    contains(x, y) {
      const shown = image();
      return shown !== null && inside(x, y, shown);
    },

    fit() {
      const shown = image();
      if (shown) place(whole(shown), true);
    },
    /** One pixel of the photo a CSS pixel, around the middle of the stage. */
    actualSize() {
      viewport.zoomBy(1 / placement().zoom);
    },
    /** @param {number} factor @param {number} [x] @param {number} [y] what stays where it is, on the stage */
    zoomBy(factor, x = stage.width / 2, y = stage.height / 2) {
      place(zoomAround(placement(), factor, x, y, leastZoom()));
    },
    /** @param {number} dx @param {number} dy CSS pixels */
    panBy(dx, dy) {
      const { zoom, panX, panY } = placement();
      place({ zoom, panX: panX + dx, panY: panY + dy });
    },
    /** @param {number} x @param {number} y image pixels to have in the middle */
    centre(x, y) {
      const { zoom } = placement();
      place({ zoom, panX: stage.width / 2 - x * zoom, panY: stage.height / 2 - y * zoom });
    },
    /** Moves no more than it must to show a place. @param {number} x @param {number} y image pixels @param {number} [margin] */
    reveal(x, y, margin = 40) {
      const [sx, sy] = viewport.toScreen(x, y);
      const over = (/** @type {number} */ at, /** @type {number} */ side) => Math.min(0, side - margin - at) + Math.max(0, margin - at);
      const [dx, dy] = [over(sx, stage.width), over(sy, stage.height)];
      if (dx || dy) viewport.panBy(dx, dy);
    },
    /** For zooming to a part, e.g. an object. @param {number} zoom @param {number} x @param {number} y image pixels */
    show(zoom, x, y) {
      const shown = image();
      if (!shown) return;
      place(centred(stage, shown, zoom));
      viewport.centre(x, y);
    },
  };

  store.subscribe(invalidate);
  return viewport;
}

/** @typedef {ReturnType<typeof createViewport>} Viewport */
