// What axe-core finds, in every state that a visitor sees; light and dark, on a desk and on a phone.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { scene } from "./lib/images.mjs";
import { browserForTests } from "./lib/page.mjs";

const chrome = browserForTests({ webgpu: false });
const photo = scene(480, 360);
const source = readFileSync(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");

/** @param {import("./lib/page.mjs").Visit} visit @param {string} state */
async function check(visit, state) {
  if (!(await visit.page.evaluate(() => "axe" in globalThis))) await visit.page.evaluate(source);
  // What is being computed is pale, and fading messages have colours in between.
  await visit.page.waitForFunction(() => !document.querySelector(".working:not([hidden])"));
  await visit.page.evaluate(() => Promise.all(document.getAnimations().map(({ finished }) => finished.catch(() => {}))));
  const { violations } = await visit.page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const told = violations.map(({ id, help, nodes }) => `${id}: ${help}\n${nodes.map(({ target, failureSummary }) => `  ${target} ${failureSummary}`).join("\n")}`);
  assert.deepEqual(told, [], `${state}: ${told.join("\n")}`);
}

/** @param {import("./lib/page.mjs").Visit} visit @param {string} panel */
async function showPanel(visit, panel) {
  await visit.page.evaluate((panel) => globalThis.rmae.store.setView({ panel, sheet: true }), panel);
}

for (const touch of [false, true]) {
  for (const scheme of /** @type {const} */ (["light", "dark"])) {
    const where = `${touch ? "phone" : "desktop"}, ${scheme}`;

    test(`first visit and tour: ${where}`, async (t) => {
      const visit = await chrome.visit(t, { touch, scheme, tour: true });
      await visit.by("gallery-item-0").waitFor();
      await visit.page.waitForTimeout(300);
      await visit.screenshot(`axe-tour-${touch ? "phone" : "desktop"}-${scheme}`);
      await check(visit, "the tour");
    });

    test(`photo, objects, panels, help: ${where}`, async (t) => {
      const visit = await chrome.visit(t, { touch, scheme });
      await visit.by("gallery-item-0").waitFor();
      await check(visit, "start");
      await visit.open(photo);
      await visit.click(240, 180);
      await visit.page.keyboard.press("n");
      await visit.click(60, 60);
      for (const panel of ["objects", "export", "inside", "settings"]) {
        await showPanel(visit, panel);
        await visit.screenshot(`axe-${panel}-${touch ? "phone" : "desktop"}-${scheme}`);
        await check(visit, panel);
      }
      await visit.page.evaluate(() => globalThis.rmae.toast({ kind: "error", text: "Something went wrong.", action: { label: "Try again", run: () => {} } }));
      await check(visit, "a message");
      await visit.page.evaluate(() => globalThis.rmae.commands.run("help"));
      await check(visit, "help");
    });
  }
}

test("an error on the stage", async (t) => {
  const visit = await chrome.visit(t, { prepare: ({ server }) => server.fault("weights/rmae-ti.safetensors", { status: 404 }), allowed: [/./] });
  await visit.by("retry").waitFor();
  await visit.screenshot("axe-no-weights");
  await check(visit, "no weights");
});
