// Turns as elements of the page. Elements are made once and changed after that, so that focus, selection and scroll
// position survive an answer that grows.

import { isUnfinished } from "./conversation.js";
import { inline, make, render, visible } from "./markdown.js";

const TOOL = { running: "running…", done: "done", failed: "failed" };
const STATE = {
  unsent: "Not sent yet",
  waiting: "Waiting for an answer",
  running: "",
  done: "",
  open: "No answer is recorded.",
  stopped: "Stopped.",
  failed: "",
};

export class View {
  #list;
  #rows = new Map();
  #retry;

  /** Shows turns in `list`; `retry(turn)` asks the question of a failed turn again. */
  constructor(list, retry) {
    this.#list = list;
    this.#retry = retry;
  }

  /** Brings the page up to date. */
  show(turns) {
    const gone = new Set(this.#rows.keys());
    turns.forEach((turn, i) => {
      gone.delete(turn);
      let row = this.#rows.get(turn);
      if (!row) this.#rows.set(turn, row = new Row());
      row.show(turn, this.#retry);
      if (this.#list.children[i] !== row.element) this.#list.insertBefore(row.element, this.#list.children[i] ?? null);
    });
    for (const turn of gone) {
      this.#rows.get(turn).element.remove();
      this.#rows.delete(turn);
    }
  }

  /** What a screen reader is told of a turn that has ended. */
  spoken(turn) {
    return this.#rows.get(turn)?.spoken(turn) ?? "";
  }
}

class Row {
  element = make("li");
  #mine = make("div", { class: "said mine" });
  #theirs = make("div", { class: "said theirs" });
  #question = make("p", { dir: "auto" });
  #time = make("time");
  #parts = make("div", { class: "parts" });
  #note = make("p", { class: "note" });
  #last = "";

  constructor() {
    this.#mine.append(make("h2", { class: "unseen" }, "You"), this.#question, this.#time);
    this.#theirs.append(make("h2", { class: "unseen" }, "Clawdbot"), this.#parts, this.#note);
    this.element.append(this.#mine, this.#theirs);
  }

  show(turn, retry) {
    // Most turns of a long session have not changed.
    const now = JSON.stringify(turn);
    if (now === this.#last) return;
    this.#last = now;
    this.#mine.hidden = turn.question === null;
    this.#question.textContent = visible(turn.question ?? "");
    const at = new Date(turn.at);
    this.#time.dateTime = at.toISOString();
    this.#time.textContent = when(at);
    this.element.dataset.state = turn.state;
    this.#showParts(turn);
    this.#showNote(turn, retry);
    this.#theirs.hidden = this.#parts.childElementCount === 0 && this.#note.hidden;
    this.#theirs.setAttribute("aria-busy", String(turn.state === "running"));
  }

  /** Text and tool calls in the order in which they came. */
  #showParts(turn) {
    const wanted = [];
    let from = 0;
    for (const tool of turn.tools) {
      const text = turn.text.slice(from, tool.offset);
      if (text.trim()) wanted.push(text);
      wanted.push(tool);
      from = tool.offset;
    }
    if (turn.text.slice(from).trim()) wanted.push(turn.text.slice(from));
    wanted.forEach((part, i) => {
      const tag = typeof part === "string" ? "DIV" : "P";
      let element = this.#parts.children[i];
      if (element?.tagName !== tag) {
        const made = tag === "DIV" ? make("div", { class: "text" }) : make("p", { class: "tool" });
        if (element) element.replaceWith(made);
        else this.#parts.append(made);
        element = made;
      }
      if (tag === "DIV") render(element, part);
      else showTool(element, part);
    });
    while (this.#parts.childElementCount > wanted.length) this.#parts.lastElementChild.remove();
  }

  #showNote(turn, retry) {
    let words = STATE[turn.state];
    if (turn.isCut) words = "The answer ends here because its length is limited.";
    else if (turn.state === "done" && !turn.text) words = "No answer was needed.";
    this.#note.hidden = !words && turn.state !== "failed" && turn.state !== "running";
    this.#note.classList.toggle("bad", turn.state === "failed");
    this.#note.classList.toggle("busy", isUnfinished(turn));
    this.#note.replaceChildren(turn.state === "failed" ? inline(turn.error) : words);
    if (turn.state === "running") this.#note.append(make("span", { class: "unseen" }, "Clawdbot is writing"));
    if (turn.state === "failed" && turn.question) {
      const again = make("button", { type: "button" }, "Try again");
      again.addEventListener("click", () => retry(turn));
      this.#note.append(" ", again);
    }
  }

  spoken(turn) {
    const said = [...this.#parts.querySelectorAll(".text")].map((part) => part.innerText).join("\n");
    const note = turn.state === "failed" ? visible(turn.error) : this.#note.textContent;
    return ["Clawdbot:", said, note].filter(Boolean).join(" ");
  }
}

function showTool(element, { name, summary, state }) {
  element.dataset.state = state;
  element.title = visible(summary);
  element.replaceChildren(
    make("span", { class: "name" }, visible(name)), " ",
    make("span", { class: "what", dir: "auto" }, visible(summary).replace(/\s+/g, " ")), " ",
    make("span", { class: "end" }, TOOL[state]),
  );
}

/** The time, and the day if it is not today. */
function when(at) {
  const time = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  if (at.toDateString() === new Date().toDateString()) return time;
  return `${at.toLocaleDateString([], { day: "numeric", month: "short" })}, ${time}`;
}
