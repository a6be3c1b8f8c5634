// The client of Socket.IO, unmodified, with every event that it got kept until a test asks for it.

import { io } from 'socket.io-client';
import { eventually, within } from './poll.js';

const open = new Set();

// Disconnects what tests left connected.
export function disconnectAll() {
  open.forEach((client) => client.socket.disconnect());
  open.clear();
}

// The ways in which clients come: each test runs with all of them.
export const WAYS = [
  ['over WebSocket', ['websocket']],
  ['by polling', ['polling']],
  ['by polling and then WebSocket', ['polling', 'websocket']],
];

export class SocketClient {
  events = [];
  // Why the connection ended, each time, and why it was not made.
  ends = [];
  errors = [];
  connects = 0;

  constructor(url, options = {}) {
    this.socket = io(url, { forceNew: true, reconnectionDelay: 100, reconnectionDelayMax: 300, ...options });
    open.add(this);
    this.socket.onAny((...event) => this.events.push(event));
    this.socket.on('disconnect', (reason) => this.ends.push(reason));
    this.socket.on('connect_error', (error) => this.errors.push(error));
    this.socket.on('connect', () => (this.connects += 1));
  }

  // Opens a connection and waits until it is there.
  static async connected(url, options) {
    const client = new SocketClient(url, options);
    await eventually(`connected to ${url}`, () => {
      if (!client.socket.connected && client.errors.length > 0) throw client.errors.at(-1);
      return client.socket.connected;
    });
    return client;
  }

  // The transport in use.
  get transport() {
    return this.socket.io.engine.transport.name;
  }

  // Waits until the transport is the last one of those that it was to use.
  async upgraded() {
    const last = this.socket.io.opts.transports.at(-1);
    await eventually(`on ${last}`, () => this.transport === last);
    return this;
  }

  // Removes the oldest event of this name, waiting for it if need be: its first argument.
  async next(name, test = () => true) {
    let found;
    await eventually(`an event ${name} among ${JSON.stringify(this.events)}`, () => {
      const index = this.events.findIndex(([event, data]) => event === name && test(data));
      if (index < 0) return false;
      [found] = this.events.splice(index, 1);
      return true;
    });
    return found[1];
  }

  // Sends an event and waits for its acknowledgement.
  ask(event, data) {
    return within(`an acknowledgement of ${event}`, this.socket.emitWithAck(event, data));
  }

  // Takes nothing more that the server sends, until the function that it answers is called.
  pause() {
    const { transport } = this.socket.io.engine;
    if (transport.name === 'websocket') {
      const wire = transport.ws._socket;
      wire.pause();
      return () => wire.resume();
    }
    // The request that waits is still answered; the next one is held back.
    let isHeld = false;
    transport.doPoll = () => (isHeld = true);
    return () => {
      delete transport.doPoll;
      if (isHeld) transport.doPoll();
    };
  }

  emit(...event) {
    this.socket.emit(...event);
  }

  // Waits for a refusal: its message.
  async refused() {
    await eventually('refused', () => this.errors.length > 0);
    return this.errors.shift().message;
  }

  async ended() {
    await eventually('disconnected', () => this.ends.length > 0);
    return this.ends.shift();
  }
}
