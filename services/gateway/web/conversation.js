// What is known of one session: its turns, each a question and what became of it. Three sources are joined here without
// losing or doubling anything: the transcript, what this page sent, and the events of turns that run.
// No DOM and no network, so that it can be tested by itself.

/** States in which more is to come. */
const UNFINISHED = ["unsent", "waiting", "running"];

/** A turn.
 *  runId: our id of the message, if it is ours · turnId: the gateway's · question: null until known · at: ms since 1970 ·
 *  text: the answer so far · tools: {id, name, summary, offset in the text, state: running | done | failed} ·
 *  state: unsent | waiting | running | done | stopped | failed | open (in the transcript, and without an end) ·
 *  error: in words, when it failed · isTaken: the gateway has our message · isCut: the answer ends early. */
const turn = (known) => ({
  runId: null, turnId: null, question: null, at: 0, text: "", tools: [], state: "open", error: "",
  isTaken: false, isCut: false, ...known,
});

export const isUnfinished = (turn) => UNFINISHED.includes(turn.state);

export class Conversation {
  turns = [];

  /** A question of ours that is on its way. */
  ask(runId, question, at) {
    const asked = turn({ runId, question, at, state: "unsent" });
    this.turns.push(asked);
    return asked;
  }

  /** The gateway has the question. */
  accepted(runId, turnId) {
    const asked = this.turns.find((turn) => turn.runId === runId);
    if (!asked) return;
    const double = this.turns.find((turn) => turn !== asked && turnId && turn.turnId === turnId);
    // The transcript, or another page's view of the turn, was faster.
    if (double) this.turns.splice(this.turns.indexOf(double), 1);
    asked.turnId = turnId ?? asked.turnId;
    asked.isTaken = true;
    if (asked.state === "unsent") asked.state = "waiting";
  }

  /** The question will not be answered. */
  refused(runId, why) {
    const asked = this.turns.find((turn) => turn.runId === runId);
    if (asked) Object.assign(asked, { state: "failed", error: why });
  }

  /** Forgets a question, as if it had not been asked. */
  drop(runId) {
    this.turns = this.turns.filter((turn) => turn.runId !== runId);
  }

  /** A `chat` event. Returns its turn. */
  chat(event) {
    const found = this.#of(event);
    const said = event.message?.content.map((part) => part.text).join("") ?? "";
    switch (event.state) {
      case "delta":
        found.state = "running";
        say(found, said);
        break;
      case "final":
        found.state = "done";
        found.isCut = event.stopReason === "length";
        say(found, said);
        break;
      case "aborted":
        found.state = "stopped";
        break;
      case "error":
        Object.assign(found, { state: "failed", error: event.errorMessage });
        break;
    }
    if (!isUnfinished(found)) {
      for (const tool of found.tools) if (tool.state === "running") tool.state = "done";
    }
    return found;
  }

  /** An `agent` event: a turn is there, or calls a tool. Returns its turn. */
  agent(event) {
    const found = this.#of(event);
    if (found.state === "open") found.state = "waiting";
    if (event.stream !== "tool") return found;
    const { toolCallId: id, name, meta: summary, phase, isError } = event.data;
    const known = found.tools.find((tool) => tool.id === id);
    if (phase === "start") {
      if (!known) found.tools.push({ id, name, summary, offset: found.text.length, state: "running" });
      if (found.state === "waiting") found.state = "running";
    } else if (known) known.state = isError ? "failed" : "done";
    return found;
  }

  #of({ runId, turnId }) {
    const found = this.turns.find((turn) => turn.runId === runId)
      ?? this.turns.find((turn) => turnId && turn.turnId === turnId);
    if (found) {
      found.turnId ??= turnId;
      return found;
    }
    const other = turn({ turnId, at: Date.now(), state: "waiting" });
    this.turns.push(other);
    return other;
  }

  /** Takes the transcript: it is right about all turns that it holds to their ends. What it does not know of is kept if
   *  it is not over, or went wrong, since then it is nowhere else. */
  history(messages) {
    const now = recorded(messages);
    let place = -1;
    for (const known of this.turns) {
      const at = now.findIndex((turn) => isSame(known, turn));
      if (at >= 0) {
        now[at] = join(known, now[at]);
        place = at;
      } else if (isUnfinished(known) || known.state === "failed" || known.state === "stopped") {
        place = isUnfinished(known) ? now.length : place + 1;
        now.splice(place, 0, known);
      }
    }
    this.turns = now;
  }
}

/** Whether a turn of the transcript is this one. The gateway no longer names the turn of a message that had ended when it
 *  was sent again: of those that went wrong, the question is in the transcript, without an answer. */
function isSame(known, recorded) {
  if (known.turnId) return known.turnId === recorded.turnId;
  return known.isTaken && ["failed", "stopped"].includes(known.state)
    && recorded.state === "open" && recorded.question === known.question;
}

/** The turns of a transcript. */
function recorded(messages) {
  const turns = [];
  for (const { role, content, timestamp, turnId } of messages) {
    const text = content.map((part) => part.text).join("");
    if (role === "user" || turns.length === 0) {
      turns.push(turn({ turnId: turnId || null, at: timestamp }));
    }
    const last = turns.at(-1);
    if (role === "user") last.question = text;
    else {
      last.text = last.text ? `${last.text}\n\n${text}` : text;
      if (turnId) last.state = "done";
    }
  }
  return turns;
}

/** The same turn as it is known here and in the transcript. */
function join(known, recorded) {
  known.turnId = recorded.turnId;
  known.question = recorded.question ?? known.question;
  known.at = recorded.at;
  // How it went wrong is not in the transcript.
  if (recorded.state === "done" && !["failed", "stopped"].includes(known.state)) {
    known.state = "done";
    say(known, recorded.text);
  }
  return known;
}

/** Sets the text. When it began again, the tool calls that stood in the old one are gone with it. */
function say(turn, text) {
  turn.tools = turn.tools.filter((tool) => text.startsWith(turn.text.slice(0, tool.offset)));
  turn.text = text;
}
