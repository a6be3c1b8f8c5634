// A Redis of one's own.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Process, freePort } from './process.js';

export class Redis {
  #home;
  #port;
  #process;

  static async start() {
    const redis = new Redis();
    redis.#home = await mkdtemp(path.join(tmpdir(), 'switchboard-redis-'));
    redis.#port = await freePort();
    await redis.restart();
    return redis;
  }

  get url() {
    return `redis://127.0.0.1:${this.#port}`;
  }

  get output() {
    return this.#process.output;
  }

  // Starts it again, with what it had acknowledged: a killed process loses nothing that it had written. It writes before it
  // answers, unless it waits for the disk (`appendfsync everysec`), which matters only to a machine that fails.
  async restart() {
    const options = { bind: '127.0.0.1', port: this.#port, dir: this.#home, appendonly: 'yes', appendfsync: 'no', save: '' };
    const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
    this.#process = new Process('redis-server', args);
    await this.#process.line(/Ready to accept connections/);
  }

  async kill() {
    await this.#process.kill();
  }

  async stop() {
    await this.kill();
    await rm(this.#home, { recursive: true, force: true });
  }
}
