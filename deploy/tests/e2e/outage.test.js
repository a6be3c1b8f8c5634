// Redis goes away and comes back: clients stay, publishing fails clearly and soon, and then everything catches up.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Follower } from './support/follower.js';
import { eventually } from './support/poll.js';
import { WORLDS } from './support/world.js';

for (const [name, start] of WORLDS.slice(0, 2)) {
  describe(`with ${name}`, () => {
    it('an outage of Redis is told, survived and made up for', async (t) => {
      const world = await start();
      t.after(() => world.stop());
      const [ann, bob] = await Promise.all(
        world.nodes.map((node, n) => Follower.start(`user-${n}`, 'lobby', () => node.socket)),
      );
      const clients = [ann, bob];
      t.after(() => clients.forEach((follower) => follower.stop()));
      await world.publish({ room: 'lobby' }, 'before', { id: 'm-before' });
      await Promise.all(clients.map((follower) => follower.sees('before')));

      await world.redis.kill();
      for (let attempt = 0; attempt < 5; attempt += 1) {
        const began = performance.now();
        const { status, headers, body } = await world.fanout.publish({ room: 'lobby' }, 'meanwhile', { id: 'm-1' });
        const took = performance.now() - began;
        assert.equal(status, 503);
        assert.equal(headers.get('content-type'), 'application/problem+json');
        assert.equal(body.code, 'unavailable');
        assert.ok(headers.get('retry-after'), 'tells when to try again');
        // Within a second, and what a slow machine adds.
        assert.ok(took < 1500, `${took} ms are not soon`);
      }
      for (const server of new Set([...world.nodes, world.fanout])) {
        // An outage that all share is no reason to restart a process, or to send clients from one to another.
        assert.equal((await server.get('/livez')).status, 200);
        assert.equal((await server.get('/readyz')).status, 200);
        await eventually('/health tells', async () => (await server.get('/health')).status === 503);
      }

      await world.redis.restart();
      await eventually('a message is taken again', async () => {
        const { status, body } = await world.fanout.publish({ room: 'lobby' }, 'meanwhile', { id: 'm-1' });
        return status === 200 && body;
      });
      const [again] = await world.publish({ room: 'lobby' }, 'before', { id: 'm-before' });
      assert.equal(again.duplicate, true);
      await world.publish({ room: 'lobby' }, 'after');
      for (const follower of clients) {
        await follower.sees('after');
        assert.deepEqual(follower.seen, ['before', 'meanwhile', 'after']);
        assert.deepEqual([follower.gaps, follower.ends], [[], []], 'nothing is lost, and nobody was disconnected');
      }
      for (const server of new Set([...world.nodes, world.fanout])) {
        await eventually('/health tells', async () => (await server.get('/health')).status === 200);
      }
    });

    it('clients are told what cannot be done meanwhile, and may come and go', async (t) => {
      const world = await start();
      t.after(() => world.stop());
      const ann = await world.nodes[0].connect('ann');
      await ann.join('lobby');
      await world.redis.kill();
      for (const request of [
        { type: 'publish', room: 'lobby', event: 'chat', data: 1 },
        { type: 'history', room: 'lobby' },
        { type: 'join', room: 'other' },
      ]) {
        const { type, code, retryable } = await ann.ask(request);
        assert.deepEqual({ type, code, retryable }, { type: 'error', code: 'unavailable', retryable: true });
      }
      assert.equal((await ann.ask({ type: 'ping' })).type, 'pong');
      // Who comes now cannot be promised anything, and is told to try again.
      const bob = await world.nodes[0].connect('bob').catch((error) => error);
      assert.ok(bob instanceof Error && /"code":1013/.test(bob.message), String(bob));

      await world.redis.restart();
      await eventually('ann publishes again', async () => {
        const answer = await ann.ask({ type: 'publish', room: 'lobby', event: 'chat', data: 2 });
        return answer.type === 'published';
      });
      const late = await eventually('bob may come', () => world.nodes[0].connect('bob'));
      assert.equal((await late.join('lobby')).type, 'joined');
    });
  });
}
