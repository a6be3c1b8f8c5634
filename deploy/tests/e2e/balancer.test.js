// Two nodes behind a load balancer that knows nothing of us: plain round robin, no sticky sessions.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Balancer } from './support/balancer.js';
import { Client } from './support/client.js';
import { Follower } from './support/follower.js';
import { eventually } from './support/poll.js';
import { World } from './support/world.js';

describe('behind HAProxy', () => {
  let world;
  let balancer;
  before(async () => {
    world = await World.cluster({ environment: { SWITCHBOARD_DRAIN_DELAY: '1s' } });
    balancer = await Balancer.start(world.nodes);
  });
  after(async () => {
    await balancer?.stop();
    await world?.stop();
  });

  it('clients spread over the nodes, and a message reaches them all', async () => {
    const clients = await Promise.all(
      Array.from({ length: 6 }, (_, n) => Client.as(`spread-${n}`, balancer.socket)),
    );
    const nodes = await Promise.all(clients.map(async (client) => (await client.next('welcome')).node));
    assert.equal(new Set(nodes).size, 2);
    await Promise.all(clients.map((client) => client.join('spread')));
    const [{ position }] = await world.publish({ room: 'spread' }, 'hello');
    for (const client of clients) assert.equal((await client.next('message')).position, position);
    await Promise.all(clients.map((client) => client.close()));
  });

  it('a node that stops is left without a failed handshake, and nothing is missed', async (t) => {
    const followers = await Promise.all(
      Array.from({ length: 6 }, (_, n) => Follower.start(`user-${n}`, 'lobby', () => balancer.socket)),
    );
    t.after(() => followers.forEach((follower) => follower.stop()));
    const [leaving] = world.nodes;
    leaving.process.signal('SIGTERM');
    let published = 0;
    while (!leaving.process.ended) {
      await world.publish({ room: 'lobby' }, (published += 1));
      const visitor = await Client.as('visitor', balancer.socket);
      visitor.terminate();
    }
    assert.deepEqual(leaving.process.ended, { code: 0, signal: null });
    await world.publish({ room: 'lobby' }, 'end');
    for (const follower of followers) {
      await follower.sees('end');
      assert.deepEqual(follower.seen, [...Array.from({ length: published }, (_, n) => n + 1), 'end']);
      assert.deepEqual(follower.gaps, []);
    }
    assert.ok(followers.some(({ ends }) => ends.length > 0), 'some were on the node that stopped');
  });
});
