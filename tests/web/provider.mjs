// A model provider on loopback, with OpenAI's chat completions. What it answers stands in the question, so that a test says
// in one place what is asked and what comes back; how fast it comes is the test's to say, too.

import http from "node:http";

export class Provider {
  /** Last question of every request, in order. */
  questions = [];
  #failed = new Set();
  /** Requests of which the client hung up. */
  givenUp = 0;
  #server;
  #held = new Set();

  /** Listens on a free port. */
  async open() {
    this.#server = http.createServer((request, response) => this.#answer(request, response));
    await new Promise((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    this.url = `http://127.0.0.1:${this.#server.address().port}/v1`;
    return this;
  }

  close() {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  /** Lets all answers go on that are held. */
  release() {
    for (const go of this.#held) go();
    this.#held.clear();
  }

  async #answer(request, response) {
    if (request.method === "GET") {
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify({ object: "list", data: [{ id: "echo", object: "model" }] }));
      return;
    }
    let body = "";
    for await (const piece of request) body += piece;
    const { messages, tools } = JSON.parse(body);
    const question = text(messages.findLast((message) => message.role === "user"));
    this.questions.push(question);
    const [, order, rest] = /(say|hold|call|fail) ?([\s\S]*)$/.exec(question) ?? [null, "say", "What do you mean?"];
    if (order === "fail" && !this.#failed.has(rest)) {
      this.#failed.add(rest);
      response.writeHead(400, { "content-type": "application/json" });
      response.end(JSON.stringify({ error: { message: "This question is not to be asked.", type: "invalid_request_error" } }));
      return;
    }
    response.on("close", () => { if (!response.writableEnded) this.givenUp += 1; });
    response.writeHead(200, { "content-type": "text/event-stream" });
    const tell = (delta, end = null) => response.write(`data: ${JSON.stringify({
      id: "c", object: "chat.completion.chunk", created: 1, model: "echo",
      choices: [{ index: 0, delta, finish_reason: end }],
    })}\n\n`);
    let end = "stop";
    if (order === "call" && messages.at(-1).role === "user") {
      const name = tools?.[0]?.function.name ?? "none";
      const call = { index: 0, id: "call_1", type: "function", function: { name, arguments: "{}" } };
      tell({ role: "assistant", content: "Let me look." });
      tell({ tool_calls: [call] });
      end = "tool_calls";
    } else {
      const half = Math.floor(rest.length / 2);
      tell({ role: "assistant", content: rest.slice(0, half) });
      if (order === "hold") await new Promise((go) => this.#held.add(go));
      tell({ content: rest.slice(half) });
    }
    tell({}, end);
    response.end("data: [DONE]\n\n");
  }
}

function text({ content }) {
  return typeof content === "string" ? content : content.map((part) => part.text ?? "").join("");
}
