// A backend that takes what is delivered to it, and can be down.

import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Process, freePort } from './process.js';

const PROGRAM = path.join(import.meta.dirname, 'webhook-server.js');

export class Backend {
  secret = `whsec_${randomBytes(24).toString('base64')}`;
  #home;
  #port;
  #process;

  static async create() {
    const backend = new Backend();
    backend.#home = await mkdtemp(path.join(tmpdir(), 'switchboard-backend-'));
    backend.#port = await freePort();
    return backend;
  }

  // The environment of a world whose rooms are delivered here; `table` is added to that of the outbox, `channel` to that
  // of the rooms.
  async environment(table = '', channel = '') {
    const file = path.join(this.#home, 'switchboard.toml');
    const text = `
[[channels]]
match = "room:*"
outbox = true
outbox_presence = true
${channel}

[[channels]]
match = "user:*"
presence = true
outbox_presence = true

[[outbox]]
match = "*"
name = "backend"
url = "http://127.0.0.1:${this.#port}/hook"
allow_private = true
secret = { env = "OUTBOX_SECRET" }
timeout = "5s"
first_rest = "50ms"
longest_rest = "500ms"
${table}
`;
    await writeFile(file, text);
    return { SWITCHBOARD_CONFIG: file, OUTBOX_SECRET: this.secret };
  }

  async start() {
    const { port, file } = { port: String(this.#port), file: path.join(this.#home, 'received') };
    this.#process = new Process(process.execPath, [PROGRAM, port, file], { SECRET: this.secret });
    await this.#process.line(/listening/);
  }

  // Whether it refuses the message `poison` for good.
  async strict(is) {
    const file = path.join(this.#home, 'received.strict');
    await (is ? writeFile(file, '') : rm(file, { force: true }));
  }

  async kill() {
    await this.#process?.kill();
  }

  // All that it was ever sent, in the order in which it came: `{ id, path, body }`, or `error` where the signature was
  // wrong. A line that was being written when it was killed was not confirmed, and does not count.
  get received() {
    const file = path.join(this.#home, 'received');
    if (!existsSync(file)) return [];
    return readFileSync(file, 'utf8').split('\n').flatMap((line) => {
      try {
        return [JSON.parse(line)];
      } catch {
        return [];
      }
    });
  }

  // The data of what was published in each channel, each message once, as it came first.
  get told() {
    const [seen, told] = [new Set(), {}];
    for (const { id, body } of this.received) {
      if (body?.type !== 'message.published' || seen.has(id)) continue;
      seen.add(id);
      (told[body.data.channel] ??= []).push(body.data.data);
    }
    return told;
  }

  // Who came and went, each change once, as it came first: `room.occupied room:a ann`.
  get changes() {
    const changes = new Map();
    for (const { id, body } of this.received) {
      if (body && body.type !== 'message.published' && !changes.has(id)) {
        changes.set(id, `${body.type} ${body.data.channel} ${body.data.user.user}`);
      }
    }
    return [...changes.values()];
  }

  async stop() {
    await this.kill();
    await rm(this.#home, { recursive: true, force: true });
  }
}
