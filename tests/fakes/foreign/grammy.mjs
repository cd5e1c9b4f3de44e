// grammY against the fake: its own poll loop, its own idea of offsets and errors.
//
// node grammy.mjs http://127.0.0.1:PORT http://127.0.0.1:CONTROL   (with grammy installed where Node finds it)

import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(process.cwd() + "/");
const { Bot, GrammyError } = require("grammy");

const [root, controlRoot] = process.argv.slice(2);
const token = "7002:grammy_token";

async function control(path, order) {
  const answer = await fetch(controlRoot + path, { method: "POST", body: JSON.stringify({ token, ...order }) });
  return answer.json();
}

await control("/bot", { username: "grammy_bot", webhook: "https://example.org/" });
const bot = new Bot(token, { client: { apiRoot: root } });
const heard = [];
let resolve;
const all = new Promise((done) => (resolve = done));
bot.on("message:text", async (context) => {
  heard.push(context.message.text);
  await context.reply(`<b>${context.message.text}</b>`, {
    parse_mode: "HTML",
    reply_parameters: { message_id: context.message.message_id },
  });
  if (heard.length === 3) resolve();
});
bot.on("edited_message:text", (context) => heard.push("edit:" + context.editedMessage.text));

// Its start removes the web hook, asks who it is and polls.
const running = bot.start({ allowed_updates: ["message", "edited_message"] });
await control("/write", { message: { chat: 42, text: "one" } });
await control("/write", { kind: "channel_post", message: { chat: -1001, text: "not asked for" } });
await control("/write", { message: { chat: 42, text: "two" } });
await control("/write", { message: { chat: { id: -1002, type: "supergroup", title: "F", is_forum: true }, from: 42, text: "three", message_thread_id: 7, is_topic_message: true } });
await all;
assert.deepEqual(heard, ["one", "two", "three"]);
assert.equal(bot.botInfo.username, "grammy_bot");

const draft = await bot.api.raw.sendMessageDraft?.({ chat_id: 42, draft_id: 1, text: "so far" });
assert.ok(draft === undefined || draft === true);
for (const [call, code, words] of [
  [() => bot.api.sendMessage(42, "<x>", { parse_mode: "HTML" }), 400, "can't parse entities"],
  [() => bot.api.sendMessage(42, "x".repeat(4097)), 400, "too long"],
  [() => bot.api.editMessageText(42, 999, "x"), 400, "message to edit not found"],
  [() => bot.api.sendMessage(-1002, "x", { message_thread_id: 8 }), 400, "thread not found"],
]) {
  await assert.rejects(call, (error) => error instanceof GrammyError && error.error_code === code && error.description.includes(words));
}
await control("/fault", { method: "sendMessage", fault: "too_fast", value: 3 });
await assert.rejects(
  () => bot.api.sendMessage(42, "x"),
  (error) => error instanceof GrammyError && error.error_code === 429 && error.parameters.retry_after === 3,
);
await bot.stop();
await running;

const { sent, pending } = await control("/sent", {});
assert.deepEqual(sent.map((message) => [message.chat, message.topic, message.text, message.reply_to !== null]), [
  [42, null, "one", true],
  [42, null, "two", true],
  [-1002, 7, "three", true],
]);
assert.equal(pending, 0, "its last poll confirmed everything");
console.log("grammY: all as expected");
