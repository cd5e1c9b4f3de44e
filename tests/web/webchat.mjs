// The web chat in a real browser against the whole product. Run with
//   CLAWDBOT_BIN_DIR=target/debug node --test webchat.mjs
// with the packages of tests/peers in a node_modules beside it. With SHOTS=FOLDER pictures are left there, for a person to
// look at.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { after, before, describe, it } from "node:test";

import { launch } from "./browser.mjs";
import { Product } from "./product.mjs";
import { Provider } from "./provider.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const DESKTOP = { width: 1280, height: 800 };
const PHONE = { width: 390, height: 844, deviceScaleFactor: 2, isMobile: true, hasTouch: true };

let provider, product, browser;

before(async () => {
  provider = await new Provider().open();
  product = await new Product().up({
    models: { providers: { test: { baseUrl: provider.url, api: "openai-completions", apiKey: "none", models: [{ id: "echo" }] } } },
    // The second model has no key: that is the problem which the page shows.
    agents: { defaults: { model: { primary: "test/echo", fallbacks: ["anthropic/claude-sonnet-4-5"] } } },
  });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await product?.down();
  provider?.close();
});

/** A browser of its own, which notes whatever it is told or asks for. */
async function visitor(view = DESKTOP, media = []) {
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  await page.setViewport(view);
  await page.emulateMediaFeatures(media);
  page.seen = { errors: [], addresses: [], dialogs: [] };
  page.on("pageerror", (error) => page.seen.errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && page.seen.errors.push(message.text()));
  page.on("request", (request) => page.seen.addresses.push(request.url()));
  page.on("dialog", (dialog) => {
    page.seen.dialogs.push(dialog.message());
    dialog.dismiss();
  });
  await page.evaluateOnNewDocument(() => {
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
  });
  return page;
}

const connected = (page) => page.waitForFunction(() => document.body.dataset.line === "open");

/** A visitor who has signed in by a link. */
async function guest(view, media) {
  const page = await visitor(view, media);
  await page.goto(await product.link());
  await Promise.all([page.waitForNavigation(), page.click("button")]);
  await connected(page);
  return page;
}

const ask = async (page, text) => {
  await page.focus("#text");
  await page.keyboard.type(text);
  await page.keyboard.press("Enter");
};

/** Question, answer and state of every turn in sight. */
const turns = (page) => page.$$eval("#turns > li", (rows) => rows.map((row) => ({
  question: row.querySelector(".mine > p").textContent,
  answer: row.querySelector(".parts").innerText.trim(),
  state: row.dataset.state,
})));

/** Waits until the last turn answers a question in this way. */
const until = (page, question, answer, state = "done") => page.waitForFunction((question, answer, state) => {
  const row = document.querySelector("#turns > li:last-child");
  return row?.dataset.state === state && row.querySelector(".mine > p").textContent === question
    && row.querySelector(".parts").innerText.trim() === answer;
}, {}, question, answer, state);

const open = async (page, session) => {
  await page.evaluate((session) => { location.hash = `#/${session}`; }, session);
  await page.waitForFunction((session) => document.querySelector("[aria-current]")?.textContent === session, {}, session);
};

async function shot(page, name) {
  if (!process.env.SHOTS) return;
  mkdirSync(process.env.SHOTS, { recursive: true });
  await page.screenshot({ path: path.join(process.env.SHOTS, `${name}.png`) });
}

/** Faults that keep somebody out, by the rules of WCAG 2.2 A and AA. */
async function barriers(page) {
  // The page itself lets no foreign script in; the debugger's own runs beside its rules, but axe builds elements.
  const { violations } = await page.evaluate(`${axe}; axe.run(document, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] })`);
  return violations.map(({ id, impact, nodes }) => `${id} (${impact}): ${nodes.map((node) => node.target).join(", ")}`);
}

describe("signing in", () => {
  it("shows a stranger the way in and nothing else", async () => {
    const page = await visitor();
    const response = await page.goto(product.url);
    assert.equal(response.status(), 401);
    assert.match(await page.$eval("main", (main) => main.innerText), /clawdbot open/);
    assert.deepEqual(await barriers(page), []);
    await shot(page, "sign-in");
  });

  it("takes a right token and says of a wrong one that it is wrong", async () => {
    const page = await visitor(PHONE);
    await page.goto(product.url);
    await page.type("#password", "wrong");
    await Promise.all([page.waitForNavigation(), page.click("button")]);
    assert.ok(await page.$("[role=alert]"));
    assert.deepEqual(await barriers(page), []);
    await shot(page, "sign-in-wrong");
    await page.type("#password", await product.token());
    await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
    await connected(page);
    await page.click("#menu");
    await Promise.all([page.waitForNavigation(), page.click("#sign-out button")]);
    assert.ok(await page.$("#password"));
  });

  it("takes a link once", async () => {
    const link = await product.link();
    const first = await visitor();
    await first.goto(link);
    assert.deepEqual(await barriers(first), []);
    await Promise.all([first.waitForNavigation(), first.keyboard.press("Enter")]);
    await connected(first);
    const second = await visitor();
    await second.goto(link);
    await Promise.all([second.waitForNavigation(), second.click("button")]);
    assert.match(await second.$eval("h1", (title) => title.textContent), /did not work/);
  });
});

