// What a test runs against: nodes that clients connect to, and a place to publish.

import { Client, closeAll } from './client.js';
import { post } from './post.js';
import { Process } from './process.js';
import { Redis } from './redis.js';
import { SECRET, backendToken } from './token.js';

// What the tests do not choose themselves: a stop with all its phases, and soon over.
const OPTIONS = {
  JWT_SECRET: SECRET,
  SWITCHBOARD_LISTEN: '127.0.0.1:0',
  SWITCHBOARD_LOG_FORMAT: 'json',
  SWITCHBOARD_DRAIN_DELAY: '300ms',
  SWITCHBOARD_DRAIN_TIME: '1s',
};

// One of our programs, serving.
export class Server {
  static async start(program, environment) {
    const server = new Server();
    server.process = new Process(program, [], { ...OPTIONS, ...environment });
    try {
      [, server.address] = await server.process.line(/"address":"([^"]+)"/);
    } catch (error) {
      await server.process.kill();
      throw error;
    }
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
  static cluster(options) {
    return World.#of(options, async (world, start) => {
      world.redis = await Redis.start();
      world.startNode = () => start('gateway', world.redis);
      world.startFanout = () => start('fanout', world.redis);
      [world.fanout, ...world.nodes] = await Promise.all([
        start('fanout', world.redis),
        world.startNode(),
        world.startNode(),
      ]);
    });
  }

  // The same, where every node is everything.
  static pair(options) {
    return World.#of(options, async (world, start) => {
      world.redis = await Redis.start();
      world.startNode = () => start('standalone', world.redis);
      world.nodes = await Promise.all([world.startNode(), world.startNode()]);
      [, world.fanout] = world.nodes;
    });
  }

  // All in one process, without Redis. Both nodes are the same one.
  static single(options) {
    return World.#of(options, async (world, start) => {
      world.fanout = await start('standalone');
      world.nodes = [world.fanout, world.fanout];
    });
  }

  // `environment` holds options for all processes.
  static async #of({ environment = {} } = {}, fill) {
    const world = new World();
    const start = async (program, redis) => {
      const server = await Server.start(program, { ...environment, ...(redis && { SWITCHBOARD_REDIS: redis.url }) });
      world.#servers.push(server);
      return server;
    };
    try {
      await fill(world, start);
      return world;
    } catch (error) {
      await world.stop();
      throw error;
    }
  }

  // All that any process wrote.
  get output() {
    return this.#servers.map((server) => server.process.output).join('\n');
  }

  // Publishes and makes sure that it was taken.
  async publish(to, data, rest) {
    const response = await post(`${this.fanout.url}/v1/publish`, backendToken(), { to, event: 'test', data, ...rest });
    const answer = await response.json();
    if (response.status !== 200) throw new Error(`not published: ${JSON.stringify(answer)}`);
    return answer.results;
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
