// The package as a developer uses it: the example of its documentation, and its exceptions.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { scene } from "./lib/images.mjs";
import { WEIGHTS, browserForTests, env } from "./lib/page.mjs";

const chrome = browserForTests({ webgpu: false });

/** The module lies beside the package, as its documentation says, and not under trunk's names. */
function besidePackage({ server }) {
  for (const [ending, name] of [[".wasm", "rmae_web_bg.wasm"], [".js", "rmae_web.js"]]) {
    const built = readdirSync(env.dist).find((file) => /^rmae-web-/.test(file) && file.endsWith(ending));
    assert.ok(built, `no module ${ending} in ${env.dist}`);
    server.override(`js/rmae/${name}`, join(env.dist, built));
  }
}

test("the example has 20 lines, and they work", async (t) => {
  const lines = readFileSync(join(env.dist, "js/example.js"), "utf8").split("\n").filter((line) => line.trim());
  assert.ok(lines.length <= 20, `${lines.length} lines`);
  const visit = await chrome.visit(t, { path: `js/example.html?weights=../${WEIGHTS}`, prepare: besidePackage, ready: false });
  await visit.page.waitForFunction(() => document.getElementById("photo").onchange);
  await visit.page.setInputFiles("#photo", { name: "photo.png", mimeType: "image/png", buffer: scene(320, 240) });
  const status = visit.page.locator("#status");
  await status.filter({ hasText: "Click on something" }).waitFor();
  const digest = () => visit.page.evaluate(() => {
    const canvas = document.getElementById("canvas");
    return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.reduce((sum, value) => (sum * 31 + value) | 0, 0);
  });
  const before = await digest();
  await visit.page.locator("#canvas").click({ position: { x: 160, y: 120 } });
  await status.filter({ hasText: /^Confidence [01]\.\d\d, \d+ ms/ }).waitFor();
  assert.notEqual(await digest(), before, "no mask was drawn");
  await visit.screenshot("example");
});

/** Runs a program against the package, and returns what it returns. */
async function program(t, run, options = {}) {
  const visit = await chrome.visit(t, options);
  return visit.page.evaluate(run, new URL(WEIGHTS, visit.server.url).href);
}

test("what goes wrong is told apart by class and code", async (t) => {
  const told = await program(t, async (weights) => {
    const rmae = await import(new URL("js/index.js", document.baseURI).href);
    const { Segmenter } = rmae;
    const caught = async (job) => {
      try {
        await job();
        return "nothing was thrown";
      } catch (error) {
        const name = Object.keys(rmae).find((key) => key !== "RmaeError" && error.constructor === rmae[key]);
        return `${name} ${error.code.split("-")[0]}${error.message.length > 10 ? "" : " without words"}`;
      }
    };
    const s = await Segmenter.load(weights, { device: "cpu", cache: false });
    const stopped = AbortSignal.abort();
    const out = {
      "no image yet": await caught(() => s.predict({ points: [{ x: 1, y: 1 }] })),
      "no image": await caught(() => s.setImage(new Blob(["text"]))),
    };
    const canvas = new OffscreenCanvas(64, 48);
    canvas.getContext("2d").fillRect(0, 0, 20, 20);
    await s.setImage(canvas);
    Object.assign(out, {
      "no prompt": await caught(() => s.predict({})),
      "a click outside": await caught(() => s.predict({ points: [{ x: 1000, y: 5 }] })),
      "a click nowhere": await caught(() => s.predict({ points: [{ x: NaN, y: 5 }] })),
      "no such device": await caught(() => s.setDevice("cuda")),
      "bad weights": await caught(() => s.replaceWeights(new Blob([new Uint8Array(100)]))),
      "another hash": await caught(() => Segmenter.load(weights, { sha256: "0".repeat(64), cache: false })),
      "nothing there": await caught(() => Segmenter.load(`${weights}.absent`)),
      "aborted before": await caught(() => Segmenter.load(weights, { signal: stopped })),
      "aborted": await caught(() => s.predict({ points: [{ x: 5, y: 5 }] }, { signal: stopped })),
    });
    const still = await s.predict({ points: [{ x: 5, y: 5 }] });
    out["and after all that"] = `${still.mask.width} × ${still.mask.height}`;
    const pending = caught(() => s.predict({ points: [{ x: 5, y: 5 }] }));
    s.dispose();
    out["disposed while it works"] = await pending;
    out["disposed"] = await caught(() => s.predict({ points: [{ x: 5, y: 5 }] }));
    return out;
  }, { allowed: [/404/] });
  assert.deepEqual(told, {
    "no image yet": "ImageError image",
    "no image": "ImageError image",
    "no prompt": "PromptError prompt",
    "a click outside": "PromptError prompt",
    "a click nowhere": "PromptError prompt",
    "no such device": "PromptError prompt",
    "bad weights": "ModelError model",
    "another hash": "IntegrityError integrity",
    "nothing there": "NetworkError network",
    "aborted before": "AbortError abort",
    "aborted": "AbortError abort",
    "and after all that": "64 × 48",
    "disposed while it works": "DisposedError disposed",
    "disposed": "DisposedError disposed",
  });
});

test("progress goes up, and ends with ready", async (t) => {
  const told = await program(t, async (weights) => {
    const { Segmenter } = await import(new URL("js/index.js", document.baseURI).href);
    const told = [];
    const s = await Segmenter.load(weights, { device: "cpu", cache: false, onProgress: (progress) => told.push(progress) });
    s.dispose();
    return told;
  });
  const loaded = told.filter(({ stage }) => stage === "weights").map(({ loaded }) => loaded ?? 0);
  assert.deepEqual(loaded, [...loaded].sort((a, b) => a - b));
  assert.equal(told.at(-1).stage, "ready");
  assert.ok(told.every(({ message }) => message.length > 3), JSON.stringify(told));
});
