// Opens the page in a real Chromium, as a visitor would, and watches what no page of ours may do.

import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createHash } from "node:crypto";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before } from "node:test";

import { chromium } from "playwright-core";

import { serve } from "./server.mjs";
import { fewerBlocks } from "./weights.mjs";

const root = resolve(import.meta.dirname ?? new URL(".", import.meta.url).pathname, "../../..");

const SMALL = join(tmpdir(), `rmae-small-${process.pid}.safetensors`);

/** What xtask says; by hand, from the root of the workspace, the defaults will do after a build. */
export const env = {
  chromium: process.env.RMAE_CHROMIUM ?? "/usr/bin/chromium",
  dist: resolve(root, process.env.RMAE_DIST ?? "dist"),
  command: resolve(root, process.env.RMAE_COMMAND ?? "target/debug/rmae"),
  /** The file of a small model, made from the shipped one when it is first asked for. */
  get smallWeights() {
    if (!existsSync(SMALL)) {
      writeFileSync(SMALL, fewerBlocks(readFileSync(join(env.dist, WEIGHTS))));
      process.once("exit", () => rmSync(SMALL, { force: true }));
    }
    return SMALL;
  },
};

const SCREENS = join(env.dist, "screens");

/** The address of the weights on the page, and of what is said about them. */
export const WEIGHTS = "weights/rmae-ti.safetensors";
export const CARD = "weights/rmae-ti.json";

/** A host that browsers do not trust, unlike the loopback address: no WebGPU, no storage of files, no service worker. */
export const PLAIN = "plain.test";

export const ARGS = [
  "--no-sandbox",
  "--disable-dev-shm-usage",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  // Nothing outside this machine is reached, whatever a test does.
  `--host-resolver-rules=MAP ${PLAIN} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1`,
];
export const SWIFTSHADER = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];
const CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"];

/** Runs in the page before its own scripts. */
function watch() {
  globalThis.watched = { violations: [], longTasks: [] };
  addEventListener("securitypolicyviolation", (event) => {
    globalThis.watched.violations.push(`${event.violatedDirective}: ${event.blockedURI}`);
  });
  new PerformanceObserver((list) => {
    for (const { startTime, duration } of list.getEntries()) globalThis.watched.longTasks.push({ startTime, duration });
  }).observe({ type: "longtask", buffered: true });
}

/** The tour was seen before. Runs in the page. */
function seen() {
  try {
    localStorage.setItem("rmae-tour", "seen");
  } catch {
    // This visitor lets no page remember anything.
  }
}

/**
 * A browser whose settings are a visitor's own, e.g. one that lets no page keep anything.
 * @param {object} preferences of Chromium's profile
 */
export function browserWithPreferences(preferences) {
  return {
    /** @param {import("node:test").TestContext} t @param {Options} [options] */
    async visit(t, options = {}) {
      const folder = mkdtempSync(join(tmpdir(), "rmae-profile-"));
      t.after(() => rmSync(folder, { recursive: true, force: true }));
      mkdirSync(join(folder, "Default"));
      writeFileSync(join(folder, "Default", "Preferences"), JSON.stringify(preferences));
      const newContext = (/** @type {object} */ context) =>
        chromium.launchPersistentContext(folder, { ...context, executablePath: env.chromium, args: ARGS });
      return Visit.begin(t, { newContext }, options);
    },
  };
}

/**
 * A browser for the tests of a file.
 * @param {{ webgpu?: boolean, args?: string[] }} [options]
 */
export function browserForTests({ webgpu = true, args = [] } = {}) {
  const shared = { /** @type {import("playwright-core").Browser | null} */ browser: null };
  before(async () => {
    shared.browser = await chromium.launch({
      executablePath: env.chromium,
      args: [...ARGS, ...CAMERA, ...(webgpu ? SWIFTSHADER : ["--disable-features=WebGPU", "--disable-gpu"]), ...args],
    });
  });
  after(() => shared.browser?.close());
  return {
    /** @param {import("node:test").TestContext} t @param {Options} [options] */
    visit: async (t, options = {}) => Visit.begin(t, shared.browser, options),
  };
}