describe("talking", () => {
  it("shows an answer while it is written, and the same after a reload", async () => {
    const page = await guest();
    await open(page, "stream");
    await ask(page, "hold first half, second half");
    await page.waitForFunction(() => document.querySelector(".parts")?.innerText.trim() === "first half,");
    assert.equal(await page.$eval("#stop", (stop) => stop.hidden), false);
    await shot(page, "streaming");
    provider.release();
    await until(page, "hold first half, second half", "first half, second half");
    assert.equal(await page.$eval("#stop", (stop) => stop.hidden), true);
    const before = await turns(page);
    await page.reload();
    await until(page, "hold first half, second half", "first half, second half");
    assert.deepEqual(await turns(page), before);
  });

  it("stops an answer at Esc", async () => {
    const page = await guest();
    await open(page, "stop");
    const { givenUp } = provider;
    await ask(page, "hold this never ends");
    await page.waitForFunction(() => document.querySelector(".parts")?.innerText.trim());
    await page.keyboard.press("Escape");
    await page.waitForFunction(() => document.querySelector("#turns > li")?.dataset.state === "stopped");
    assert.equal(await page.$eval(".note", (note) => note.textContent), "Stopped.");
    await ask(page, "say and on it goes");
    await until(page, "say and on it goes", "and on it goes");
    assert.equal(provider.givenUp, givenUp + 1);
  });

  it("keeps sessions apart, and shows each under its name", async () => {
    const page = await guest();
    await page.type("#new-name", "garden");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.querySelector("[aria-current]")?.textContent === "garden");
    assert.deepEqual(await turns(page), []);
    await ask(page, "say roses");
    await until(page, "say roses", "roses");
    await open(page, "cellar");
    assert.deepEqual(await turns(page), []);
    await page.goBack();
    await until(page, "say roses", "roses");
    assert.match(await page.title(), /garden/);
    await page.reload();
    await page.waitForFunction(() => [...document.querySelectorAll("nav a")].some((link) => link.textContent === "garden"));
  });

  it("shows on one page what was asked on another", async () => {
    const [here, there] = [await guest(), await guest()];
    for (const page of [here, there]) await open(page, "shared");
    await ask(here, "say for both");
    for (const page of [here, there]) await until(page, "say for both", "for both");
    assert.deepEqual(await turns(there), await turns(here));
    assert.equal((await turns(here)).length, 1);
  });

  it("shows a tool call as one line between the texts", async () => {
    const page = await guest();
    await open(page, "tools");
    await ask(page, "call it is there");
    await page.waitForFunction(() => document.querySelector("#turns > li")?.dataset.state === "done");
    const kinds = await page.$$eval(".parts > *", (parts) => parts.map((part) => part.className));
    assert.deepEqual(kinds, ["text", "tool", "text"]);
    const lines = await page.$eval(".tool", (line) => line.getClientRects().length);
    assert.equal(lines, 1);
    assert.match(await page.$eval(".tool .end", (end) => end.textContent), /done|failed/);
  });

  it("says what went wrong, and asks again when told to", async () => {
    const page = await guest();
    await open(page, "failing");
    await ask(page, "fail at first");
    await page.waitForFunction(() => document.querySelector("#turns > li")?.dataset.state === "failed");
    assert.ok((await page.$eval(".note.bad", (note) => note.innerText)).length > "Try again".length);
    await shot(page, "failed");
    await page.click(".note.bad button");
    await until(page, "fail at first", "at first");
    assert.equal((await turns(page)).length, 2);
  });

  it("names a problem and its remedy", async () => {
    const page = await guest();
    await page.waitForFunction(() => /clawdbot login --provider anthropic/.test(
      document.querySelector("#problems:not([hidden])")?.innerText));
  });
});

