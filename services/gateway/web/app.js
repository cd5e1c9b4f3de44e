// The chat page: puts connection, conversations and view together. What the person sent and has no answer yet is kept
// in this tab's storage and sent again under the same id after every interruption: the gateway takes an id once only.

import { Conversation, isUnfinished } from "./conversation.js";
import { Gateway } from "./gateway.js";
import { inline, make, visible } from "./markdown.js";
import { View } from "./view.js";

const $ = (id) => document.getElementById(id);
/** Entries of a first look into a session, and of a look at all of it. */
const HISTORY = { some: 200, all: 1000 };
/** Tries of a message that the gateway cannot take now, and the first pause between two, milliseconds. */
const TRIES = 5;
const PAUSE = 500;

const state = {
  /** Name of the session in sight. */
  session: "",
  /** Name of a session → what is known of it. */
  conversations: new Map(),
  /** Run id → {runId, session, text, at}: ours, and not over. In the order in which they were written. */
  pending: new Map(stored("pending", [])),
  /** Run ids that this connection has handed over, or is handing over. */
  handed: new Set(),
  /** Turns of others whose question was looked for → the state in which they were then. */
  sought: new WeakMap(),
  /** What keys of our sessions begin with, once known. */
  prefix: null,
  sessions: [],
  limit: HISTORY.some,
  connected: false,
};

const view = new View($("turns"), askAgain);
const gateway = new Gateway({ state: connectionChanged, event: told });

