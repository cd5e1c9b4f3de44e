// The whole product in a scratch home: `clawdbot up` from CLAWDBOT_BIN_DIR, with one provider of the test's own. Its
// programs refuse to work as root, so root lends them the uid of nobody.

import { execFile, spawn } from "node:child_process";
import { chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import readline from "node:readline";
import { promisify } from "node:util";

const NOBODY = 65534;
const root = process.getuid() === 0;
const programs = process.env.CLAWDBOT_BIN_DIR;

export class Product {
  #child;
  #home = mkdtempSync(path.join(os.tmpdir(), "clawdbot-web-"));
  #processes = new Map();
  #waiting = [];
  #options;

  /** Starts and waits until everything is up. `configuration` is the file's content. */
  async up(configuration) {
    if (!programs) throw new Error("CLAWDBOT_BIN_DIR must name the folder of the built programs");
    const state = path.join(this.#home, ".clawdbot");
    mkdirSync(state, { mode: 0o700 });
    const port = await freePort();
    const file = path.join(state, "clawdbot.json");
    writeFileSync(file, JSON.stringify({ ...configuration, gateway: { port } }), { mode: 0o600 });
    if (root) for (const place of [this.#home, state, file]) chownSync(place, NOBODY, NOBODY);
    this.#options = {
      cwd: this.#home,
      env: { PATH: "/usr/bin:/bin", HOME: this.#home, TMPDIR: this.#home },
      ...(root && { uid: NOBODY, gid: NOBODY }),
    };
    this.#child = spawn(path.join(programs, "clawdbot"), ["up", "--json"],
      { ...this.#options, stdio: ["ignore", "pipe", "inherit"] });
    readline.createInterface({ input: this.#child.stdout }).on("line", (line) => this.#note(JSON.parse(line)));
    const ready = await this.#event((event) => event.event === "ready");
    for (const { role, pid } of ready.processes) this.#processes.set(role, pid);
    this.url = `http://127.0.0.1:${port}`;
    return this;
  }

  #note(event) {
    if (event.event === "process" && event.state === "ready") this.#processes.set(event.role, event.pid);
    this.#waiting = this.#waiting.filter(({ wanted, resolve }) => !(wanted(event) && (resolve(event), true)));
  }

  #event(wanted) {
    return new Promise((resolve) => this.#waiting.push({ wanted, resolve }));
  }

  async #run(...words) {
    const run = promisify(execFile)(path.join(programs, "clawdbot"), [...words, "--json"], this.#options);
    const { stdout } = await run.catch((error) => { throw new Error(`clawdbot ${words.join(" ")}: ${error.stdout}${error.stderr}`); });
    return JSON.parse(stdout);
  }

  /** A one-time link. */
  async link() {
    return (await this.#run("open")).url;
  }

  /** The token of the front door. */
  async token() {
    return (await this.#run("token")).token;
  }

  /** Kills a process at once; resolves when its successor works. */
  async kill(role) {
    const back = this.#event((event) => event.event === "process" && event.role === role && event.state === "ready");
    process.kill(this.#processes.get(role), "SIGKILL");
    await back;
  }

  async down() {
    if (this.#child && this.#child.exitCode === null) {
      const ended = new Promise((resolve) => this.#child.on("exit", resolve));
      this.#child.kill("SIGTERM");
      await ended;
    }
    rmSync(this.#home, { recursive: true, force: true });
  }
}

// Below those that the kernel gives to connections: one of those may be taken before the product listens.
function freePort() {
  return new Promise((resolve) => {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const server = net.createServer();
    server.once("error", () => resolve(freePort()));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(port)));
  });
}
