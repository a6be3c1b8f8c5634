// A message published once reaches everyone it is for, whichever node holds the connection.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { WORLDS } from './support/world.js';

for (const [name, start] of WORLDS) {
  describe(`with ${name}`, () => {
    let world;
    before(async () => {
      world = await start();
    });
    after(() => world?.stop());

    it('a room message arrives once at its members on both nodes, and nowhere else', async () => {
      const [ann, bob] = await onBoth(world, 'ann', 'bob');
      const eve = await world.nodes[0].connect('eve');
      await ann.join('lobby');
      await bob.join('lobby');
      await eve.join('elsewhere');
      const [receipt] = await world.publish({ room: 'lobby' }, { text: 'hi', n: 1.5 });
      assert.equal(receipt.channel, 'room:lobby');
      await world.publish({ all: true }, 'end');
      for (const client of [ann, bob]) {
        await client.next('message', (message) => message.data === 'end');
        const [message, ...more] = client.messages();
        assert.deepEqual(more, []);
        const { channel, event, data, position } = message;
        assert.deepEqual(
          { channel, event, data, position },
          { channel: 'room:lobby', event: 'test', data: { text: 'hi', n: 1.5 }, position: receipt.position },
        );
      }
      await eve.next('message', (message) => message.data === 'end');
      assert.deepEqual(eve.messages(), []);
    });

    it('a user message arrives once at each session of that user on both nodes', async () => {
      const [here, there] = await onBoth(world, 'kim', 'kim');
      const other = await world.nodes[1].connect('lee');
      await world.publish({ user: 'kim' }, 'for kim');
      await world.publish({ all: true }, 'end');
      for (const client of [here, there]) {
        await client.next('message', (message) => message.data === 'end');
        const seen = client.messages().map(({ channel, data }) => ({ channel, data }));
        assert.deepEqual(seen, [{ channel: 'user:kim', data: 'for kim' }]);
      }
      await other.next('message', (message) => message.data === 'end');
      assert.deepEqual(other.messages(), []);
    });

    it('an everyone message arrives once at every client of the tenant on both nodes', async () => {
      const clients = await onBoth(world, 'may', 'ned');
      const stranger = await world.nodes[0].connect('may', { tenant: 'other' });
      await world.publish({ all: true }, 'hear, hear');
      await world.publish({ all: true }, 'end');
      for (const client of clients) {
        await client.next('message', (message) => message.data === 'end');
        const seen = client.messages().map(({ channel, data }) => ({ channel, data }));
        assert.deepEqual(seen, [{ channel: 'all', data: 'hear, hear' }]);
      }
      await stranger.ask({ type: 'ping' });
      assert.deepEqual(stranger.messages(), []);
    });

    it('what a client publishes arrives at the other node, with its sender', async () => {
      const [ann, bob] = await onBoth(world, 'ann', 'bob');
      await ann.join('talk');
      await bob.join('talk');
      const published = await ann.ask({ type: 'publish', room: 'talk', event: 'chat', data: 'hello', messageId: 'm1' });
      assert.deepEqual([published.type, published.duplicate], ['published', false]);
      const message = await bob.next('message');
      assert.deepEqual(
        [message.event, message.data, message.position, message.from.user, message.from.name],
        ['chat', 'hello', published.position, 'ann', 'ANN'],
      );
    });

    it('the same id counts once, also from the other side', async () => {
      const [ann, bob] = await onBoth(world, 'ann', 'bob');
      await ann.join('once');
      await bob.join('once');
      const [first] = await world.publish({ room: 'once' }, 1, { id: 'order-1' });
      const [again] = await world.publish({ room: 'once' }, 1, { id: 'order-1' });
      assert.deepEqual([again.duplicate, again.position], [true, first.position]);
      await world.publish({ room: 'once' }, 'end');
      for (const client of [ann, bob]) {
        await client.next('message', (message) => message.data === 'end');
        assert.deepEqual(client.messages().map((message) => message.data), [1]);
      }
    });

    it('users are counted over all nodes, once each', async () => {
      const [ann, phone] = await onBoth(world, 'ann', 'ann');
      const bob = await world.nodes[1].connect('bob');
      assert.equal((await ann.join('hall')).userCount, 1);
      assert.equal((await phone.join('hall')).userCount, 1);
      assert.equal((await bob.join('hall')).userCount, 2);
      const present = await ann.ask({ type: 'presence', room: 'hall' });
      assert.deepEqual(present.users.map(({ user }) => user).sort(), ['ann', 'bob']);
    });

    it('history is the same on both nodes', async () => {
      for (const n of [1, 2, 3]) await world.publish({ room: 'past' }, n);
      const pages = [];
      for (const client of await onBoth(world, 'ann', 'bob')) {
        const page = await client.ask({ type: 'history', room: 'past' });
        pages.push(page.messages.map(({ data, position }) => [data, position]));
      }
      assert.deepEqual(pages[0], pages[1]);
      assert.deepEqual(pages[0].map(([data]) => data), [1, 2, 3]);
    });
  });
}

// Two clients, one on each node.
function onBoth(world, first, second) {
  return Promise.all([world.nodes[0].connect(first), world.nodes[1].connect(second)]);
}
