// The list of keys and gestures.

import { el, iconButton } from "./dom.js";

const SECTIONS = /** @type {[string, [string, string[]][]][]} */ ([
  ["Prompt", [
    ["Add what you click", ["Click"]],
    ["Take away", ["Shift", "Click"]],
    ["Take away, too", ["Right click"]],
    ["Box around an object", ["Drag"]],
    ["Part or whole", ["Wheel"]],
    ["Remove a click", ["Click on it"]],
  ]],
  ["Tools", [
    ["Click", ["V"]],
    ["Box", ["X"]],
    ["Brush", ["B"]],
    ["Thinner, thicker brush", ["[", "]"]],
    ["Pan", ["H"]],
    ["Add or subtract", ["S"]],
    ["Part or whole", [",", "."]],
  ]],
  ["Without a mouse", [
    ["Move the cursor", ["Arrows"]],
    ["Faster; by a pixel", ["Shift", "Alt"]],
    ["Add, corner of a box", ["Enter"]],
    ["Take away", ["Shift", "Enter"]],
    ["Brush", ["hold Enter", "Arrows"]],
    ["Leave a box or stroke", ["Esc"]],
  ]],
  ["View", [
    ["Zoom", ["Ctrl", "Wheel"]],
    ["Zoom", ["+", "−"]],
    ["Pan", ["Space", "Drag"]],
    ["Fit", ["F"]],
    ["Actual size", ["0"]],
  ]],
  ["Objects", [
    ["Go to an object", ["1 … 9"]],
    ["New object", ["N"]],
    ["Delete object", ["Del"]],
    ["Rename object", ["F2"]],
    ["Undo", ["Ctrl", "Z"]],
    ["Redo", ["Ctrl", "Shift", "Z"]],
  ]],
  ["Page", [
    ["Open a photo", ["Ctrl", "O"]],
    ["Paste a photo", ["Ctrl", "V"]],
    ["Save the session", ["Ctrl", "S"]],
    ["Tour", ["T"]],
  ]],
  ["Touch", [
    ["Click, box or brush", ["One finger"]],
    ["Zoom and pan", ["Two fingers"]],
    ["Add or subtract", ["Buttons below"]],
  ]],
]);

/** @param {[string, [string, string[]][]]} section */
function section([title, rows]) {
  const pairs = rows.flatMap(([what, keys]) => [el("dt", {}, what), el("dd", {}, ...keys.flatMap((key, index) => [index ? " " : "", el("kbd", {}, key)]))]);
  return el("section", {}, el("h3", {}, title), el("dl", {}, ...pairs));
}

/** @param {import("./app.js").App} app */
export function mountHelp({ commands }) {
  const dialog = el(
    "dialog",
    { class: "help", id: "help", "aria-labelledby": "help-title" },
    el("div", { class: "panel-head" }, el("h2", { id: "help-title" }, "Keyboard and gestures"), iconButton("close", "Close", () => dialog.close())),
    el("div", { class: "help-columns" }, ...SECTIONS.map(section)),
  );
  document.body.append(dialog);
  dialog.addEventListener("click", (/** @type {MouseEvent} */ event) => event.target === dialog && dialog.close());
  commands.add("help", { keys: ["?"], run: () => dialog.showModal() });
}
