// A short tour on the first visit, once there is a photo to try things on. It lies beside the work
// and blocks nothing; T leads to it and starts it again.

import { el, iconButton } from "./dom.js";
import { isEmpty } from "./store.js";

/** @typedef {import("./app.js").App} App */
/** @typedef {{ title: string, text: string, touch?: string, target: string, until?: (state: import("./store.js").State) => boolean }} Step */

const SEEN = "rmae-tour";

/** @type {Step[]} */
const STEPS = [
  {
    title: "Point at something", target: "#canvas",
    text: "Move over the photo to see the mask before you click. Click to keep it.", touch: "Tap something in the photo.",
    until: ({ document }) => document.objects.some(({ prompts }) => !isEmpty(prompts)),
  },
  {
    title: "Too much? Too little?", target: "#tools",
    text: "Click again to add. Hold Shift, or choose Subtract, to take away. Drag a box, or paint with the brush. The wheel goes from part to whole.",
    touch: "Tap again to add; choose Subtract to take away. Draw boxes or paint with the tools. Two fingers zoom.",
  },
  { title: "Several objects", target: "#tab-objects", text: "Each object has a name, a colour and its own prompts. N starts a new one, and everything can be undone.", touch: "Each object has a name, a colour and its own prompts, and everything can be undone." },
  { title: "Take it with you", target: "#tab-export", text: "Masks, cut-outs, COCO, SVG and label maps, in the photo's own resolution. A session file keeps it all." },
  { title: "It stays with you", target: "#tab-settings", text: "Model and photo never leave this machine. After this visit the page works without a network, too. Press ? for all keys.", touch: "Model and photo never leave this device. After this visit the page works without a network, too." },
];

/** @param {HTMLElement} root @param {App} app */
export function mount(root, app) {
  const coarse = matchMedia("(pointer: coarse)").matches;
  const heading = el("h2", { id: "tour-title", tabIndex: -1 });
  const text = el("p", { id: "tour-text" });
  const count = el("span", { class: "quiet-text small numbers" });
  const back = el("button", { type: "button", class: "button quiet", onclick: () => go(at - 1) }, "Back");
  const next = el("button", { type: "button", class: "button primary", "data-testid": "tour-next", onclick: () => go(at + 1) }, "Next");
  const close = iconButton("close", "Skip the tour", end, { "data-testid": "tour-skip" });
  const card = el(
    "section",
    { class: "tour", role: "dialog", "aria-labelledby": "tour-title", "aria-describedby": "tour-text", "data-testid": "tour", hidden: true },
    el("div", { class: "panel-head" }, heading, close), text, el("div", { class: "tour-foot" }, count, back, next),
  );
  let at = -1;
  /** @type {Element | null} */
  let target = null;
  root.append(card);
  card.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Escape") end();
  });

  /** @param {number} step */
  function go(step) {
    mark(null);
    at = step;
    if (step >= STEPS.length) return end();
    const { title, text: words, touch, target: selector } = STEPS[step];
    heading.textContent = title;
    text.textContent = coarse && touch ? touch : words;
    count.textContent = `${step + 1} of ${STEPS.length}`;
    back.hidden = step === 0;
    next.textContent = step === STEPS.length - 1 ? "Done" : "Next";
    card.hidden = false;
    mark(document.querySelector(selector));
    if (card.contains(document.activeElement)) heading.focus();
    app.announce(`Tour, ${step + 1} of ${STEPS.length}: ${title}. ${text.textContent}${step === 0 ? " Press T to go to the tour." : ""}`);
  }

  /** @param {Element | null} element */
  function mark(element) {
    target?.classList.remove("tour-target");
    target = element;
    target?.classList.add("tour-target");
  }

  function end() {
    const focused = card.contains(document.activeElement);
    card.hidden = true;
    mark(null);
    at = STEPS.length;
    remember();
    if (focused) app.viewport.canvas.focus();
  }

  app.commands.add("tour", {
    keys: ["t"], title: "Show the tour",
    run: () => {
      if (card.hidden) go(0);
      heading.focus();
    },
  });

  if (wasSeen()) return;
  const stop = app.store.subscribe((state) => {
    if (at === -1 && state.document.image && !state.view.start) go(0);
    else if (at >= 0 && STEPS[at]?.until?.(state)) go(at + 1);
    if (at >= STEPS.length) stop();
  });
}

function wasSeen() {
  try {
    return localStorage.getItem(SEEN) !== null;
  } catch {
    return false;
  }
}

function remember() {
  try {
    localStorage.setItem(SEEN, "seen");
  } catch {
    // Private windows remember nothing.
  }
}
