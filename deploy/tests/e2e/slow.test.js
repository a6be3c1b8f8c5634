// Clients of Socket.IO that take nothing for a while, by not reading or by not polling: they get everything afterwards, in
// order and once, and hold nobody up.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import path from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { eventually } from './support/poll.js';
import { post } from './support/post.js';
import { SocketClient, WAYS, disconnectAll } from './support/socketio.js';
import { sign } from './support/token.js';
import { World } from './support/world.js';

const example = (name) => path.resolve(import.meta.dirname, `../../examples/${name}.toml`);

// Once its transport has changed, a client is one over WebSocket.
const TRANSPORTS = WAYS.filter(([, transports]) => transports.length === 1);

const TEXT = 'x'.repeat(25_000);

// How long a busy machine may take for so much.
const LONG = 60_000;

// How many of them are far more than a queue holds, and the sockets on the way, where the client does not empty them.
const enough = (transports) => (transports.includes('websocket') ? 720 : 120);

const metric = async (node, pattern) => {
  const metrics = await (await node.get('/metrics')).text();
  return Number(new RegExp(`^${pattern} (\\d+)`, 'm').exec(metrics)?.[1]);
};

// How often a queue was full, and how many connections were closed because theirs stayed so.
const lags = (node) => metric(node, 'gateway_slow_consumers_total');
const tooSlow = (node) => metric(node, 'gateway_connections_closed_total\\{reason="slow"\\}');

describe('a slow client', () => {
  let world;
  before(async () => {
    world = await World.cluster({ environment: { SWITCHBOARD_CONFIG: example('chat') } });
  });
  after(() => world?.stop());
  afterEach(disconnectAll);

  const SENDERS = 6;
  const got = (client) =>
    client.events.filter(([name]) => name === 'message:new').map(([, { messageId }]) => messageId);

  for (const [way, transports] of TRANSPORTS) {
    it(`${way}, misses nothing`, async () => {
      const count = enough(transports);
      const conversationId = randomUUID();
      const open = async (user, node, transports) => {
        const auth = { token: sign({ sub: user, rooms: ['*'] }) };
        const client = await SocketClient.connected(world.nodes[node].url, { transports, auth });
        await client.ask('conversation:join', { conversationId });
        return client;
      };
      const before = await lags(world.nodes[0]);
      const [slow, quick] = [await open('slow', 0, transports), await open('quick', 0, transports)];
      const resume = slow.pause();
      await Promise.all(
        Array.from({ length: SENDERS }, async (_, n) => {
          const sender = await open(`sender-${n}`, 1, ['websocket']);
          for (let m = 0; m < count / SENDERS; m += 1) {
            const answer = await sender.ask('message:send', { conversationId, text: TEXT, messageId: `${n}-${m}` });
            assert.equal(answer.status, 'stored');
          }
        }),
      );
      await eventually('the quick one has all', () => got(quick).length === count);
      assert.ok(got(slow).length < count);
      assert.ok((await lags(world.nodes[0])) > before, 'its queue was full');
      resume();
      await eventually('the slow one has all', () => got(slow).length >= count, LONG);
      assert.deepEqual(got(slow), got(quick));
      assert.deepEqual([slow.connects, slow.ends], [1, []]);
    });
  }
});

describe('a client that is too slow', () => {
  let world;
  before(async () => {
    world = await World.cluster({
      environment: {
        SWITCHBOARD_CONFIG: example('crm'),
        SWITCHBOARD_GATEWAY_MAX_LAG: '1s',
        TWILIO_AUTH_TOKEN: 'x',
        CRM_NUMBERS: '{}',
      },
    });
  });
  after(() => world?.stop());
  afterEach(disconnectAll);

  const got = (client) => client.events.map(([, { number }]) => number);

  // Takes what waits for a client that polls, as a broken network does, until its session is over and forgotten.
  const lose = (client) => {
    const poll = `${world.nodes[0].url}/socket.io/?EIO=4&transport=polling&sid=${client.socket.io.engine.id}`;
    return eventually('forgotten', async () => (await fetch(poll)).status === 400);
  };

  const WITH_LOSS = ['by polling, and loses what waited for it', ['polling'], lose];
  for (const [way, transports, meanwhile] of [...TRANSPORTS, WITH_LOSS]) {
    it(`${way}, is closed, comes back and has missed nothing`, async () => {
      const count = enough(transports);
      const org = randomUUID();
      const token = sign({ userId: randomUUID(), organizationId: org, email: 'a@b.example', scope: 'send' });
      const send = async (number) => {
        const message = { to: { room: `org:${org}` }, event: 'incoming-sms', data: { number, body: TEXT } };
        const response = await post(`${world.fanout.url}/v1/publish`, token, message);
        assert.equal(response.status, 200, await response.text());
      };
      const before = await tooSlow(world.nodes[0]);
      const slow = await SocketClient.connected(world.nodes[0].url, { transports, auth: { token } });
      await send(0);
      await eventually('the first', () => got(slow).length === 1);
      const resume = slow.pause();
      for (let number = 1; number < count; number += 1) await send(number);
      await eventually('it is closed', async () => (await tooSlow(world.nodes[0])) > before);
      assert.ok(got(slow).length < count);
      await meanwhile?.(slow);
      resume();
      await eventually('it has all', () => got(slow).length >= count, LONG);
      assert.deepEqual(got(slow), Array.from({ length: count }, (_, number) => number));
      // On a busy machine it may be too slow once more.
      assert.ok(slow.ends.length >= 1);
      assert.deepEqual([slow.connects, slow.socket.recovered], [slow.ends.length + 1, true]);
    });
  }
});