describe("interruptions", () => {
  it("neither lose nor double an answer when the gateway is killed", async () => {
    const page = await guest();
    await open(page, "killed");
    await ask(page, "hold one two");
    await page.waitForFunction(() => document.querySelector(".parts")?.innerText.trim());
    await product.kill("gateway");
    provider.release();
    await connected(page);
    await until(page, "hold one two", "one two");
    assert.equal((await turns(page)).length, 1);
    await page.reload();
    await until(page, "hold one two", "one two");
    assert.equal((await turns(page)).length, 1);
  });

  it("keep what is written meanwhile and send it once", async () => {
    const page = await guest();
    await open(page, "offline");
    await page.setOfflineMode(true);
    const back = product.kill("gateway");
    await page.waitForFunction(() => document.body.dataset.line === "lost");
    await ask(page, "say written offline");
    await until(page, "say written offline", "", "unsent");
    await shot(page, "offline");
    await back;
    await page.setOfflineMode(false);
    await until(page, "say written offline", "written offline");
    const asked = provider.questions.filter((question) => question.includes("written offline"));
    assert.equal(asked.length, 1);
    assert.equal((await turns(page)).length, 1);
  });

  it("survive a reload of the page before the answer", async () => {
    const page = await guest();
    await open(page, "reloaded");
    await ask(page, "hold before after");
    await page.waitForFunction(() => document.querySelector(".parts")?.innerText.trim());
    await page.reload();
    await page.waitForFunction(() => document.querySelector(".parts")?.innerText.trim());
    assert.equal(await page.$eval("#stop", (stop) => stop.hidden), false);
    provider.release();
    await until(page, "hold before after", "before after");
    assert.equal((await turns(page)).length, 1);
  });
});

describe("a hostile answer", () => {
  const HOSTILE = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(2)>", "<svg onload=alert(3)>", "<iframe src=javascript:alert(4)>",
    "[a](javascript:alert(5))", "[b](JaVaScRiPt:alert(6))", "[c](data:text/html,<script>alert(7)</script>)",
    "[d](vbscript:x)", "[e]( javascript:alert(8))", "<javascript:alert(9)>", "![f](javascript:alert(10))",
    "![g](https://tracker.example/pixel.png)", "[h](https://a.example\" onmouseover=\"alert(11))",
    "`</code><script>alert(12)</script>`", "[https://bank.example](https://evil.example/x)",
    "[bank.example/login](http://bank.example@evil.example/)", "<a href=https://evil.example>i</a>", "<b>bold</b>",
    "<style>*{display:none}</style>", "https://evil.example/\u202egpj.exe", "<form action=https://evil.example><input>",
  ].join(" ¶ ");

  it("stays text, leads nowhere but where it says, and loads nothing", async () => {
    const page = await guest();
    await open(page, "hostile");
    await ask(page, `say ${HOSTILE}`);
    await page.waitForFunction(() => document.querySelector("#turns > li")?.dataset.state === "done");
    const found = await page.$eval(".parts", (parts) => {
      const all = [...parts.querySelectorAll("*")];
      return {
        tags: [...new Set(all.map((element) => element.tagName))].sort(),
        attributes: [...new Set(all.flatMap((element) => element.getAttributeNames()))].sort(),
        links: all.filter((element) => element.href).map((link) => [link.href, link.rel, link.textContent]),
        text: parts.textContent,
      };
    });
    assert.deepEqual(found.tags, ["A", "CODE", "DIV", "P", "SPAN"]);
    assert.deepEqual(found.attributes, ["class", "dir", "href", "rel", "target"]);
    for (const [href, rel, text] of found.links) {
      const { protocol, host } = new URL(href);
      assert.ok(["http:", "https:"].includes(protocol), href);
      assert.ok(text.includes(host), `${text} → ${href}`);
      assert.match(rel, /noopener/);
    }
    assert.ok(found.links.some(([, , text]) => text === "https://bank.example (evil.example)"));
    assert.ok(found.text.includes("<script>alert(1)</script>") && found.text.includes("⟨U+202E⟩"));
    assert.deepEqual(page.seen.dialogs, []);
    assert.deepEqual(page.seen.errors, []);
    const foreign = page.seen.addresses.filter((address) =>
      !address.startsWith(`${product.url}/`) && !address.startsWith("data:"));
    assert.deepEqual(foreign, []);
    await shot(page, "hostile");
  });

  it("would be stopped by the page's rules even as markup", async () => {
    const page = await guest();
    assert.deepEqual(await page.evaluate(() => window.violations), []);
    const stopped = await page.evaluate(async () => {
      const picture = document.createElement("img");
      picture.src = "https://tracker.example/pixel.png";
      document.body.append(picture);
      const refused = [
        () => picture.setAttribute("onerror", "alert(1)"),
        () => picture.insertAdjacentHTML("afterend", "<b>x</b>"),
        () => setTimeout("alert(2)"),
      ].map((attempt) => {
        try {
          attempt();
          return false;
        } catch {
          return true;
        }
      });
      while (window.violations.length < 4) await new Promise((go) => setTimeout(go, 10));
      return { refused, rules: window.violations };
    });
    assert.deepEqual(stopped.refused, [true, true, true]);
    for (const rule of ["img-src", "require-trusted-types-for"]) assert.ok(stopped.rules.includes(rule), String(stopped.rules));
    assert.deepEqual(page.seen.dialogs, []);
  });
});

