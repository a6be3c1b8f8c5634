// What a test runs against: nodes that clients connect to, and a place to publish.

import { Client, closeAll } from './client.js';
import { Process } from './process.js';
import { Redis } from './redis.js';
import { SECRET, backendToken } from './token.js';

// Enough to see clients being shown out one after the other, and soon over.
const QUICK_DRAIN = ['--drain-delay', '300ms', '--drain-time', '1s'];

// One of our programs, serving.
export class Server {
  static async start(program, args = [], environment = {}) {
    const server = new Server();
    server.program = program;
    const always = ['--listen', '127.0.0.1:0', '--log-format', 'json', ...QUICK_DRAIN];
    server.process = new Process(program, [...always, ...args], { JWT_SECRET: SECRET, ...environment });
    [, server.address] = await server.process.line(/"address":"([^"]+)"/);
    return server;
  }

  get url() {
    return `http://${this.address}`;
  }

  get socket() {
    return `ws://${this.address}/ws`;
  }

  // A connection of this user, authenticated.
  connect(user, claims) {
    return Client.as(user, this.socket, claims);
  }

  get(path) {
    return fetch(this.url + path, { signal: AbortSignal.timeout(10_000) });
  }

  async publish(to, data, rest = {}) {
    const response = await fetch(`${this.url}/v1/publish`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${backendToken()}` },
      body: JSON.stringify({ to, event: 'test', data, ...rest }),
      signal: AbortSignal.timeout(10_000),
    });
    return { status: response.status, headers: response.headers, body: await response.json() };
  }
}

// The nodes that clients connect to are `nodes`; `fanout` publishes.
export class World {
  #servers = [];

  // The product as a cluster: two gateways and a fanout, which meet in a Redis.
  static async cluster({ environment, args = [] } = {}) {
    const world = new World();
    world.redis = await Redis.start();
    const start = (program, extra = []) =>
      world.start(program, ['--redis', world.redis.url, ...args, ...extra], environment);
    world.startNode = () => start('gateway');
    [world.fanout, ...world.nodes] = await Promise.all([start('fanout'), start('gateway'), start('gateway')]);
    return world;
  }

  // The same, where every node is everything.
  static async pair({ environment, args = [] } = {}) {
    const world = new World();
    world.redis = await Redis.start();
    world.startNode = () => world.start('standalone', ['--redis', world.redis.url, ...args], environment);
    world.nodes = await Promise.all([world.startNode(), world.startNode()]);
    [, world.fanout] = world.nodes;
    return world;
  }

  // All in one process, without Redis. Both nodes are the same one.
  static async single({ environment, args = [] } = {}) {
    const world = new World();
    const server = await world.start('standalone', args, environment);
    world.nodes = [server, server];
    world.fanout = server;
    return world;
  }

  async start(program, args, environment) {
    const server = await Server.start(program, args, environment);
    this.#servers.push(server);
    return server;
  }

  // All that any process wrote.
  get output() {
    return this.#servers.map((server) => server.process.output).join('\n');
  }

  // Publishes and makes sure that it was taken.
  async publish(to, data, rest) {
    const answer = await this.fanout.publish(to, data, rest);
    if (answer.status !== 200) throw new Error(`not published: ${JSON.stringify(answer)}`);
    return answer.body.results;
  }

  async stop() {
    closeAll();
    await Promise.all(this.#servers.map((server) => server.process.kill()));
    await this.redis?.stop();
  }
}

// The ways to run the product; what a client sees is the same in each.
export const WORLDS = [
  ['two gateways and a fanout', World.cluster],
  ['two nodes that are everything', World.pair],
  ['one process with the broker in memory', World.single],
];
