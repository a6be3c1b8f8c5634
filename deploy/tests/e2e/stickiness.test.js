// Clients of Socket.IO behind a load balancer that sends each of their requests to another node than the one before.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import path from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { Balancer } from './support/balancer.js';
import { eventually } from './support/poll.js';
import { SocketClient, WAYS, disconnectAll } from './support/socketio.js';
import { sign } from './support/token.js';
import { World } from './support/world.js';

const EXAMPLE = path.resolve(import.meta.dirname, '../../examples/chat.toml');
const COUNT = 20;

describe('Socket.IO behind HAProxy, round robin', () => {
  let world;
  let balancer;
  before(async () => {
    world = await World.cluster({ environment: { SWITCHBOARD_CONFIG: EXAMPLE } });
    balancer = await Balancer.start(world.nodes);
  });
  after(async () => {
    await balancer?.stop();
    await world?.stop();
  });
  afterEach(disconnectAll);

  const auth = (user) => ({ token: sign({ sub: user, rooms: ['*'] }) });

  for (const [way, transports] of WAYS) {
    it(`${way}, clients talk to each other and none loses its session`, async () => {
      const conversationId = randomUUID();
      const clients = await Promise.all(
        Array.from({ length: COUNT }, async (_, n) => {
          const client = await SocketClient.connected(balancer.url, { transports, auth: auth(`u${n}`) });
          await client.upgraded();
          await client.ask('conversation:join', { conversationId });
          return client;
        }),
      );
      await Promise.all(
        clients.map((client, n) => client.ask('message:send', { conversationId, text: `t${n}`, messageId: `m${n}` })),
      );
      const texts = (client) => client.events.filter(([name]) => name === 'message:new').map(([, { text }]) => text);
      const expected = Array.from({ length: COUNT }, (_, n) => `t${n}`).sort();
      for (const client of clients) {
        await eventually('has all', () => texts(client).length >= COUNT);
        assert.deepEqual(texts(client).sort(), expected);
        assert.deepEqual([client.connects, client.ends], [1, []]);
      }
    });
  }

  it('a session that is not there is not found anywhere, and a node that is gone is not waited for', async () => {
    const gone = await world.startNode();
    const opened = await fetch(`${gone.url}/socket.io/?EIO=4&transport=polling`);
    const { sid } = JSON.parse((await opened.text()).slice(1));
    const [, tag] = sid.split('.');
    assert.ok(tag, 'the session names its node');
    const ask = (id) => fetch(`${world.nodes[0].url}/socket.io/?EIO=4&transport=polling&sid=${id}`);
    // Through another node the session is there: what waits is the answer to nothing yet.
    const post = await fetch(`${world.nodes[0].url}/socket.io/?EIO=4&transport=polling&sid=${sid}`, {
      method: 'POST',
      body: '40',
    });
    assert.equal(await post.text(), 'ok');
    assert.match(await (await ask(sid)).text(), /^40\{/);
    for (const id of [`${'0'.repeat(32)}.${tag}`, `${sid.split('.')[0]}.${'0'.repeat(16)}`, `${sid}.x`, 'x.y']) {
      const refused = await ask(id);
      assert.deepEqual([refused.status, (await refused.json()).code], [400, 1], id);
    }
    await gone.process.kill();
    assert.equal((await ask(sid)).status, 400);
  });
});
