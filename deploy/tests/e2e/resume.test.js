// Who comes back, to any node, gets what was missed: all of it, in order, once.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Follower } from './support/follower.js';
import { eventually } from './support/poll.js';
import { WORLDS } from './support/world.js';

const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, at) => from + at);

for (const [name, start] of WORLDS) {
  describe(`with ${name}`, () => {
    it('a client resumes on the other node', async (t) => {
      const world = await start();
      t.after(() => world.stop());
      const ann = await world.nodes[0].connect('ann');
      const { position } = await ann.join('lobby');
      await world.publish({ room: 'lobby' }, 1);
      const seen = await ann.next('message');
      await ann.close();
      for (const n of numbers(2, 300)) await world.publish({ room: 'lobby' }, n);

      const back = await world.nodes[1].connect('ann');
      const joined = await back.join('lobby', seen.position);
      assert.deepEqual([joined.recovered, joined.position], [true, seen.position]);
      await world.publish({ room: 'lobby' }, 301);
      await back.next('message', ({ data }) => data === 301);
      assert.deepEqual(back.messages().map(({ data }) => data), numbers(2, 300));

      // A place that this server never gave out is told, not guessed at.
      const forged = position.replace(/^v1\.[^.]+/, 'v1.deadbeef');
      const lost = await world.nodes[0].connect('bob');
      assert.equal((await lost.join('lobby', forged)).recovered, false);
      assert.equal((await lost.next('gap')).reason, 'reset');
    });
  });
}

for (const [name, start] of WORLDS.slice(0, 2)) {
  describe(`with ${name}`, () => {
    it('a killed node costs its clients nothing but the connection', async (t) => {
      const world = await start();
      t.after(() => world.stop());
      const [doomed, other] = world.nodes;
      let alive = doomed;
      const followers = await Promise.all(
        numbers(1, 8).map((n) => Follower.start(`user-${n}`, 'lobby', () => alive.socket)),
      );
      t.after(() => followers.forEach((follower) => follower.stop()));
      for (const n of numbers(1, 50)) await world.publish({ room: 'lobby' }, n);
      await Promise.all(followers.map((follower) => follower.sees(1)));
      alive = other;
      doomed.process.signal('SIGKILL');
      for (const n of numbers(51, 400)) await world.publish({ room: 'lobby' }, n);

      await Promise.all(followers.map((follower) => follower.sees(400)));
      for (const follower of followers) {
        assert.deepEqual(follower.seen, numbers(1, 400));
        assert.deepEqual(follower.gaps, []);
        assert.equal(new Set(follower.nodes).size, 2);
      }
    });

    it('the users of a killed node leave when its lease is over', async (t) => {
      const world = await start();
      t.after(() => world.stop());
      const [doomed, other] = world.nodes;
      const ann = await doomed.connect('ann');
      const bob = await other.connect('bob');
      await ann.join('hall');
      assert.equal((await bob.join('hall')).userCount, 2);
      await doomed.process.kill();
      const present = async () => (await bob.ask({ type: 'presence', room: 'hall' })).users.map(({ user }) => user);
      await eventually('ann is gone', async () => (await present()).length === 1, 40_000);
      assert.deepEqual(await present(), ['bob']);
    });
  });
}
