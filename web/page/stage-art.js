// Pictures over the photo on the stage, for the views that look inside.

/** @typedef {import("./app.js").App} App */
/** @typedef {OffscreenCanvas | HTMLCanvasElement} Canvas */

/** @param {number} width @param {number} height */
export function canvasOf(width, height) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  return canvas;
}

/** @param {ImageData} image */
export function canvasFrom(image) {
  const canvas = canvasOf(image.width, image.height);
  canvas.getContext("2d")?.putImageData(image, 0, 0);
  return canvas;
}

/**
 * Something that is drawn over the whole photo, whatever its own size.
 * @param {App} app
 */
export function overlay({ viewport }) {
  /** @type {{ canvas: Canvas, smooth: boolean }[]} */
  let pictures = [];
  /** @type {((context: CanvasRenderingContext2D, zoom: number) => void) | null} */
  let more = null;
  /** @type {(() => void) | null} */
  let remove = null;

  /** @type {import("./viewport.js").Draw} */
  function draw(context, { zoom, panX, panY }, { width, height }) {
    context.translate(panX, panY);
    context.scale(zoom, zoom);
    for (const { canvas, smooth } of pictures) {
      context.imageSmoothingEnabled = smooth;
      context.imageSmoothingQuality = "high";
      context.drawImage(canvas, 0, 0, width, height);
    }
    more?.(context, zoom);
  }

  return {
    show: () => (remove ??= viewport.addLayer(draw, { under: true })),
    hide() {
      remove?.();
      remove = null;
    },
    /** @param {(Canvas | null | undefined)[]} canvases the lowest first @param {{ smooth?: boolean, more?: typeof more }} [options] `more` draws in the photo's pixels */
    set(canvases, { smooth = true, more: further = null } = {}) {
      pictures = canvases.flatMap((canvas) => (canvas ? [{ canvas, smooth }] : []));
      more = further;
      viewport.invalidate();
    },
  };
}

/**
 * Lets the pointer choose places of the photo instead of making prompts: with the pan tool a click
 * does nothing else, and dragging still moves the photo.
 * @param {App} app @param {{ over?: (x: number, y: number) => void, out?: () => void, click?: (x: number, y: number) => void }} tell image pixels
 */
export function pointing({ store, viewport }, { over, out, click }) {
  const { canvas } = viewport;
  /** @type {import("./store.js").View['tool'] | null} */
  let before = null;
  /** @type {[number, number] | null} */
  let pressed = null;

  const place = (/** @type {PointerEvent} */ event) => {
    const [x, y] = viewport.toImage(event.clientX, event.clientY);
    return viewport.contains(x, y) ? /** @type {const} */ ([x, y]) : null;
  };
  const move = (/** @type {PointerEvent} */ event) => {
    if (event.buttons && event.pointerType !== "touch") return;
    const at = place(event);
    at ? over?.(...at) : out?.();
  };
  const down = (/** @type {PointerEvent} */ event) => (pressed = event.isPrimary && event.button === 0 ? [event.clientX, event.clientY] : null);
  const up = (/** @type {PointerEvent} */ event) => {
    const still = pressed && Math.hypot(event.clientX - pressed[0], event.clientY - pressed[1]) < 8;
    const at = still ? place(event) : null;
    pressed = null;
    if (at) over?.(...at);
    if (at) click?.(...at);
  };
  const leave = () => out?.();
  const listeners = /** @type {[string, any][]} */ ([["pointermove", move], ["pointerdown", down], ["pointerup", up], ["pointerleave", leave]]);

  return {
    start() {
      before = store.get().view.tool;
      store.setView({ tool: "pan" });
      for (const [name, listener] of listeners) canvas.addEventListener(name, listener);
    },
    stop() {
      for (const [name, listener] of listeners) canvas.removeEventListener(name, listener);
      if (before && store.get().view.tool === "pan") store.setView({ tool: before });
      before = null;
    },
  };
}