describe("everybody", () => {
  it("can do everything with the keyboard", async () => {
    const page = await guest();
    await page.evaluate(() => document.activeElement.blur());
    const where = () => page.evaluate(() => document.activeElement.id || document.activeElement.textContent);
    const path = [];
    await page.evaluate(() => document.querySelector(".skip").focus());
    path.push(await where());
    await page.keyboard.press("Enter");
    assert.equal(await where(), "text");
    await page.evaluate(() => document.querySelector(".skip").focus());
    for (let step = 0; step < 60 && path.at(-1) !== "send"; step += 1) {
      await page.keyboard.press("Tab");
      path.push(await where());
    }
    assert.ok(["main", "new-name", "Sign out", "log", "text", "send"].every((stop) => path.includes(stop)), path.join(", "));
    assert.ok(path.indexOf("new-name") < path.indexOf("log") && path.indexOf("log") < path.indexOf("text"));

    await page.focus("#new-name");
    await page.keyboard.type("keys");
    await page.keyboard.press("Enter");
    assert.equal(await where(), "text");
    await page.keyboard.type("say one");
    await page.keyboard.down("Shift");
    await page.keyboard.press("Enter");
    await page.keyboard.up("Shift");
    await page.keyboard.type("two");
    await page.keyboard.press("Enter");
    await until(page, "say one\ntwo", "one\ntwo");
    const outlined = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    assert.equal(outlined, "solid");
  });

  it("hears an answer once, when it is whole", async () => {
    const page = await guest();
    await open(page, "heard");
    await page.evaluate(() => {
      window.heard = [];
      const live = document.querySelectorAll("[aria-live], [role=status], [role=alert], [role=log]");
      for (const region of live) {
        new MutationObserver(() => region.textContent && window.heard.push(region.textContent))
          .observe(region, { childList: true, characterData: true, subtree: true });
      }
    });
    await ask(page, "hold begin **end**");
    await page.waitForFunction(() => document.querySelector(".parts")?.innerText.trim());
    provider.release();
    await page.waitForFunction(() => window.heard.length > 0);
    assert.deepEqual(await page.evaluate(() => window.heard), ["Clawdbot: begin end"]);
  });

  for (const [device, view] of [["desktop", DESKTOP], ["phone", PHONE]]) {
    for (const scheme of ["light", "dark"]) {
      it(`finds no barrier on a ${device} in ${scheme}`, async () => {
        const media = [{ name: "prefers-color-scheme", value: scheme }, { name: "prefers-reduced-motion", value: "reduce" }];
        const page = await visitor(view, media);
        await page.setBypassCSP(true);
        await page.goto(await product.link());
        await Promise.all([page.waitForNavigation(), page.click("button")]);
        await connected(page);
        await open(page, `look-${device}-${scheme}`);
        const sample = "say # A heading\n\nSome **bold** and `code`, [a link](https://example.org/page).\n\n- one\n- two\n\n"
          + "> a quote\n\n```rust\nfn main() {}\n```\n\n| a | b |\n|---|--:|\n| 1 | 2 |";
        await page.$eval("#text", (box, sample) => { box.value = sample; }, sample);
        await page.click("#send");
        await page.waitForFunction(() => document.querySelector("#turns > li")?.dataset.state === "done");
        await ask(page, "hold something that goes on");
        if (view.isMobile) await page.click("#send");
        await page.waitForFunction(() => document.querySelector("#turns > li:last-child .parts")?.innerText.trim());
        assert.deepEqual(await barriers(page), []);
        const animated = await page.$eval(".note.busy", (note) => getComputedStyle(note, "::after").animationName);
        assert.equal(animated, "none");
        await shot(page, `chat-${device}-${scheme}`);
        if (view.isMobile) {
          await page.click("#menu");
          assert.deepEqual(await barriers(page), []);
          await shot(page, `sessions-${device}-${scheme}`);
        }
        provider.release();
      });
    }
  }

  it("can hit what is to be touched, and nothing is wider than a small phone", async () => {
    const page = await guest({ ...PHONE, width: 320, height: 568 });
    await open(page, "look-phone-light");
    await page.waitForSelector("#turns > li");
    const small = () => page.$$eval("button, input, textarea, nav a", (all) => all
      .filter((element) => element.checkVisibility())
      .map((element) => [element.id || element.textContent, element.getBoundingClientRect()])
      .filter(([, box]) => box.height < 44 || box.width < 44)
      .map(([name, box]) => `${name}: ${box.width} by ${box.height}`));
    assert.deepEqual(await small(), []);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `${wide} pixels too wide`);
    await shot(page, "small-phone");
    await page.click("#menu");
    assert.deepEqual(await small(), []);
  });
});
