// Puts the page together. Each part mounts into its place in index.html and knows the others by `app` only.

import { createCommands } from "./commands.js";
import { byId } from "./dom.js";
import { createEngine } from "./engine.js";
import { announce, toast } from "./messages.js";
import { mountHelp } from "./help.js";
import { mountObjects } from "./objects.js";
import { mountPanels } from "./panels.js";
import { mountStatus } from "./status.js";
import { store } from "./store.js";
import { mountTheme } from "./appearance.js";
import { mountTools } from "./tools.js";
import { createViewport } from "./viewport.js";

/**
 * @typedef {object} App
 * @property {import("./store.js").Store} store
 * @property {import("./engine.js").Engine} engine
 * @property {import("./viewport.js").Viewport} viewport
 * @property {import("./commands.js").Commands} commands
 * @property {(text: string) => void} announce for screen readers alone
 * @property {(toast: import("./messages.js").Toast) => () => void} toast
 */

/**
 * Parts that are loaded beside the core of the page: one that fails is told about and left out.
 * @type {[string, string, () => Promise<{ mount(root: HTMLElement, app: App): unknown }>][]} name, id of its host, module
 */
const PARTS = [
  ["Gallery", "gallery-panel", () => import("./gallery.js")],
  ["Input", "input-panel", () => import("./input.js")],
  ["Export", "export-panel", () => import("./output.js")],
  ["Session", "session-panel", () => import("./session.js")],
  ["Look inside", "inside-panel", () => import("./inside.js")],
  ["Engine", "settings-panel", () => import("./settings.js")],
  ["Tour", "stage", () => import("./tour.js")],
];

/** @param {App} app */
async function mountParts(app) {
  await Promise.all(
    PARTS.map(async ([name, host, load]) => {
      try {
        await (await load()).mount(byId(host), app);
      } catch (error) {
        console.error(error);
        toast({ kind: "error", text: `The part “${name}” of this page could not be loaded. Reload the page to try again.` });
      }
    }),
  );
}

const commands = createCommands();
const viewport = createViewport(/** @type {HTMLCanvasElement} */ (byId("canvas")), store);
const engine = createEngine({ store, viewport, toast, announce });
/** @type {App} */
const app = { store, engine, viewport, commands, announce, toast };

for (const mount of [mountTheme, mountPanels, mountTools, mountObjects, mountStatus, mountHelp]) mount(app);
const parts = mountParts(app);
const ready = engine.load();

Object.defineProperty(globalThis, "rmae", {
  value: {
    ...app,
    get segmenter() {
      return engine.segmenter;
    },
    /** When the parts are there and the engine has loaded, or failed to. */
    ready: Promise.all([parts, ready]).then(() => engine.segmenter),
  },
});
