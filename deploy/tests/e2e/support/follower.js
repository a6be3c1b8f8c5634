// A client as an application writes it: it follows a room, and comes back to where it was when its connection ends.

import { Client } from './client.js';
import { PATIENCE, eventually } from './poll.js';

export class Follower {
  // The data of the messages and the `gap` frames, in the order in which they came.
  seen = [];
  gaps = [];
  // How each connection ended, and the node that each was to.
  ends = [];
  nodes = [];
  #user;
  #room;
  #choose;
  #position;
  #client;
  #stopped = false;

  // `choose` tells where to connect, each time anew.
  static async start(user, room, choose) {
    const follower = new Follower();
    follower.#user = user;
    follower.#room = room;
    follower.#choose = choose;
    await follower.#connect();
    return follower;
  }

  get client() {
    return this.#client;
  }

  stop() {
    this.#stopped = true;
    this.#client.terminate();
  }

  // Waits until it has seen this.
  async sees(data, patience = PATIENCE) {
    await eventually(`${this.#user} sees ${data}`, () => this.seen.includes(data), patience);
  }

  async #connect() {
    const client = await Client.as(this.#user, this.#choose());
    this.nodes.push((await client.next('welcome')).node);
    const joined = await client.join(this.#room, this.#position);
    // Joined with a position, what was missed comes after this, and the place is still the old one.
    this.#position = joined.position;
    this.#client = client;
    client.listen((frame) => this.#take(frame));
    client.whenClosed.then((end) => {
      this.ends.push(end);
      if (!this.#stopped) return this.#comeBack();
    });
  }

  // Nothing is thrown here: a follower that does not come back fails the test by what it does not see.
  async #comeBack() {
    const attempt = () => this.#stopped || this.#connect().then(() => true);
    await eventually('back again', attempt).catch(() => {});
  }

  #take(frame) {
    if (frame.channel !== `room:${this.#room}`) return;
    if (frame.type === 'message') this.seen.push(frame.data);
    if (frame.type === 'gap') this.gaps.push(frame);
    this.#position = frame.position;
  }
}
