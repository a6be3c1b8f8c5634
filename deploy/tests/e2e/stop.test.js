// A process that is told to stop leaves in good order.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Follower } from './support/follower.js';
import { eventually } from './support/poll.js';
import { WORLDS, World } from './support/world.js';

// Long enough to look at each phase.
const SLOWLY = { SWITCHBOARD_DRAIN_DELAY: '2s', SWITCHBOARD_GATEWAY_RECONNECT_WINDOW: '800ms' };

for (const [name, start] of WORLDS) {
  describe(`with ${name}`, () => {
    it('SIGTERM: unready at once, clients are told and closed one after the other, exit code 0', async (t) => {
      const world = await start({ environment: SLOWLY });
      t.after(() => world.stop());
      const [node] = world.nodes;
      const clients = await Promise.all(Array.from({ length: 10 }, (_, n) => node.connect(`user-${n}`)));
      node.process.signal('SIGTERM');

      const unready = await eventually('/readyz says no', async () => {
        const response = await node.get('/readyz');
        return response.status === 503 && response.json();
      });
      assert.equal(unready.reason, 'leaving');
      // Load balancers have not noticed yet: whoever comes is served, and nobody is sent away.
      assert.equal((await node.get('/livez')).status, 200);
      const late = await node.connect('late');
      assert.equal((await late.join('lobby')).type, 'joined');

      const advice = [];
      for (const client of [...clients, late]) {
        const { reconnectAfter } = await client.next('draining');
        assert.ok(reconnectAfter >= 0 && reconnectAfter <= 800, `${reconnectAfter}`);
        advice.push(reconnectAfter);
        assert.equal((await client.closed()).code, 1012);
      }
      assert.ok(new Set(advice).size > 1, 'not all are told to come back at the same moment');
      assert.deepEqual(await node.process.exit(), { code: 0, signal: null });
    });
  });
}

for (const [name, start] of WORLDS.slice(0, 2)) {
  describe(`with ${name}`, () => {
    it('a rolling restart loses nothing', async (t) => {
      const world = await start();
      t.after(() => world.stop());
      // Clients find those nodes that serve, as behind a load balancer.
      let turn = 0;
      const serving = [...world.nodes];
      const choose = () => serving[(turn += 1) % serving.length].socket;
      const followers = await Promise.all(
        Array.from({ length: 10 }, (_, n) => Follower.start(`user-${n}`, 'lobby', choose)),
      );
      t.after(() => followers.forEach((follower) => follower.stop()));

      let published = 0;
      for (const old of [...world.nodes]) {
        const fresh = await world.startNode();
        serving.push(fresh);
        serving.splice(serving.indexOf(old), 1);
        // Where the nodes publish too, the one that stays does.
        if (world.fanout === old) world.fanout = fresh;
        old.process.signal('SIGTERM');
        while (!old.process.ended) await world.publish({ room: 'lobby' }, (published += 1));
        assert.deepEqual(old.process.ended, { code: 0, signal: null });
      }
      await world.publish({ room: 'lobby' }, 'end');
      const expected = [...Array.from({ length: published }, (_, n) => n + 1), 'end'];
      for (const follower of followers) {
        await follower.sees('end');
        assert.deepEqual(follower.seen, expected);
        assert.deepEqual(follower.gaps, []);
        const codes = follower.ends.map(({ code }) => code);
        assert.ok(codes.length > 0 && codes.every((code) => code === 1012), `${codes}`);
      }
    });
  });
}

describe('a fanout', () => {
  it('publishes what it confirms, and nothing else, while it stops', async (t) => {
    const world = await World.cluster();
    t.after(() => world.stop());
    const ann = await world.nodes[0].connect('ann');
    world.fanout.process.signal('SIGTERM');
    const confirmed = [];
    const others = new Set();
    for (let n = 1; !world.fanout.process.ended; n += 1) {
      // A connection that comes too late is refused or reset; nothing is answered by halves.
      const status = await world.fanout.publish({ room: 'lobby' }, n).then((answer) => answer.status, () => 'no answer');
      if (status === 200) confirmed.push(n);
      else others.add(status);
    }
    assert.ok(confirmed.length > 0, 'who comes while it leaves is served');
    assert.deepEqual([...others], ['no answer']);
    const stored = [];
    for (let page = { more: true }; page.more; stored.push(...page.messages.map(({ data }) => data))) {
      page = await ann.ask({ type: 'history', room: 'lobby', since: page.position });
    }
    assert.deepEqual(stored, confirmed);
    assert.deepEqual(await world.fanout.process.exit(), { code: 0, signal: null });
  });
});
