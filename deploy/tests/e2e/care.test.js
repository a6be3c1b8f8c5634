// The care platform: unmodified clients of Socket.IO against two gateways, as its contract says.

import assert from 'node:assert/strict';
import path from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { eventually } from './support/poll.js';
import { SocketClient, WAYS, disconnectAll } from './support/socketio.js';
import { sign } from './support/token.js';
import { World } from './support/world.js';

const EXAMPLE = path.resolve(import.meta.dirname, '../../examples/care.toml');
const FORGER = 'a secret of somebody else, long enough for all';

describe('care', () => {
  let world;
  before(async () => {
    world = await World.cluster({ environment: { SWITCHBOARD_CONFIG: EXAMPLE } });
  });
  after(() => world?.stop());
  afterEach(disconnectAll);

  const authorized = (user, claims) => ({ Authorization: `Bearer ${sign({ sub: user, ...claims })}` });
  const send = async (call, body) => {
    const response = await fetch(`${world.fanout.url}/websocket${call}`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', ...authorized('backend', { scope: 'send' }) },
      body: JSON.stringify(body),
    });
    assert.equal(response.status, 200, await response.text());
  };

  for (const [way, transports] of WAYS) {
    describe(way, () => {
      const open = async (user, node = 0) => {
        const options = { transports, extraHeaders: authorized(user) };
        const client = await SocketClient.connected(world.nodes[node].url, options);
        return client.upgraded();
      };

      it('a user is told who it is, and asks for a sign of life', async () => {
        const ann = await open('ann');
        assert.deepEqual(await ann.next('authenticated'), { userId: 'ann' });
        ann.emit('ping');
        await ann.next('pong');
        assert.deepEqual(await ann.ask('ping'), undefined);
      });

      it('messages, notifications and broadcasts arrive on whichever node', async () => {
        const [ann, bob] = [await open('ann', 0), await open('bob', 1)];
        await send('/message/user', { userId: 'ann', type: 'visit', data: { at: 9.5 } });
        const message = await ann.next('message');
        assert.deepEqual({ type: message.type, data: message.data }, { type: 'visit', data: { at: 9.5 } });
        assert.ok(message.timestamp);
        await send('/notification', { userId: 'bob', title: 'Hello', body: 'there', urgent: true });
        const { type, data } = await bob.next('message');
        assert.deepEqual({ type, data }, { type: 'notification', data: { title: 'Hello', body: 'there', urgent: true } });
        await send('/message/users', { userIds: ['ann', 'bob'], type: 'both', data: [1] });
        for (const client of [ann, bob]) {
          const { type, data } = await client.next('message');
          assert.deepEqual({ type, data }, { type: 'both', data: [1] });
        }
        await send('/message/broadcast', { type: 'system', data: { message: 'soon', level: 'info' } });
        for (const client of [ann, bob]) {
          const { type, data } = await client.next('message');
          assert.deepEqual({ type, data }, { type: 'system', data: { message: 'soon', level: 'info' } });
        }
        assert.deepEqual([ann.events, bob.events].flat().filter(([name]) => name === 'message'), []);
      });

      it('what was sent in a row arrives in a row', async () => {
        const ann = await open('ann');
        for (let n = 0; n < 50; n += 1) await send('/message/user', { userId: 'ann', type: 'count', data: n });
        await eventually('all', () => ann.events.filter(([name]) => name === 'message').length >= 50);
        const numbers = ann.events.filter(([name]) => name === 'message').map(([, { data }]) => data);
        assert.deepEqual(numbers, [...numbers.keys()]);
      });

      it('without a good token the connection is refused, with a reason', async () => {
        for (const [extraHeaders, reason] of [
          [{}, /no token/],
          [{ Authorization: 'Bearer rubbish' }, /JWT/],
          [{ Authorization: `Bearer ${sign({ sub: 'ann' }, FORGER)}` }, /signature/],
          [authorized('ann', { exp: 1_000_000_000 }), /expired/],
        ]) {
          const client = new SocketClient(world.nodes[0].url, { transports, extraHeaders });
          assert.match(await client.refused(), reason);
          assert.equal(client.socket.active, false, 'it does not try again by itself');
        }
      });

      it('of two connections of a user the newer stays, over all nodes', async () => {
        const older = await open('fay', 0);
        const newer = await open('fay', 1);
        assert.equal(await older.ended(), 'io server disconnect');
        assert.equal(older.socket.active, false, 'it does not come back by itself');
        await send('/message/user', { userId: 'fay', type: 'still', data: 'here' });
        assert.equal((await newer.next('message')).type, 'still');
        assert.ok(newer.socket.connected);
      });

      it('a token may also come as auth', async () => {
        const auth = { token: sign({ sub: 'eve' }) };
        const eve = await SocketClient.connected(world.nodes[1].url, { transports, auth });
        assert.deepEqual(await eve.next('authenticated'), { userId: 'eve' });
      });
    });
  }
});
