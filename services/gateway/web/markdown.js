// Markdown to DOM nodes: headings, lists, quotes, code, tables, emphasis and links, as models write them.
// What a model says is a stranger's text. It becomes text nodes and a few elements made here, never markup; links lead
// to http and https only and show their host; pictures are not loaded. Time and depth are bounded for every input.

/** Longer texts are shown as they are, characters. */
const LONGEST = 300_000;
/** Quotes in lists in quotes, emphasis in links in emphasis: so deep and no deeper. */
const DEEPEST = 8;
/** Closing marks that are looked at for one opening mark. */
const TRIES = 64;

/** Makes an element. Strings among the children become text. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  element.append(...children);
  // After the children: browsers look at all of them again for each that comes under dir="auto".
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** Names the characters that are invisible or turn the text around them (Unicode TR 36), so that nothing hides. */
export function visible(text) {
  // eslint-disable-next-line no-control-regex
  return text.replace(/[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g, (c) =>
    `⟨U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}

/** The source that an element was made from. */
const sources = new WeakMap();

/** Shows a text in an element. Blocks that did not change stay, so that a growing answer keeps what is selected in it. */
export function render(into, text) {
  const clean = text.replace(/\r\n?/g, "\n");
  const parts = clean.length > LONGEST ? [clean.split("\n")] : blocks(clean.split("\n"));
  parts.forEach((lines, i) => {
    const source = lines.join("\n");
    const there = into.children[i];
    if (there && sources.get(there) === source) return;
    const element = clean.length > LONGEST ? make("pre", { class: "plain" }, visible(source)) : block(lines, 0);
    sources.set(element, source);
    if (there) there.replaceWith(element);
    else into.append(element);
  });
  while (into.children.length > parts.length) into.lastElementChild.remove();
}

const FENCE = /^ {0,3}(`{3,}|~{3,})(.*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*))?$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])(?: +|$)/;
const DELIMITERS = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;

const isBlank = (line) => line.trim() === "";
const isRule = (line) => /^(?:-{3,}|\*{3,}|_{3,})$/.test(line.replace(/[ \t]+/g, ""));
const isTable = (line, next) => line.includes("|") && next?.includes("-") && DELIMITERS.test(next);
const isFence = (line) => {
  const fence = FENCE.exec(line);
  return fence && !(fence[1][0] === "`" && fence[2].includes("`")) ? fence : null;
};
/** Whether a line ends the paragraph before it. */
const interrupts = (line) => {
  const item = ITEM.exec(line);
  return isFence(line) || HEADING.test(line) || QUOTE.test(line) || isRule(line)
    || (item && item[0].length < line.length && !/\d/.test(item[2][0])) || /^ *1[.)] +\S/.test(line);
};

/** Groups lines into blocks; blank lines between them go. */
function blocks(lines) {
  const found = [];
  for (let i = 0; i < lines.length;) {
    if (isBlank(lines[i])) {
      i += 1;
      continue;
    }
    const end = blockEnd(lines, i);
    found.push(lines.slice(i, end));
    i = end;
  }
  return found;
}

function blockEnd(lines, start) {
  const first = lines[start];
  const fence = isFence(first);
  let i = start + 1;
  if (fence) {
    const closes = (line) => {
      const end = FENCE.exec(line);
      return end && end[1].startsWith(fence[1]) && isBlank(end[2]);
    };
    while (i < lines.length && !closes(lines[i])) i += 1;
    return Math.min(i + 1, lines.length);
  }
  if (HEADING.test(first) || isRule(first)) return i;
  if (QUOTE.test(first)) {
    while (i < lines.length && QUOTE.test(lines[i])) i += 1;
    return i;
  }
  if (ITEM.test(first)) return listEnd(lines, start);
  if (isTable(first, lines[i])) {
    while (i < lines.length && lines[i].includes("|")) i += 1;
    return i;
  }
  while (i < lines.length && !isBlank(lines[i]) && !interrupts(lines[i])) i += 1;
  return i;
}

const indent = (line) => line.length - line.trimStart().length;
const isNumber = (item) => /\d/.test(item[2][0]);

function listEnd(lines, start) {
  const first = ITEM.exec(lines[start]);
  let i = start + 1;
  for (; i < lines.length; i += 1) {
    const line = lines[i];
    if (isBlank(line)) {
      const next = lines[i + 1] ?? "";
      const item = ITEM.exec(next);
      const goes = indent(next) > first[1].length || (item && !isRule(next) && isNumber(item) === isNumber(first));
      if (isBlank(next) || !goes) break;
    } else if (indent(line) <= first[1].length) {
      const item = ITEM.exec(line);
      const same = item && !isRule(line) && isNumber(item) === isNumber(first);
      if (!same && (item || interrupts(line) || isBlank(lines[i - 1]))) break;
    }
  }
  return i;
}

