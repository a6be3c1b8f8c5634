// Clients of applications that bring their own frames, and the example configurations that serve them.

import path from 'node:path';
import WebSocket from 'ws';
import { PATIENCE, eventually, within } from './poll.js';

const EXAMPLES = path.resolve(import.meta.dirname, '../../../examples');

export const example = (name) => path.join(EXAMPLES, `${name}.toml`);

const open = new Set();

// Ends the connections that tests left open.
export function hangUp() {
  open.forEach((socket) => socket.abandon());
}

// A WebSocket whose frames wait until they are asked for.
export class Socket {
  frames = [];
  pings = 0;
  #socket;
  whenClosed;

  static async open(url, options = {}) {
    const self = new Socket();
    self.#socket = new WebSocket(url, { perMessageDeflate: false, ...options });
    self.#socket.on('message', (text) => self.frames.push(JSON.parse(text)));
    self.#socket.on('ping', () => (self.pings += 1));
    self.whenClosed = new Promise((resolve) => {
      self.#socket.on('close', (code, reason) => {
        open.delete(self);
        self.ended = { code, reason: reason.toString() };
        resolve(self.ended);
      });
    });
    open.add(self);
    await within(`a connection to ${new URL(url).host}`, new Promise((resolve, reject) => {
      self.#socket.on('open', resolve);
      self.#socket.on('error', reject);
    }));
    return self;
  }

  send(frame) {
    this.raw(JSON.stringify(frame));
  }

  raw(data) {
    this.#socket.send(data);
  }

  // Takes the oldest frame that fits, waiting for it if need be.
  async next(what, fits, patience = PATIENCE) {
    let found;
    const look = () => {
      const at = this.frames.findIndex(fits);
      if (at >= 0) [found] = this.frames.splice(at, 1);
      return at >= 0;
    };
    try {
      await eventually(what, look, patience);
    } catch (error) {
      throw new Error(`${error.message}; there are ${JSON.stringify(this.frames)}, ended: ${JSON.stringify(this.ended)}`);
    }
    return found;
  }

  closed(patience = PATIENCE) {
    return within('the server closes', this.whenClosed, patience);
  }

  async close() {
    this.#socket.close(1000);
    await this.closed();
  }

  // Without a goodbye.
  abandon() {
    this.#socket.terminate();
  }
}
