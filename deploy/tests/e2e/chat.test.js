// Team chat: unmodified clients of Socket.IO against two gateways, as its contract says.

import assert from 'node:assert/strict';
import path from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { eventually } from './support/poll.js';
import { SocketClient, WAYS, disconnectAll } from './support/socketio.js';
import { sign } from './support/token.js';
import { World } from './support/world.js';

const EXAMPLE = path.resolve(import.meta.dirname, '../../examples/chat.toml');

describe('chat', () => {
  let world;
  let conversationId;
  let number = 0;
  before(async () => {
    world = await World.cluster({ environment: { SWITCHBOARD_CONFIG: EXAMPLE } });
  });
  after(() => world?.stop());
  beforeEach(() => (conversationId = `c${(number += 1)}`));
  afterEach(async () => {
    disconnectAll();
    // Who was there in one test is not to be seen leaving in the next.
    const anybody = await SocketClient.connected(world.nodes[0].url, { auth: { token: tokenOf('nobody') } });
    await anybody.next('authenticated');
    await eventually('all gone', async () => (await anybody.ask('presence:request')).count === 1);
    disconnectAll();
  });

  const tokenOf = (user) => sign({ sub: user, name: user.toUpperCase(), rooms: ['c*'] });
  const names = ({ events }) => events.map(([name]) => name);
  const nothing = async (client, name) => {
    // What comes later on the same connection shows that it did not come.
    await client.ask('presence:request');
    assert.ok(!names(client).includes(name), JSON.stringify(client.events));
  };

  for (const [way, transports] of WAYS) {
    describe(way, () => {
      const open = async (user, node = 0) => {
        const client = await SocketClient.connected(world.nodes[node].url, { transports, auth: { token: tokenOf(user) } });
        await client.upgraded();
        await client.next('authenticated');
        return client;
      };
      const both = async () => {
        const [ann, bob] = [await open('ann', 0), await open('bob', 1)];
        for (const client of [ann, bob]) assert.equal(await client.ask('conversation:join', { conversationId }), undefined);
        await ann.next('user:joined');
        return [ann, bob];
      };

      it('authenticates in band', async () => {
        const ann = await SocketClient.connected(world.nodes[0].url, { transports });
        const { serverId, timestamp } = await ann.next('connected');
        assert.ok(serverId && timestamp);
        ann.emit('conversation:join', { conversationId });
        assert.equal((await ann.next('error')).code, 'not_authenticated');
        ann.emit('authenticate', { token: tokenOf('ann') });
        assert.deepEqual(await ann.next('authenticated'), { userId: 'ann' });
        assert.equal(await ann.ask('conversation:join', { conversationId }), undefined);
      });

      it('a wrong token in band is told, and ends the connection for good', async () => {
        const ann = await SocketClient.connected(world.nodes[0].url, { transports });
        ann.emit('authenticate', { token: 'rubbish' });
        assert.equal((await ann.next('error')).code, 'invalid_token');
        assert.equal(await ann.ended(), 'io server disconnect');
      });

      it('who comes and goes is told, online and in the conversation', async () => {
        const ann = await open('ann', 0);
        await ann.ask('conversation:join', { conversationId });
        const bob = await open('bob', 1);
        assert.deepEqual(await ann.next('user:online', ({ userId }) => userId === 'bob'), { userId: 'bob', name: 'BOB' });
        await bob.ask('conversation:join', { conversationId });
        assert.deepEqual(await ann.next('user:joined'), { userId: 'bob', conversationId });
        bob.emit('presence:request');
        const { users, count } = await bob.next('presence:list');
        assert.deepEqual(users.map(({ userId }) => userId).sort(), ['ann', 'bob']);
        assert.equal(count, 2);
        bob.emit('conversation:leave', { conversationId });
        assert.deepEqual(await ann.next('user:left'), { userId: 'bob', conversationId });
        ann.emit('message:send', { conversationId, text: 'alone', messageId: 'm1' });
        await ann.next('message:new');
        await nothing(bob, 'message:new');
        bob.socket.disconnect();
        assert.deepEqual(await ann.next('user:offline'), { userId: 'bob' });
      });

      it('a user with several connections comes with the first and goes with the last', async () => {
        const ann = await open('ann', 0);
        const [first, second] = [await open('bob', 1), await open('bob', 0)];
        first.socket.disconnect();
        // What is told of somebody else comes later.
        const cid = await open('cid', 1);
        await ann.next('user:online', ({ userId }) => userId === 'cid');
        const told = ann.events.filter(([, data]) => data.userId === 'bob').map(([name]) => name);
        assert.deepEqual(told, ['user:online']);
        second.socket.disconnect();
        assert.deepEqual(await ann.next('user:offline'), { userId: 'bob' });
        assert.ok(cid.socket.connected);
      });

      it('a message reaches the conversation, and its sender knows that it is safe', async () => {
        const [ann, bob] = await both();
        ann.emit('message:send', { conversationId, text: 'hi <b>', messageId: 'm1' });
        assert.deepEqual(await ann.next('message:ack'), { messageId: 'm1', status: 'stored' });
        for (const client of [ann, bob]) {
          const { timestamp, ...message } = await client.next('message:new');
          assert.ok(timestamp);
          assert.deepEqual(message, { messageId: 'm1', conversationId, userId: 'ann', text: 'hi <b>' });
        }
        const answer = await bob.ask('message:send', { conversationId, text: 'ho', messageId: 'm2' });
        assert.deepEqual(answer, { messageId: 'm2', status: 'stored' });
        assert.equal((await ann.next('message:new')).text, 'ho');
        await nothing(bob, 'message:ack');
        // The same once more is safe too, and is not told again.
        assert.equal((await bob.ask('message:send', { conversationId, text: 'ho', messageId: 'm2' })).messageId, 'm2');
        await bob.next('message:new');
        await nothing(bob, 'message:new');
      });

      it('read receipts and reactions', async () => {
        const [ann, bob] = await both();
        bob.emit('message:read', { conversationId, messageId: 'm1' });
        assert.deepEqual(await ann.next('message:read-receipt'), { messageId: 'm1', userId: 'bob', conversationId });
        bob.emit('message:react', { conversationId, messageId: 'm1', emoji: '👍' });
        for (const client of [ann, bob]) {
          const reaction = { messageId: 'm1', emoji: '👍', userId: 'bob', conversationId };
          assert.deepEqual(await client.next('message:reaction'), reaction);
        }
        await nothing(bob, 'message:read-receipt');
        await nothing(bob, 'message:ack');
      });

      it('typing is seen by the others, and ends by itself when the typist vanishes', async () => {
        const [ann, bob] = await both();
        const typing = (isTyping) => ({ userId: 'bob', isTyping, conversationId });
        bob.emit('typing:start', { conversationId });
        assert.deepEqual(await ann.next('typing:indicator'), typing(true));
        bob.emit('typing:stop', { conversationId });
        assert.deepEqual(await ann.next('typing:indicator'), typing(false));
        bob.emit('typing:start', { conversationId });
        assert.deepEqual(await ann.next('typing:indicator'), typing(true));
        // The page is closed without a word.
        bob.socket.io.reconnection(false);
        bob.socket.io.engine.close();
        assert.deepEqual(await ann.next('typing:indicator'), typing(false));
        await ann.next('user:left');
      });

      it('what is not allowed or not understood is told', async () => {
        const [ann] = await both();
        for (const [event, data, code] of [
          ['conversation:join', { conversationId: 'secret' }, 'forbidden'],
          ['conversation:join', {}, 'invalid_message'],
          ['message:send', { conversationId: 'c-other', text: 'x' }, 'not_joined'],
          ['dance', {}, 'unknown'],
        ]) {
          ann.emit(event, data);
          assert.equal((await ann.next('error')).code, code, event);
          assert.equal((await ann.ask(event, data)).error.code, code, event);
        }
        assert.ok(ann.socket.connected);
      });

      it('binary data stays binary', async () => {
        const [ann, bob] = await both();
        ann.emit('message:react', { conversationId, messageId: 'm1', emoji: Buffer.from([1, 2, 3, 4]) });
        const { emoji } = await bob.next('message:reaction');
        assert.deepEqual([...new Uint8Array(emoji)], [1, 2, 3, 4]);
      });
    });
  }

  it('typing ends also when the node of the typist was killed', async () => {
    const node = await world.startNode();
    const join = async (url, user, transports) => {
      const options = { transports, reconnection: false, auth: { token: tokenOf(user) } };
      const client = await (await SocketClient.connected(url, options)).upgraded();
      await client.ask('conversation:join', { conversationId });
      return client;
    };
    const watchers = await Promise.all(WAYS.map(([, transports], n) => join(world.nodes[0].url, `ann-${n}`, transports)));
    const typists = await Promise.all(WAYS.map(([, transports], n) => join(node.url, `bob-${n}`, transports)));
    typists.forEach((typist) => typist.emit('typing:start', { conversationId }));
    const typing = (watcher, n) => watcher.next('typing:indicator', ({ userId }) => userId === `bob-${n}`);
    for (const watcher of watchers) for (const n of typists.keys()) assert.equal((await typing(watcher, n)).isTyping, true);
    await node.process.kill();
    for (const watcher of watchers) {
      const left = () => names(watcher).filter((name) => name === 'user:left').length;
      await eventually('the typists are gone', () => left() === typists.length, 40_000);
      for (const n of typists.keys()) assert.equal((await typing(watcher, n)).isTyping, false);
    }
  });
});
