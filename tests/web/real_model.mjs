// A real model's answer in the web chat, seen while it is written. MODEL_URL names the server's address; the rest is as in
// webchat.mjs.

import assert from "node:assert/strict";
import { after, before, it } from "node:test";

import { launch } from "./browser.mjs";
import { Product } from "./product.mjs";

let product, browser;

before(async () => {
  const models = [{ id: "smol", contextWindow: 4096, maxTokens: 64 }];
  product = await new Product().up({
    models: { providers: { real: { baseUrl: process.env.MODEL_URL, api: "openai-completions", models } } },
    agents: { defaults: { model: "real/smol", models: { "real/smol": { params: { maxTokens: 24 } } } } },
  });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await product?.down();
});

it("a real model answers in the web chat", async () => {
  const page = await browser.newPage();
  await page.goto(await product.link());
  await Promise.all([page.waitForNavigation(), page.click("button")]);
  await page.waitForFunction(() => document.body.dataset.line === "open");
  // Every length that the answer had on the page.
  await page.evaluate(() => {
    window.lengths = new Set();
    new MutationObserver(() => {
      const parts = document.querySelector("#turns > li:last-child .parts");
      window.lengths.add(parts?.innerText.trim().length ?? 0);
    }).observe(document.body, { subtree: true, childList: true, characterData: true });
  });
  await page.focus("#text");
  await page.keyboard.type("Say hello.");
  await page.keyboard.press("Enter");
  await page.waitForFunction(
    () => document.querySelector("#turns > li:last-child")?.dataset.state === "done", { timeout: 120_000 });
  const answer = await page.$eval("#turns > li:last-child .parts", (parts) => parts.innerText.trim());
  const lengths = await page.evaluate(() => [...window.lengths].filter((length) => length > 0));
  assert.ok(answer.length > 3, answer);
  // How many there are is the machine's business: what comes while the page is busy is drawn at once.
  assert.ok(lengths.length > 1, `it was seen before it was whole: ${lengths}`);
});
