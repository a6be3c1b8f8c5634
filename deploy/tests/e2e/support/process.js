// Programs as child processes, which never outlive the test that started them.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import path from 'node:path';
import { PATIENCE, within } from './poll.js';

const ROOT = path.resolve(import.meta.dirname, '../../../..');

// Where cargo puts the programs; `PROFILE=release` tries those of a release build.
const BUILT = path.join(ROOT, 'target', process.env.PROFILE ?? 'debug');

const running = new Set();

// However the test ends, what it started ends with it.
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(1));

export class Process {
  #child;
  #exited;
  #lines = [];
  #waiting = new Set();

  // Starts a program, ours by its name or any other by its path. It sees the given environment and nothing else of
  // the one the tests run in, so that no developer's settings change what is tested.
  constructor(program, args, environment = {}) {
    this.name = path.basename(program);
    const file = OURS.includes(program) ? path.join(BUILT, program) : program;
    const { PATH, HOME } = process.env;
    this.#child = spawn(file, args, { env: { PATH, HOME, ...environment }, stdio: ['ignore', 'pipe', 'pipe'] });
    running.add(this.#child);
    this.#exited = new Promise((resolve) => {
      this.#child.once('error', (error) => {
        running.delete(this.#child);
        this.#heard(`cannot start ${file}: ${error.message}`);
        resolve({ code: null, signal: null });
      });
      this.#child.once('close', (code, signal) => {
        running.delete(this.#child);
        this.ended = { code, signal };
        this.#waiting.forEach((wake) => wake());
        resolve(this.ended);
      });
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      let rest = '';
      stream.setEncoding('utf8').on('data', (text) => {
        const lines = (rest + text).split('\n');
        rest = lines.pop();
        lines.forEach((line) => this.#heard(line));
      });
      stream.on('end', () => rest && this.#heard(rest));
    }
  }

  get pid() {
    return this.#child.pid;
  }

  // All that it wrote so far.
  get output() {
    return this.#lines.join('\n');
  }

  // Waits for a line that matches, whether written already or not, and returns the match.
  async line(pattern) {
    const find = () => {
      for (const line of this.#lines) {
        const match = pattern.exec(line);
        if (match) return match;
      }
      return null;
    };
    const found = new Promise((resolve, reject) => {
      const look = () => {
        const match = find();
        if (!match && !this.ended) return;
        this.#waiting.delete(look);
        if (match) resolve(match);
        else reject(new Error(`${this.name} ended before it wrote ${pattern}:\n${this.output}`));
      };
      this.#waiting.add(look);
      look();
    });
    return within(`${this.name} writes ${pattern}`, found);
  }

  signal(name) {
    this.#child.kill(name);
  }

  // Waits for its end: `{ code, signal }`.
  exit(patience = PATIENCE) {
    return within(`${this.name} ends`, this.#exited, patience);
  }

  async kill() {
    // One that was stopped is woken by nothing else.
    this.signal('SIGKILL');
    await this.exit();
  }

  #heard(line) {
    this.#lines.push(line);
    this.#waiting.forEach((wake) => wake());
  }
}

const OURS = ['gateway', 'fanout', 'standalone'];

// A port that was free a moment ago, for programs that cannot choose one themselves or must come back on the same.
export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}
