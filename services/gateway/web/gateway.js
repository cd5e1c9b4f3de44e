// The connection to the gateway: its protocol, version 3, over one WebSocket that is opened again whenever it ends.
// It keeps nothing for later: a request that was not answered fails, and whoever asked decides about asking again.

const PROTOCOL = 3;
/** Before the first and the second new try, and at most, milliseconds. */
const PAUSE = { first: 300, most: 10_000 };
/** A request that takes longer counts as lost, milliseconds. */
const PATIENCE = 60_000;

/** Why a request failed. */
export class Failure extends Error {
  constructor({ message, retryable = false, retryAfterMs = 0 }, isLost = false) {
    super(message);
    /** Nobody knows whether it was done. */
    this.isLost = isLost;
    /** Trying again may help. */
    this.isRetryable = retryable || isLost;
    this.retryAfter = retryAfterMs;
  }
}

const lost = () => new Failure({ message: "The connection was lost." }, true);

export class Gateway {
  #socket = null;
  #waiting = new Map();
  #next = 1;
  #pause = PAUSE.first;
  #timer = 0;
  #alarm = 0;
  #largest = 512 * 1024;
  #tick = 30_000;
  #told;

  /** `told.state(word, detail)` gets `connecting`, `open` with the greeting, `lost`, or `signed-out`; `told.event(name,
   *  payload)` gets what the gateway tells by itself. */
  constructor(told) {
    this.#told = told;
    // A phone that wakes up, or a network that comes back, need not wait for the pause to end.
    addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.#hurry());
  }

  open() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#told.state("connecting");
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
    this.#socket = socket;
    socket.addEventListener("message", ({ data }) => this.#read(socket, data));
    socket.addEventListener("close", () => this.#ended(socket));
    this.#watch(socket);
  }

  /** Asks for something. Rejects with a `Failure`. */
  request(method, params) {
    const id = String(this.#next++);
    const frame = JSON.stringify({ type: "req", id, method, params });
    if (this.#socket?.readyState !== WebSocket.OPEN) return Promise.reject(lost());
    if (new TextEncoder().encode(frame).length > this.#largest) {
      return Promise.reject(new Failure({ message: "This is too long to be sent as one message." }));
    }
    return new Promise((resolve, reject) => {
      const socket = this.#socket;
      const timer = setTimeout(() => this.#giveUp(socket), PATIENCE);
      this.#waiting.set(id, { resolve, reject, timer });
      socket.send(frame);
    });
  }

  #read(socket, data) {
    if (socket !== this.#socket) return;
    this.#watch(socket);
    const frame = JSON.parse(data);
    if (frame.type === "event") {
      if (frame.event === "connect.challenge") this.#greet();
      else this.#told.event(frame.event, frame.payload);
      return;
    }
    const waiting = this.#waiting.get(frame.id);
    if (!waiting) return;
    this.#waiting.delete(frame.id);
    clearTimeout(waiting.timer);
    if (frame.ok) waiting.resolve(frame.payload);
    else waiting.reject(new Failure(frame.error));
  }

  async #greet() {
    const client = { id: "webchat-ui", version: "1", platform: "web", mode: "webchat" };
    try {
      const hello = await this.request("connect", { minProtocol: PROTOCOL, maxProtocol: PROTOCOL, client });
      this.#largest = hello.policy.maxPayload;
      this.#tick = hello.policy.tickIntervalMs;
      this.#pause = PAUSE.first;
      this.#told.state("open", hello);
    } catch (failure) {
      if (failure.isRetryable) {
        this.#pause = Math.max(this.#pause, failure.retryAfter);
        return;
      }
      const socket = this.#socket;
      this.#socket = null;
      socket.close();
      this.#told.state("signed-out", failure.message);
    }
  }

  #ended(socket) {
    if (socket !== this.#socket) return;
    this.#socket = null;
    clearTimeout(this.#alarm);
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(lost());
    }
    this.#waiting.clear();
    // Not all browsers at the same instant after a restart.
    const pause = this.#pause * (0.75 + Math.random() / 2);
    this.#pause = Math.min(this.#pause * 2, PAUSE.most);
    this.#timer = setTimeout(() => this.open(), pause);
    this.#told.state("lost");
  }

  #hurry() {
    if (this.#timer) this.open();
  }

  /** A line that says nothing for longer than two ticks is dead, even if nobody has noticed. */
  #watch(socket) {
    clearTimeout(this.#alarm);
    this.#alarm = setTimeout(() => this.#giveUp(socket), 2.5 * this.#tick);
  }

  /** A browser may take minutes to tell that a network has gone. */
  #giveUp(socket) {
    socket.close();
    this.#ended(socket);
  }
}