/**
 * @typedef {object} Options
 * @property {string} [base] the path under which the page lies
 * @property {string} [path] what is opened, relative to the page
 * @property {"small" | "shipped"} [weights]
 * @property {string} [host] another name for the loopback address
 * @property {boolean} [touch] a phone of 390 pixels
 * @property {"light" | "dark"} [scheme]
 * @property {(visit: Visit) => unknown} [prepare] before the page is opened: faults, storage
 * @property {boolean} [ready] whether to wait until the engine is there
 * @property {boolean} [tour] whether the first visit's tour is wanted
 * @property {RegExp[]} [allowed] messages of the console that this test brings about
 * @property {string[]} [permissions]
 */

/** One visitor on one page, from one server that nobody else uses. */
export class Visit {
  /** @param {import("node:test").TestContext} t @param {any} browser @param {Options} options */
  static async begin(t, browser, options) {
    const visit = new Visit();
    visit.server = await serve(env.dist, { base: options.base, host: options.host });
    if (options.weights !== "shipped") visit.serveSmallWeights();
    const touch = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 };
    visit.context = await browser.newContext({
      viewport: { width: 1280, height: 800 },
      colorScheme: options.scheme ?? "light",
      permissions: ["camera", "clipboard-read", "clipboard-write", ...(options.permissions ?? [])],
      acceptDownloads: true,
      ...(options.touch ? touch : {}),
    });
    visit.context.setDefaultTimeout(20_000);
    visit.requests = [];
    visit.context.on("request", (request) => visit.requests.push(request.url()));
    t.after(() => visit.end(options));
    await visit.newPage(options);
    return visit;
  }

  serveSmallWeights() {
    const sha256 = createHash("sha256").update(readFileSync(env.smallWeights)).digest("hex");
    const card = { file: "rmae-ti.safetensors", bytes: statSync(env.smallWeights).size, sha256, name: "small test model" };
    this.server.override(WEIGHTS, env.smallWeights);
    this.serveAnew(CARD, Buffer.from(JSON.stringify(card)));
  }

  /** Another file under an address, as if the page had been built with it. @param {string} url @param {Buffer} content */
  serveAnew(url, content) {
    this.server.override(url, content);
    const manifest = JSON.parse(readFileSync(join(env.dist, "sw-manifest.json"), "utf8"));
    const entry = { url, bytes: content.length, sha256: createHash("sha256").update(content).digest("hex") };
    manifest.files = [...manifest.files.filter((file) => file.url !== url), entry];
    this.server.override("sw-manifest.json", Buffer.from(JSON.stringify(manifest)));
  }

  /** @param {Options} options */
  async newPage(options = {}) {
    this.page = await this.context.newPage();
    this.problems = [];
    this.page.on("pageerror", (error) => this.problems.push(`uncaught: ${error.stack ?? error.message}`));
    this.page.on("console", (message) => {
      if (message.type() === "error") this.problems.push(`console: ${message.text()} (${message.location().url})`);
    });
    await this.page.addInitScript(watch);
    if (!options.tour) await this.page.addInitScript(seen);
    await options.prepare?.(this);
    await this.page.goto(this.server.url + (options.path ?? ""));
    if (options.ready !== false) await this.ready();
  }

  /** The engine is there, or has given up. */
  async ready() {
    await this.page.waitForFunction(() => globalThis.rmae, null, { timeout: 30_000 });
    await this.page.evaluate(() => globalThis.rmae.ready);
  }

  /** What holds at the end of every visit. @param {Options} options */
  async end({ allowed = [] }) {
    try {
      const { violations } = this.page.isClosed() ? { violations: [] } : await this.page.evaluate(() => globalThis.watched);
      const known = [...allowed, /favicon/];
      const unknown = this.problems.filter((problem) => !known.some((pattern) => pattern.test(problem)));
      assert.deepEqual(violations, [], "the page's own security policy was broken");
      assert.deepEqual(this.foreignRequests(), [], "requests left the origin");
      assert.deepEqual(unknown, [], "errors in the console");
    } finally {
      await this.context.close();
      await this.server.close().catch(() => {});
    }
  }

  foreignRequests() {
    const local = (/** @type {string} */ url) => url.startsWith(this.server.origin) || /^(blob|data):/.test(url);
    return this.requests.filter((url) => !local(url));
  }

  /** @param {string} id */
  by(id) {
    return this.page.getByTestId(id);
  }

  /** Opens a photo through the file picker. @param {Buffer} buffer @param {string} [name] @param {string} [mimeType] */
  async choose(buffer, name = "photo.png", mimeType = "image/png") {
    const [chooser] = await Promise.all([this.page.waitForEvent("filechooser"), this.by("open-file").first().click()]);
    await chooser.setFiles({ name, mimeType, buffer });
  }

  /** Opens a photo and waits until it can be clicked. @param {Buffer} buffer @param {string} [name] @param {string} [mimeType] */
  async open(buffer, name = "photo.png", mimeType = "image/png") {
    await this.choose(buffer, name, mimeType);
    await this.shown(name);
  }

  /** Waits until a photo is shown and encoded. @param {string} name */
  async shown(name) {
    await this.page.waitForFunction((name) => globalThis.rmae.store.get().document.image?.name === name, name);
    await this.settled();
  }

  /** Until nothing is being computed. */
  settled() {
    return this.page.evaluate(() => globalThis.rmae.engine.settled());
  }

  /** Where a pixel of the photo is in the window. @param {number} x @param {number} y @returns {Promise<[number, number]>} */
  async at(x, y) {
    return this.page.evaluate(
      ([x, y]) => {
        const { canvas, toScreen } = globalThis.rmae.viewport;
        const { left, top } = canvas.getBoundingClientRect();
        const [sx, sy] = toScreen(x, y);
        return /** @type {[number, number]} */ ([left + sx, top + sy]);
      },
      [x, y],
    );
  }

  /** Clicks a pixel of the photo, and waits for its mask. @param {number} x @param {number} y @param {{ button?: "left" | "right", shift?: boolean }} [how] */
  async click(x, y, { button = "left", shift = false } = {}) {
    const [cx, cy] = await this.at(x, y);
    if (shift) await this.page.keyboard.down("Shift");
    await this.page.mouse.click(cx, cy, { button });
    if (shift) await this.page.keyboard.up("Shift");
    await this.settled();
  }

  /** Drags from one pixel of the photo through others. @param {[number, number][]} points */
  async drag(points, { steps = 6, button = /** @type {"left" | "right"} */ ("left") } = {}) {
    const [first, ...rest] = await Promise.all(points.map(([x, y]) => this.at(x, y)));
    await this.page.mouse.move(...first);
    await this.page.mouse.down({ button });
    for (const point of rest) await this.page.mouse.move(...point, { steps });
    await this.page.mouse.up({ button });
    await this.settled();
  }

  /** The document, without masks. */
  document() {
    return this.page.evaluate(() => {
      const { image, objects, activeId } = globalThis.rmae.store.get().document;
      return { image, activeId, objects: objects.map(({ prompts, ...rest }) => ({ ...rest, prompts: { ...prompts, mask: Boolean(prompts.mask) } })) };
    });
  }

  view() {
    return this.page.evaluate(() => {
      const { tool, sign, brush, zoom, panX, panY, theme, panel, busy, device, error } = globalThis.rmae.store.get().view;
      return { tool, sign, brush, zoom, panX, panY, theme, panel, busy, device, error };
    });
  }

  /** Size, area and a digest of every object's mask, by the object's id. */
  masks() {
    return this.page.evaluate(() =>
      Object.fromEntries(
        [...globalThis.rmae.engine.masks].map(([id, { width, height, data }]) => {
          let [area, digest] = [0, 0];
          for (let at = 0; at < data.length; at++) {
            if (data[at]) (area += 1), (digest = (digest * 31 + at) | 0);
          }
          return [id, { width, height, area, digest }];
        }),
      ),
    );
  }

  /** The texts of all messages. */
  async toasts() {
    return this.by("toast").allTextContents();
  }

  /** Waits for a message. @param {RegExp} pattern */
  async toast(pattern, timeout = 20_000) {
    await this.by("toast").filter({ hasText: pattern }).first().waitFor({ timeout });
  }

  /** A mask's picture as 0 and 1, row by row. @param {Buffer} png @returns {Promise<number[]>} */
  async pixels(png) {
    return this.page.evaluate(async (base64) => {
      const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
      const bitmap = await createImageBitmap(new Blob([bytes]));
      const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
      context.drawImage(bitmap, 0, 0);
      const { data: rgba } = context.getImageData(0, 0, bitmap.width, bitmap.height);
      return Array.from({ length: rgba.length / 4 }, (_, i) => (rgba[4 * i] > 127 ? 1 : 0));
    }, png.toString("base64"));
  }

  /** For people to look at. @param {string} name */
  async screenshot(name) {
    mkdirSync(SCREENS, { recursive: true });
    await this.page.screenshot({ path: join(SCREENS, `${name}.png`) });
  }
}