function stored(name, otherwise) {
  try {
    return JSON.parse(sessionStorage.getItem(name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function store(name, value) {
  try {
    sessionStorage.setItem(name, JSON.stringify(value));
  } catch {
    // Without storage a reload forgets what had not been sent; everything else works.
  }
}

const pendingChanged = () => store("pending", [...state.pending]);

function conversation(name = state.session) {
  if (!state.conversations.has(name)) state.conversations.set(name, new Conversation());
  return state.conversations.get(name);
}

/* The connection */

const LINE = {
  connecting: "Connecting…",
  open: "",
  lost: "Not connected. Trying again…",
};

function connectionChanged(word, detail) {
  state.connected = word === "open";
  document.body.dataset.line = word;
  if (word === "signed-out") {
    $("line").replaceChildren("Signed out. ", make("a", { href: "/" }, "Sign in"));
  } else {
    $("line").textContent = LINE[word];
  }
  if (word === "open") {
    state.handed.clear();
    showProblems(detail.snapshot.health.problems ?? []);
    handOver();
    loadHistory();
    loadSessions();
  }
  update();
}

function told(event, payload) {
  if (event === "health") showProblems(payload.problems ?? []);
  if (event !== "chat" && event !== "agent") return;
  const name = nameOf(payload.sessionKey);
  // Programs are not followed here, unless the address names their session.
  if (name === null || (isProgram(name) && name !== state.session)) return;
  const known = conversation(name);
  const turn = event === "chat" ? known.chat(payload) : known.agent(payload);
  if (!isUnfinished(turn)) ended(name, turn, payload.runId);
  // Somebody else asked: the question is in the transcript, or will be when the turn runs.
  if (turn.question === null && name === state.session && state.sought.get(turn) !== turn.state) {
    state.sought.set(turn, turn.state);
    loadHistory();
  }
  update();
}

function ended(name, turn, runId) {
  if (state.pending.delete(runId)) pendingChanged();
  if (name === state.session) {
    update.now();
    $("announcer").textContent = view.spoken(turn);
    // A command may have begun a new session; a turn without a name stands twice until the transcript is read again.
    if (!turn.turnId || (turn.question?.startsWith("/") ?? true)) loadHistory();
  }
  if (!isProgram(name) && !state.sessions.includes(name)) loadSessions();
}

/** Sessions of API clients have names of their own making; they are reached by address only. */
const isProgram = (name) => name.startsWith("openai-");

/** The name of a session by its key; null when it is none of ours. */
function nameOf(key) {
  const [agent, prefix, ...rest] = key.split(":");
  if (agent !== "agent" || rest.length !== 1) return null;
  return state.prefix === null || prefix === state.prefix ? rest[0] : null;
}

/* Messages */

function send(text) {
  const runId = `web-${[...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("")}`;
  const message = { runId, session: state.session, text, at: Date.now() };
  conversation().ask(runId, text, message.at);
  state.pending.set(runId, message);
  pendingChanged();
  following = true;
  handOver();
  update();
}

let handing = false;

/** Hands over what this connection has not, one after the other, so that the order stays. */
async function handOver() {
  if (handing) return;
  handing = true;
  for (;;) {
    const next = [...state.pending.values()].find(({ runId }) => !state.handed.has(runId));
    if (!next || !state.connected) break;
    state.handed.add(next.runId);
    await handOne(next);
    update();
  }
  handing = false;
}

async function handOne({ runId, session, text }) {
  const known = conversation(session);
  for (let tries = 1; ; tries += 1) {
    try {
      const reply = await gateway.request("chat.send", { sessionKey: session, message: text, idempotencyKey: runId });
      if (reply.runId) {
        known.accepted(runId, reply.turnId);
        return;
      }
      // It was an order, not a question.
      known.drop(runId);
      break;
    } catch (failure) {
      // The next connection hands it over again.
      if (failure.isLost) return;
      if (!failure.isRetryable || tries === TRIES) {
        known.refused(runId, failure.message);
        break;
      }
      await new Promise((resume) => setTimeout(resume, failure.retryAfter || PAUSE * 2 ** tries));
    }
  }
  state.pending.delete(runId);
  pendingChanged();
}

/** A new message with the same text: the old id stands for what has failed. */
function askAgain(turn) {
  if (!turn.turnId) conversation().drop(turn.runId);
  send(turn.question);
  $("text").focus();
}

async function stop() {
  for (const { runId, session } of [...state.pending.values()]) {
    if (session !== state.session || state.handed.has(runId)) continue;
    state.pending.delete(runId);
    conversation().drop(runId);
  }
  pendingChanged();
  update();
  await gateway.request("chat.abort", { sessionKey: state.session }).catch(complain);
}

const complain = (failure) => { $("announcer").textContent = failure.message; };

/* Looking back */

const loadHistory = alone(async () => {
  const { session, limit } = state;
  const { sessionKey, messages } = await gateway.request("chat.history", { sessionKey: session, limit });
  state.prefix = sessionKey.split(":")[1];
  conversation(session).history(messages);
  if (session === state.session) $("earlier").hidden = messages.length < limit || limit === HISTORY.all;
  update();
});

const loadSessions = alone(async () => {
  const { sessions } = await gateway.request("sessions.list", {});
  const names = sessions.filter((session) => session.class === "main")
    .map((session) => nameOf(session.key))
    .filter((name) => name !== null && !isProgram(name));
  state.sessions = names;
  update();
});

/** Runs a task at most once at a time, and once more if it was wanted meanwhile. */
function alone(task) {
  let running = false;
  let again = false;
  return async function run() {
    again = true;
    if (running) return;
    running = true;
    while (again) {
      again = false;
      await task().catch((failure) => failure.isLost || complain(failure));
    }
    running = false;
  };
}

/* The page */

/** Whether the newest message should stay in sight. */
let following = true;
let planned = 0;

function update() {
  planned ||= requestAnimationFrame(update.now);
}

update.now = () => {
  cancelAnimationFrame(planned);
  planned = 0;
  const { turns } = conversation();
  view.show(turns);
  $("empty").hidden = turns.length > 0 || !state.connected;
  $("stop").hidden = !turns.some(isUnfinished);
  $("where").textContent = state.session === "main" ? "" : ` / ${state.session}`;
  document.title = state.session === "main" ? "Clawdbot" : `${state.session} · Clawdbot`;
  showSessions();
  if (following) $("log").scrollTop = $("log").scrollHeight;
};

function showSessions() {
  const names = [...new Set(["main", state.session, ...state.sessions])];
  const shown = [...$("session-list").querySelectorAll("a")];
  const same = shown.length === names.length && shown.every((link, i) => link.textContent === names[i]);
  if (!same) {
    $("session-list").replaceChildren(...names.map((name) =>
      make("li", {}, make("a", { href: `#/${name}` }, name))));
  }
  for (const link of $("session-list").querySelectorAll("a")) {
    if (link.textContent === state.session) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

let problemsShown = "[]";

function showProblems(problems) {
  // A list that comes again is not news, and is not read out again.
  if (JSON.stringify(problems) === problemsShown) return;
  problemsShown = JSON.stringify(problems);
  $("problems").hidden = problems.length === 0;
  $("problem-list").replaceChildren(...problems.map(({ role, message }) =>
    make("li", {}, make("strong", {}, visible(role)), " ", inline(message))));
  if (problems.length > 0) complain(problems[0]);
}

/** Opens the session that the address names. */
function openSession() {
  const name = /^#\/([a-z0-9][a-z0-9_-]{0,63})$/.exec(location.hash)?.[1] ?? "main";
  // The browser tells of a change later than it happens, when somebody may be typing already.
  if (name === state.session) return;
  if (state.session) store(`draft ${state.session}`, $("text").value);
  state.session = name;
  state.limit = HISTORY.some;
  $("text").value = stored(`draft ${name}`, "");
  $("earlier").hidden = true;
  following = true;
  showMenu(false);
  fit();
  if (state.connected) loadHistory();
  update();
}

function showMenu(open) {
  $("menu").setAttribute("aria-expanded", String(open));
  document.body.classList.toggle("menu", open);
}

/** Makes the box as high as its text, within the limit of the style sheet. */
function fit() {
  const box = $("text");
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight + box.offsetHeight - box.clientHeight}px`;
}

function submit(event) {
  event?.preventDefault();
  // Half a character cannot be sent.
  const text = $("text").value.replace(/[\ud800-\udfff]/gu, "\ufffd");
  if (!text.trim()) return;
  $("text").value = "";
  store(`draft ${state.session}`, "");
  fit();
  send(text);
}

/** Phones have no Shift+Enter: there Enter begins a new line and the button sends. */
const touch = matchMedia("(pointer: coarse)");

$("composer").addEventListener("submit", submit);
$("text").addEventListener("input", () => {
  fit();
  store(`draft ${state.session}`, $("text").value);
});
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing && !touch.matches) submit(event);
});
$("stop").addEventListener("click", () => {
  stop();
  $("text").focus();
});
addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.isComposing) return;
  if (document.body.classList.contains("menu")) {
    showMenu(false);
    $("menu").focus();
  } else if (!$("stop").hidden) stop();
});
$("menu").addEventListener("click", () => {
  const open = $("menu").getAttribute("aria-expanded") !== "true";
  showMenu(open);
  if (open) $("session-list").querySelector("[aria-current]")?.focus();
});
$("new-session").addEventListener("submit", (event) => {
  event.preventDefault();
  location.hash = `#/${$("new-name").value}`;
  openSession();
  event.target.reset();
  $("text").focus();
});
$("sign-out").addEventListener("submit", () => sessionStorage.clear());
document.querySelector(".skip").addEventListener("click", (event) => {
  // The address names the session and stays as it is.
  event.preventDefault();
  $("text").focus();
});
$("earlier").addEventListener("click", () => {
  following = false;
  state.limit = HISTORY.all;
  $("log").focus();
  loadHistory();
});
$("log").addEventListener("scroll", () => {
  const { scrollTop, scrollHeight, clientHeight } = $("log");
  following = scrollHeight - scrollTop - clientHeight < 60;
  $("latest").hidden = following;
});
$("latest").addEventListener("click", () => {
  following = true;
  update();
  $("text").focus();
});
$("hide-problems").addEventListener("click", () => {
  // Until there are others.
  $("problems").hidden = true;
  $("text").focus();
});
new ResizeObserver(() => following && update()).observe($("log"));
addEventListener("hashchange", openSession);

for (const { runId, session, text, at } of state.pending.values()) conversation(session).ask(runId, text, at);
openSession();
if (touch.matches) $("keys").remove();
else $("text").focus();
gateway.open();
