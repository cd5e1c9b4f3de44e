// The npm package telegram-test-api: a Telegram server that we did not write. It knows neither offsets nor drafts nor chat
// actions, so it shows only that our requests and its answers are understood on both sides.
//
// node test_api.mjs PORT ANSWER: somebody asks "question", and the bot has to say ANSWER and nothing else.

import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(process.cwd() + "/");
const module = require("telegram-test-api");
const TelegramServer = module.TelegramServer ?? module.default ?? module;

const port = Number(process.argv[2]);
const server = new TelegramServer({ port, host: "127.0.0.1", storage: "RAM", storeTimeout: 600 });
await server.start();
const client = server.getClient("4242:AAE-test_token", { timeout: 300_000 });
await client.sendMessage(client.makeMessage("question"));
console.log(`listening on ${port}`);
const seen = await client.getUpdates();
const texts = seen.result.map((update) => update.message.text);
assert.deepEqual(texts, [process.argv[3]]);
await server.stop();
console.log("telegram-test-api: question understood, answer as expected");
process.exit(0);
