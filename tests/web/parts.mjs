// The parts of the web chat by themselves: Markdown and the state of a conversation. Run with `node --test parts.mjs` as
// webchat.mjs; the product is not needed. CLAWDBOT_WEB names the page's folder if it is not where the repository has it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import http from "node:http";
import { pathToFileURL } from "node:url";
import { after, before, it } from "node:test";

import { launch } from "./browser.mjs";

const FILES = process.env.CLAWDBOT_WEB ? pathToFileURL(process.env.CLAWDBOT_WEB + "/") : new URL("../../services/gateway/web/", import.meta.url);

let browser, server, page;

before(async () => {
  server = http.createServer((request, response) => {
    const script = request.url.startsWith("/assets/");
    response.setHeader("content-type", script ? "text/javascript" : "text/html");
    response.end(script ? readFileSync(new URL(request.url.slice("/assets/".length), FILES)) : "<!doctype html><title>x</title>");
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  browser = await launch();
  page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
});

after(async () => {
  await browser?.close();
  server.closeAllConnections();
  server.close();
});

it("markdown becomes the elements that it stands for", async () => {
  const cases = [
    ["a **b** *c* ~~d~~ `e`", "<p>a <strong>b</strong> <em>c</em> <del>d</del> <code>e</code></p>"],
    ["**a *b* c** and ***d***", "<p><strong>a <em>b</em> c</strong> and <strong><em>d</em></strong></p>"],
    ["snake_case_name 2 * 3 * 4 **", "<p>snake_case_name 2 * 3 * 4 **</p>"],
    ["_a b_ __c__", "<p><em>a b</em> <strong>c</strong></p>"],
    ["a\nb", "<p>a<br>b</p>"],
    ["\\*a\\* \\x", "<p>*a* \\x</p>"],
    ["# A\n### B ##", "<h3>A</h3><h5>B</h5>"],
    ["Text:\n- a\n- b\n  - c\n- d", "<p>Text:</p><ul><li>a</li><li>b<ul><li>c</li></ul></li><li>d</li></ul>"],
    ["3. a\n4. b", "<ol start=\"3\"><li>a</li><li>b</li></ol>"],
    ["1. a\n\n   more\n\n2. b", "<ol><li><p>a</p><p>more</p></li><li><p>b</p></li></ol>"],
    ["- [ ] a\n- [x] b", "<ul><li>☐ a</li><li>☑ b</li></ul>"],
    ["> a\n> > b", "<blockquote><p>a</p><blockquote><p>b</p></blockquote></blockquote>"],
    ["a\n\n---\n\nb", "<p>a</p><hr><p>b</p>"],
    ["``a`b`` `c", "<p><code>a`b</code> `c</p>"],
    ["|a|b|\n|-|-:|\n|1|2\\|3|", "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td>2|3</td></tr></tbody></table>"],
    ["```js\n<b>\n```\nc", "<pre><code>&lt;b&gt;</code></pre><p>c</p>"],
    ["```\nnot closed", "<pre><code>not closed</code></pre>"],
    ["<b>a</b> &lt;", "<p>&lt;b&gt;a&lt;/b&gt; &amp;lt;</p>"],
    ["(see https://a.example/b_(c).)", "<p>(see <a>https://a.example/b_(c)</a>.)</p>"],
    ["[x](https://a.example/b_(c))", "<p><a>x<span> (a.example)</span></a></p>"],
    ["[x](http://b.example \"t\") <https://c.example>", "<p><a>x<span> (b.example)</span></a> <a>https://c.example</a></p>"],
    ["[x](/relative) [y]", "<p>[x](/relative) [y]</p>"],
    ["a\u0000\u202eb", "<p>a⟨U+0000⟩⟨U+202E⟩b</p>"],
    ["", ""],
  ];
  const found = await page.evaluate(async (cases) => {
    const { render } = await import("/assets/markdown.js");
    return cases.map(([source]) => {
      const into = document.createElement("div");
      render(into, source);
      for (const extra of into.querySelectorAll("figcaption")) extra.remove();
      for (const box of into.querySelectorAll("figure, div")) box.replaceWith(...box.childNodes);
      for (const element of into.querySelectorAll("*")) {
        for (const name of element.getAttributeNames()) if (name !== "start") element.removeAttribute(name);
      }
      return into.innerHTML;
    });
  }, cases);
  cases.forEach(([source, expected], i) => assert.equal(found[i], expected, source));
});

it("markdown of any form comes to an end, and a growing text keeps its finished blocks", async () => {
  const kept = await page.evaluate(async () => {
    const { render } = await import("/assets/markdown.js");
    const into = document.createElement("div");
    const size = 100_000;
    for (const part of ["*", "_", "**a ", "*a ", "[", "[a](", "![", "`", "`` ` ", "<", "> ", "- ", " ", "\n", "|", "\\", "~~",
      "http://", "https://a.example/(", "1. ", "#", "|-", "a\n-\n", "\t- ", "([", "](", "_a*"]) {
      render(into, part.repeat(size / part.length));
      render(into, Array.from({ length: 400 }, (_, i) => " ".repeat(i) + part).join("\n"));
    }
    render(into, "a\n\nb");
    const [first, second] = into.children;
    render(into, "a\n\nb c\n\nd");
    return [into.children[0] === first, into.children[1] === second, into.children.length];
  });
  assert.deepEqual(kept, [true, false, 3]);
});

it("a conversation joins transcript, own messages and events without losing or doubling one", async () => {
  const found = await page.evaluate(async () => {
    const { Conversation } = await import("/assets/conversation.js");
    const said = (text) => ({ content: [{ type: "text", text }] });
    const line = (role, text, turnId = "") => ({ role, ...said(text), timestamp: 1, turnId });
    const look = (known) => known.turns.map((turn) => `${turn.question}/${turn.text}/${turn.state}`);
    const all = {};
    let known = new Conversation();
    known.ask("r1", "q1", 1);
    known.accepted("r1", "t1");
    known.chat({ runId: "r1", turnId: "t1", state: "delta", message: said("half") });
    known.history([line("user", "q1", "t1")]);
    all.running = look(known);
    known.history([line("user", "q1", "t1"), line("assistant", "half of it", "t1")]);
    all.answered = look(known);
    known.chat({ runId: "r1", state: "final", message: said("half of it") });
    all.again = look(known);

    known = new Conversation();
    known.ask("r1", "q1", 1);
    known.history([line("user", "q0", "t0"), line("assistant", "a0", "t0"), line("user", "q1", "t1")]);
    known.accepted("r1", "t1");
    all.late = look(known);
    known.chat({ runId: "r1", turnId: "t1", state: "error", errorMessage: "no" });
    known.ask("r2", "q2", 2);
    known.history([line("user", "q0", "t0"), line("assistant", "a0", "t0"), line("user", "q1", "t1")]);
    all.failed = look(known);

    for (const [state, more] of [["final", { message: said("a1") }], ["error", { errorMessage: "no" }]]) {
      known = new Conversation();
      known.history([line("user", "q1", "t1"), ...(state === "final" ? [line("assistant", "a1", "t1")] : [])]);
      known.ask("r1", "q1", 1);
      known.accepted("r1", undefined);
      known.chat({ runId: "r1", state, ...more });
      known.history([line("user", "q1", "t1"), ...(state === "final" ? [line("assistant", "a1", "t1")] : [])]);
      all[`${state} again`] = look(known);
    }

    known = new Conversation();
    known.agent({ runId: "other", turnId: "t5", stream: "lifecycle", data: { phase: "start" } });
    all.foreign = look(known);
    known.history([line("user", "theirs", "t5")]);
    known.agent({ runId: "other", turnId: "t5", stream: "tool", data: { phase: "start", toolCallId: "c", name: "n", meta: "m" } });
    known.chat({ runId: "other", turnId: "t5", state: "final", message: said("x") });
    all.foreignEnd = [...look(known), known.turns[0].tools[0].state];

    known = new Conversation();
    known.ask("r1", "q1", 1);
    known.chat({ runId: "r1", turnId: "t1", state: "delta", message: said("wrong start") });
    known.agent({ runId: "r1", turnId: "t1", stream: "tool", data: { phase: "start", toolCallId: "c", name: "n", meta: "m" } });
    known.chat({ runId: "r1", turnId: "t1", state: "delta", message: said("") });
    known.chat({ runId: "r1", turnId: "t1", state: "delta", message: said("right") });
    all.restarted = [...look(known), known.turns[0].tools.length];
    known.history([]);
    all.kept = look(known);
    return all;
  });
  assert.deepEqual(found, {
    running: ["q1/half/running"],
    answered: ["q1/half of it/done"],
    again: ["q1/half of it/done"],
    late: ["q0/a0/done", "q1//waiting"],
    failed: ["q0/a0/done", "q1//failed", "q2//unsent"],
    "final again": ["q1/a1/done"],
    "error again": ["q1//failed"],
    foreign: ["null//waiting"],
    foreignEnd: ["theirs/x/done", "done"],
    restarted: ["q1/right/running", 0],
    kept: ["q1/right/running"],
  });
});