/** One block as one element. */
function block(lines, depth) {
  const [first] = lines;
  const fence = isFence(first);
  if (fence) return code(fence, lines);
  const heading = HEADING.exec(first);
  // The page has the first two levels for itself.
  if (heading) {
    const level = Math.min(heading[1].length + 2, 6);
    return make(`h${level}`, { dir: "auto" }, inline((heading[2] ?? "").replace(/[ \t]+#+[ \t]*$/, "")));
  }
  if (isRule(first)) return make("hr");
  if (depth < DEEPEST) {
    if (QUOTE.test(first)) {
      return make("blockquote", {}, ...nested(lines.map((line) => line.replace(QUOTE, "")), depth));
    }
    if (ITEM.test(first)) return list(lines, depth);
  }
  if (isTable(first, lines[1])) return table(lines);
  return make("p", { dir: "auto" }, inline(lines.map((line) => line.trim()).join("\n")));
}

const nested = (lines, depth) => blocks(lines).map((part) => block(part, depth + 1));

function code(fence, lines) {
  const margin = indent(lines[0]);
  const last = FENCE.exec(lines.at(-1));
  const closed = lines.length > 1 && last && last[1].startsWith(fence[1]) && isBlank(last[2]);
  const body = lines.slice(1, closed ? -1 : undefined)
    .map((line) => line.slice(Math.min(indent(line), margin))).join("\n");
  const language = visible(fence[2].trim().split(/\s/)[0].slice(0, 30));
  const head = make("figcaption", {}, make("span", {}, language || "text"));
  // Only pages that came over a safe way may write to the clipboard.
  if (navigator.clipboard) {
    const button = make("button", { type: "button", class: "quiet", "aria-label": "Copy the code" }, "Copy");
    button.addEventListener("click", async () => {
      const copied = await navigator.clipboard.writeText(body).then(() => true, () => false);
      button.textContent = copied ? "Copied" : "Not copied";
    });
    head.append(button);
  }
  const label = language ? `Code, ${language}` : "Code";
  return make("figure", { class: "code" }, head,
    make("pre", { tabindex: "0", role: "group", "aria-label": label }, make("code", {}, visible(body))));
}

function list(lines, depth) {
  const first = ITEM.exec(lines[0]);
  const items = [];
  for (const line of lines) {
    const item = ITEM.exec(line);
    if (item && item[1].length <= first[1].length) {
      items.push({ width: item[0].length, lines: [line.slice(item[0].length)] });
    } else {
      const current = items.at(-1);
      current.lines.push(line.slice(Math.min(indent(line), current.width)));
    }
  }
  const spread = lines.some(isBlank);
  const entries = items.map((item) => {
    item.lines[0] = item.lines[0].replace(/^\[([ xX])\] /, (_, mark) => (mark === " " ? "☐ " : "☑ "));
    const parts = nested(item.lines, depth);
    const tight = !spread && parts[0]?.tagName === "P";
    return make("li", {}, ...(tight ? [...parts[0].childNodes, ...parts.slice(1)] : parts));
  });
  const start = parseInt(first[2], 10);
  return make(isNumber(first) ? "ol" : "ul", { dir: "auto", ...(start !== 1 && isNumber(first) && { start }) }, ...entries);
}

function table(lines) {
  const aligned = cells(lines[1]).map((cell) => {
    if (cell.endsWith(":")) return cell.startsWith(":") ? "center" : "right";
    return "left";
  });
  const row = (tag, line) => {
    const found = cells(line);
    return make("tr", {}, ...aligned.map((side, i) =>
      make(tag, { class: side, dir: "auto" }, inline(found[i] ?? ""))));
  };
  const body = make("tbody", {}, ...lines.slice(2).map((line) => row("td", line)));
  return make("div", { class: "table", tabindex: "0", role: "group", "aria-label": "Table" },
    make("table", {}, make("thead", {}, row("th", lines[0])), body));
}

function cells(line) {
  const found = [""];
  const bare = line.trim().replace(/^\|/, "");
  for (let i = 0; i < bare.length; i += 1) {
    if (bare[i] === "\\" && bare[i + 1] === "|") {
      found[found.length - 1] += "|";
      i += 1;
    } else if (bare[i] === "|") found.push("");
    else found[found.length - 1] += bare[i];
  }
  if (found.length > 1 && isBlank(found.at(-1))) found.pop();
  return found.map((cell) => cell.trim());
}

/** The text of one paragraph, with emphasis, code and links. */
export function inline(text, depth = 0) {
  const into = document.createDocumentFragment();
  const absent = new Set();
  /** Like indexOf, but looks only once for what is not there: positions only grow. */
  const find = (word, from) => {
    const at = absent.has(word) ? -1 : text.indexOf(word, from);
    if (at < 0) absent.add(word);
    return at;
  };
  let plain = "";
  const flush = () => {
    if (plain) into.append(visible(plain));
    plain = "";
  };
  const ordinary = /[^\\`*_~[!<h\n]+/y;
  for (let i = 0; i < text.length;) {
    ordinary.lastIndex = i;
    const run = ordinary.exec(text);
    const [node, end] = run ? [run[0], i + run[0].length] : special(text, i, find, depth) ?? [text[i], i + 1];
    if (typeof node === "string") plain += node;
    else {
      flush();
      into.append(node);
    }
    i = end;
  }
  flush();
  return into;
}

/** What stands at a place where something can begin: a node or text, and where it ends. */
function special(text, at, find, depth) {
  switch (text[at]) {
    case "\n":
      return [make("br"), at + 1];
    case "\\":
      return /[!-/:-@[-`{-~]/.test(text[at + 1] ?? "") ? [text[at + 1], at + 2] : null;
    case "`":
      return codeSpan(text, at, find);
    case "[":
      return namedLink(text, at, find, depth);
    case "!":
      // A picture would tell a stranger's server that it was looked at.
      return text[at + 1] === "[" ? namedLink(text, at + 1, find, depth) : null;
    case "<":
    case "h":
      return bareLink(text, at);
    default:
      return emphasis(text, at, find, depth);
  }
}

function codeSpan(text, at, find) {
  let length = 1;
  while (text[at + length] === "`") length += 1;
  const mark = "`".repeat(length);
  let end = find(mark, at + length);
  for (let tries = 0; end >= 0 && tries < TRIES; tries += 1) {
    let after = end + length;
    if (text[after] !== "`") {
      const body = text.slice(at + length, end).replace(/\n/g, " ").replace(/^ (.*[^ ].*) $/, "$1");
      return [make("code", {}, visible(body)), after];
    }
    while (text[after] === "`") after += 1;
    end = text.indexOf(mark, after);
  }
  return [mark, at + length];
}

const EMPHASIS = { "**": "strong", __: "strong", "*": "em", _: "em", "~~": "del" };

function emphasis(text, at, find, depth) {
  const double = text.slice(at, at + 2);
  const mark = double in EMPHASIS ? double : text[at];
  const isWord = (c) => c !== undefined && /[\p{L}\p{N}]/u.test(c);
  const start = at + mark.length;
  const opens = mark in EMPHASIS && depth < DEEPEST && /\S/.test(text[start] ?? "")
    && !(mark[0] === "_" && isWord(text[at - 1]));
  if (!opens) return [mark, start];
  let end = find(mark, start + 1);
  for (let tries = 0; end >= 0 && tries < TRIES; tries += 1) {
    // The last two of three close the outer of two.
    while (mark.length === 2 && text[end + 2] === mark[0]) end += 1;
    const after = end + mark.length;
    const single = mark.length === 2 || (text[end - 1] !== mark && text[after] !== mark);
    if (single && /\S/.test(text[end - 1]) && !(mark[0] === "_" && isWord(text[after]))) {
      return [make(EMPHASIS[mark], {}, inline(text.slice(start, end), depth + 1)), after];
    }
    end = text.indexOf(mark, end + (single ? 1 : 2));
  }
  return [mark, start];
}

function namedLink(text, at, find, depth) {
  const middle = depth < DEEPEST ? find("](", at + 1) : -1;
  if (middle < 0 || middle - at > 2000) return null;
  const rest = /\(<?([^\s<>]*?)>?(?:[ \t]+"[^"\n]*")?\)/y;
  rest.lastIndex = middle + 1;
  let target = rest.exec(text.slice(0, middle + 2100));
  // A parenthesis may be part of the address if it is closed in it.
  const open = /\(([^\s<>()]*\([^\s<>()]*\)[^\s<>()]*)\)/y;
  open.lastIndex = middle + 1;
  target = open.exec(text.slice(0, middle + 2100)) ?? target;
  const label = text.slice(at + 1, middle);
  const node = target && link(inline(label, depth + 1), target[1]);
  return node && [node, middle + 1 + target[0].length];
}

function bareLink(text, at) {
  const before = text[at - 1];
  if (before !== undefined && text[at] === "h" && /[\p{L}\p{N}_]/u.test(before)) return null;
  const address = /<(https?:\/\/[^\s<>]{1,2000})>|https?:\/\/[^\s<>"'`|]{1,2000}/y;
  address.lastIndex = at;
  const found = address.exec(text);
  if (!found) return null;
  let url = found[1] ?? found[0];
  if (!found[1]) {
    url = url.replace(/[.,;:!?*_~\]]+$/, "");
    // A sentence's own parenthesis is not part of the address.
    while (url.endsWith(")") && url.split(")").length > url.split("(").length) {
      url = url.slice(0, -1).replace(/[.,;:!?]+$/, "");
    }
  }
  const node = link(visible(url), url);
  return node && [node, at + (found[1] ? found[0].length : url.length)];
}

/** A link that says where it leads; null when it leads nowhere that a chat should lead. */
function link(label, address) {
  const url = URL.canParse(address) ? new URL(address) : null;
  if (!url || !["http:", "https:"].includes(url.protocol)) return null;
  const element = make("a", { href: url.href, rel: "noopener noreferrer nofollow", target: "_blank" }, label);
  const says = element.textContent.toLowerCase();
  const honest = [`${url.protocol}//${url.host}`, url.host].some((place) =>
    says === place || says.startsWith(`${place}/`) || says.startsWith(`${place}?`));
  // An address in what it says itself is enough; "click here" is not, and neither is another's name.
  if (!honest) element.append(make("span", { class: "host" }, ` (${url.host})`));
  return element;
}
