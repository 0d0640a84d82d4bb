// How things look on the canvas. All lengths are CSS pixels of the stage.

/**
 * @typedef {CanvasRenderingContext2D} Context
 * @typedef {import("./geometry.js").Placement} Placement
 */

export const PLUS = "#12a06f";
export const MINUS = "#e5483a";
const HALO = "rgb(255 255 255 / 92%)";
const SHADE = "rgb(0 0 0 / 55%)";

/**
 * The smallest copy that is sharp enough, and of the whole photo only the part on the stage.
 * @param {Context} context @param {import("./paint.js").Photo} photo @param {Placement} placement
 * @param {{ width: number, height: number }} stage @param {number} ratio device pixels a CSS pixel
 */
export function drawPhoto(context, { width, height, bitmaps }, { zoom, panX, panY }, stage, ratio) {
  const need = width * zoom * ratio;
  const bitmap = bitmaps.findLast((candidate) => candidate.width >= need * 0.9) ?? bitmaps[0];
  const scale = bitmap.width / width;
  const [left, top] = [Math.max(0, Math.floor(-panX / zoom)), Math.max(0, Math.floor(-panY / zoom))];
  const right = Math.min(width, Math.ceil((stage.width - panX) / zoom));
  const bottom = Math.min(height, Math.ceil((stage.height - panY) / zoom));
  if (right <= left || bottom <= top) return;
  context.imageSmoothingEnabled = zoom * ratio < 3;
  // Copies halve, so that no better filter is needed: those would first reduce the whole photo, again and again.
  context.imageSmoothingQuality = "low";
  context.drawImage(
    bitmap,
    left * scale, top * scale, (right - left) * scale, (bottom - top) * scale,
    left * zoom + panX, top * zoom + panY, (right - left) * zoom, (bottom - top) * zoom,
  );
}

/**
 * @param {Context} context @param {import("./paint.js").MaskArt} art @param {Placement} placement
 * @param {{ width: number, height: number }} image @param {'active' | 'other' | 'preview' | 'change'} kind @param {string} [colour]
 */
export function drawMask(context, { fill, path, width, height }, { zoom, panX, panY }, image, kind, colour = "#fff") {
  const [sx, sy] = [(image.width / width) * zoom, (image.height / height) * zoom];
  context.save();
  context.translate(panX, panY);
  context.globalAlpha = { active: 0.5, other: 0.3, preview: 0.3, change: 0 }[kind];
  context.imageSmoothingEnabled = true;
  if (kind !== "change") context.drawImage(fill, 0, 0, width * sx, height * sy);
  context.globalAlpha = 1;
  context.scale(sx, sy);
  const line = (/** @type {number} */ wide, /** @type {string} */ style) => {
    context.lineWidth = wide / sx;
    context.strokeStyle = style;
    context.stroke(path);
  };
  context.lineJoin = "round";
  if (kind === "preview" || kind === "change") {
    line(2.5, SHADE);
    context.setLineDash([5 / sx, 4 / sx]);
    line(1.5, HALO);
  } else if (kind === "active") line(4, SHADE), line(2.5, HALO), line(1.5, colour);
  else line(2.5, SHADE), line(1.5, colour);
  context.restore();
}

/** @param {Context} context @param {import("./store.js").PromptedObject} object @param {Placement} placement */
export function drawPrompts(context, { prompts, colour }, placement) {
  for (const box of prompts.boxes) drawBox(context, box, placement, colour);
  for (const scribble of prompts.scribbles) drawScribble(context, scribble, placement);
  for (const point of prompts.points) drawPoint(context, point, placement);
}

/** @param {Context} context @param {{ x: number, y: number, positive: boolean }} point @param {Placement} placement */
export function drawPoint(context, { x, y, positive }, { zoom, panX, panY }) {
  const [cx, cy] = [x * zoom + panX, y * zoom + panY];
  disc(context, cx, cy, 8.5, SHADE);
  disc(context, cx, cy, 7.5, "#fff");
  disc(context, cx, cy, 6, positive ? PLUS : MINUS);
  context.fillStyle = "#fff";
  context.fillRect(cx - 3.5, cy - 0.8, 7, 1.6);
  if (positive) context.fillRect(cx - 0.8, cy - 3.5, 1.6, 7);
}

/** @param {Context} context @param {number} x @param {number} y @param {number} radius @param {string} colour */
function disc(context, x, y, radius, colour) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = colour;
  context.fill();
}

/** @param {Context} context @param {import("./store.js").Box} box @param {Placement} placement @param {string} colour */
export function drawBox(context, { x0, y0, x1, y1 }, { zoom, panX, panY }, colour) {
  const rectangle = /** @type {const} */ ([x0 * zoom + panX, y0 * zoom + panY, (x1 - x0) * zoom, (y1 - y0) * zoom]);
  for (const [width, style] of /** @type {[number, string][]} */ ([[4, SHADE], [3, HALO], [1.75, colour]])) {
    context.lineWidth = width;
    context.strokeStyle = style;
    context.strokeRect(...rectangle);
  }
}

/** @param {Context} context @param {import("./store.js").Scribble} scribble @param {Placement} placement */
export function drawScribble(context, { points, width, positive }, { zoom, panX, panY }) {
  if (points.length === 0) return;
  context.save();
  context.translate(panX, panY);
  context.scale(zoom, zoom);
  context.beginPath();
  context.moveTo(...points[0]);
  for (const point of points) context.lineTo(...point);
  if (points.length === 1) context.lineTo(points[0][0] + 0.01, points[0][1]);
  context.lineCap = context.lineJoin = "round";
  context.globalAlpha = 0.6;
  context.lineWidth = width;
  context.strokeStyle = positive ? PLUS : MINUS;
  context.stroke();
  context.globalAlpha = 1;
  context.lineWidth = Math.min(1.5 / zoom, width);
  context.strokeStyle = "#fff";
  context.stroke();
  context.restore();
}

/**
 * The keyboard's cursor: a crosshair that shows on any photo.
 * @param {Context} context @param {number} x @param {number} y on the stage @param {string} colour
 */
export function drawCursor(context, x, y, colour) {
  const arms = new Path2D(`M${x - 16} ${y}h11M${x + 5} ${y}h11M${x} ${y - 16}v11M${x} ${y + 5}v11`);
  for (const [width, style] of /** @type {[number, string][]} */ ([[6, SHADE], [4, "#fff"], [2, colour]])) {
    context.lineWidth = width;
    context.lineCap = "round";
    context.strokeStyle = style;
    context.stroke(arms);
  }
  disc(context, x, y, 1.5, "#fff");
}

/** @param {Context} context @param {number} x @param {number} y on the stage @param {number} radius @param {string} colour */
export function drawRing(context, x, y, radius, colour) {
  for (const [width, style] of /** @type {[number, string][]} */ ([[3.5, SHADE], [2, colour]])) {
    context.beginPath();
    context.arc(x, y, Math.max(radius, 1), 0, 2 * Math.PI);
    context.lineWidth = width;
    context.strokeStyle = style;
    context.stroke();
  }
}
