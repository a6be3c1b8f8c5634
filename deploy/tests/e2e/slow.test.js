// A client of Socket.IO that does not read for a while gets everything afterwards, in order, and holds nobody up.

import assert from 'node:assert/strict';
import path from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { eventually } from './support/poll.js';
import { SocketClient, disconnectAll } from './support/socketio.js';
import { sign } from './support/token.js';
import { World } from './support/world.js';

const EXAMPLE = path.resolve(import.meta.dirname, '../../examples/chat.toml');
const SENDERS = 6;
const EACH = 120;
// Together far more than a queue and the sockets on the way hold.
const TEXT = 'x'.repeat(25_000);

describe('a slow client', () => {
  let world;
  before(async () => {
    world = await World.cluster({ environment: { SWITCHBOARD_CONFIG: EXAMPLE } });
  });
  after(() => world?.stop());
  afterEach(disconnectAll);

  const conversationId = 'long';
  const open = async (user, node) => {
    const auth = { token: sign({ sub: user, rooms: ['*'] }) };
    const client = await SocketClient.connected(world.nodes[node].url, { transports: ['websocket'], auth });
    await client.ask('conversation:join', { conversationId });
    return client;
  };
  const got = (client) =>
    client.events.filter(([name]) => name === 'message:new').map(([, { messageId }]) => messageId);

  it('misses nothing', async () => {
    const [slow, quick] = [await open('slow', 0), await open('quick', 0)];
    const wire = slow.socket.io.engine.transport.ws._socket;
    wire.pause();
    await Promise.all(
      Array.from({ length: SENDERS }, async (_, n) => {
        const sender = await open(`sender-${n}`, 1);
        for (let m = 0; m < EACH; m += 1) {
          const answer = await sender.ask('message:send', { conversationId, text: TEXT, messageId: `${n}-${m}` });
          assert.equal(answer.status, 'stored');
        }
      }),
    );
    await eventually('the quick one has all', () => got(quick).length === SENDERS * EACH);
    assert.ok(got(slow).length < SENDERS * EACH);
    const metrics = await (await world.nodes[0].get('/metrics')).text();
    const lagged = /^gateway_slow_consumers_total\S* (\d+)/m.exec(metrics);
    assert.ok(Number(lagged?.[1]) > 0, 'its queue was full');
    wire.resume();
    await eventually('the slow one has all', () => got(slow).length >= SENDERS * EACH);
    assert.deepEqual(got(slow), got(quick));
    assert.deepEqual([slow.connects, slow.ends], [1, []]);
  });
});
