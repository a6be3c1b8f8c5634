// A client of the native protocol that keeps every frame until a test asks for it.

import WebSocket from 'ws';
import { within } from './poll.js';
import { tokenOf } from './token.js';

const open = new Set();

// Closes the connections that tests left open.
export function closeAll() {
  open.forEach((client) => client.terminate());
}

export class Client {
  #socket;
  #inbox = [];
  #waiting = new Set();
  #requests = 0;
  #listener;
  // Resolves when the connection is gone, with its code and reason.
  whenClosed;

  // Opens a connection; resolves when the handshake is done, rejects when it was refused.
  static async open(url, { protocols = [], headers = {} } = {}) {
    const client = new Client();
    const socket = new WebSocket(url, protocols, { headers, perMessageDeflate: false });
    client.#socket = socket;
    socket.on('message', (text) => {
      const frame = JSON.parse(text);
      if (client.#listener) return client.#listener(frame);
      client.#inbox.push(frame);
      client.#wake();
    });
    client.whenClosed = new Promise((resolve) => {
      socket.on('close', (code, reason) => {
        open.delete(client);
        client.ended = { code, reason: reason.toString() };
        client.#wake();
        resolve(client.ended);
      });
    });
    open.add(client);
    await within(`a connection to ${new URL(url).host}`, new Promise((resolve, reject) => {
      socket.on('open', resolve);
      // After the handshake an error is followed by a close, which tells enough.
      socket.on('error', reject);
    }));
    return client;
  }

  // Opens a connection and waits until it is authenticated.
  static async as(user, url, claims) {
    const client = await Client.open(url, { headers: { Authorization: `Bearer ${tokenOf(user, claims)}` } });
    client.session = await client.next('auth_success');
    return client;
  }

  // The subprotocol that the server chose.
  get protocol() {
    return this.#socket.protocol;
  }

  // Removes the oldest frame of this type, or of those that also satisfy `test`, waiting for it if need be. Other
  // frames stay.
  next(type, test = () => true) {
    return this.#take(`a frame ${type}`, (frame) => frame.type === type && test(frame));
  }

  // Sends a request and waits for its answer, error or not.
  ask(request) {
    const id = ++this.#requests;
    this.send({ ...request, id });
    return this.#take(`an answer to ${request.type}`, (frame) => frame.id === id);
  }

  async join(room, since) {
    const answer = await this.ask({ type: 'join', room, since });
    if (answer.type !== 'joined') throw new Error(`not joined: ${JSON.stringify(answer)}`);
    return answer;
  }

  // The messages that came and were not asked for yet.
  messages() {
    const messages = this.#inbox.filter((frame) => frame.type === 'message');
    this.#inbox = this.#inbox.filter((frame) => frame.type !== 'message');
    return messages;
  }

  // Hands every frame, those that wait and those to come, to `take` instead of keeping it.
  listen(take) {
    this.#listener = take;
    this.#inbox.splice(0).forEach(take);
  }

  send(frame) {
    this.#socket.send(JSON.stringify(frame));
  }

  // Waits until the server closes: `{ code, reason }`.
  closed() {
    return within('the server closes', this.whenClosed);
  }

  async close() {
    this.#socket.close(1000);
    await this.closed();
  }

  terminate() {
    this.#socket.terminate();
  }

  async #take(what, test) {
    let look;
    const found = new Promise((resolve, reject) => {
      look = () => {
        const index = this.#inbox.findIndex(test);
        if (index >= 0) resolve(this.#inbox.splice(index, 1)[0]);
        else if (this.ended) reject(new Error(`closed with ${JSON.stringify(this.ended)} before ${what}`));
        else return;
        this.#waiting.delete(look);
      };
      this.#waiting.add(look);
      look();
    });
    try {
      return await within(what, found);
    } catch (error) {
      throw new Error(`${error.message}; there are ${JSON.stringify(this.#inbox)}`);
    } finally {
      this.#waiting.delete(look);
    }
  }

  #wake() {
    // A look takes its frame out, so what is left is for the others.
    [...this.#waiting].forEach((look) => look());
  }
}
