// The community's contract, kept by its example configuration: flat frames, rooms with notices, confirmations.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile, writeFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { Socket, example, hangUp } from './support/application.js';
import { eventually } from './support/poll.js';
import { sign } from './support/token.js';
import { World } from './support/world.js';

const MEMBERS = {
  ann: { id: 1, username: 'ann', name: 'Ann' },
  bob: { id: 2, username: 'bob', name: 'Bob' },
  cat: { id: 3, username: 'cat', name: 'Cat' },
};

const is = (type) => (frame) => frame.type === type;

// A frame without its time, which every frame of the server has.
const timeless = ({ timestamp, ...frame }) => {
  assert.ok(Math.abs(timestamp - Date.now()) < 60_000, `a time in milliseconds: ${timestamp}`);
  return frame;
};

async function member(node, name, claims = {}) {
  const socket = await Socket.open(`${node.url.replace('http', 'ws')}/`);
  socket.send({ type: 'auth', token: sign({ ...MEMBERS[name], isActive: true, ...claims }) });
  await socket.next('auth_success', is('auth_success'));
  return socket;
}

async function join(socket, roomSlug) {
  socket.send({ type: 'join_room', roomSlug });
  return timeless(await socket.next(`${roomSlug} joined`, (frame) => is('room_joined')(frame) && frame.roomSlug === roomSlug));
}

describe('the community, on two gateways', () => {
  let world;
  const admin = { Authorization: `Bearer ${sign({ sub: 'backend', scope: 'send admin' })}`, 'Content-Type': 'application/json' };
  const api = async (method, route, body) => {
    const response = await fetch(world.fanout.url + route, { method, headers: admin, body: body && JSON.stringify(body) });
    const text = await response.text();
    assert.ok(response.ok, `${method} ${route}: ${response.status} ${text}`);
    return text && JSON.parse(text);
  };
  const publish = (to, event, data) => api('POST', '/v1/publish', { to, event, data });
  let [a, b] = [];

  before(async () => {
    world = await World.cluster({
      environment: { SWITCHBOARD_CONFIG: example('tango'), SWITCHBOARD_GATEWAY_AUTH_TIMEOUT: '2s' },
    });
    [a, b] = world.nodes;
  });
  after(async () => {
    hangUp();
    await world?.stop();
  });

  it('authenticates in band, at both paths, and keeps a number a number', async () => {
    for (const at of ['/', '/ws']) {
      const socket = await Socket.open(a.url.replace('http', 'ws') + at);
      socket.send({ type: 'join_room', roomSlug: 'lobby' });
      assert.deepEqual(timeless(await socket.next('an error', () => true)), { type: 'error', message: 'Not authenticated' });
      socket.send({ type: 'auth', token: sign({ id: 123, username: 'johndoe', name: 'John Doe' }) });
      assert.deepEqual(timeless(await socket.next('auth_success', () => true)), {
        type: 'auth_success',
        message: 'Authentication successful',
        user: { id: 123, username: 'johndoe', name: 'John Doe' },
      });
    }
  });

  it('refuses a bad token and a user who is not active, and closes', async () => {
    for (const token of [
      'rubbish',
      '',
      sign({ ...MEMBERS.ann, exp: 1_000_000_000 }),
      sign(MEMBERS.ann, 'a secret of somebody else, as long as ours'),
      sign({ username: 'nobody' }),
      sign({ ...MEMBERS.ann, isActive: false }),
    ]) {
      const socket = await Socket.open(`${a.url.replace('http', 'ws')}/`);
      socket.send({ type: 'auth', token });
      const refused = timeless(await socket.next('auth_error', () => true));
      assert.deepEqual(refused, { type: 'auth_error', message: 'Authentication failed' });
      await socket.closed();
    }
  });

  it('does not wait for a token for ever', async () => {
    const socket = await Socket.open(`${b.url.replace('http', 'ws')}/`);
    assert.equal((await socket.closed()).code, 4003);
  });

  it('counts users over the cluster, and tells the others who comes and goes, once a user', async () => {
    const [ann, bob, cat, cat2] = await Promise.all([member(a, 'ann'), member(b, 'bob'), member(a, 'cat'), member(b, 'cat')]);
    assert.deepEqual(await join(ann, 'general-chat'), {
      type: 'room_joined',
      roomSlug: 'general-chat',
      message: 'Joined room general-chat',
      userCount: 1,
    });
    assert.equal((await join(bob, 'general-chat')).userCount, 2);
    const notice = (type, { id, username }) => ({
      type,
      data: { userId: id, username, roomSlug: 'general-chat' },
      roomSlug: 'general-chat',
    });
    assert.deepEqual(timeless(await ann.next('bob comes', is('user_joined'))), notice('user_joined', MEMBERS.bob));
    assert.equal((await join(cat, 'general-chat')).userCount, 3);
    assert.equal((await join(cat2, 'general-chat')).userCount, 3, 'two connections of a user count once');
    for (const socket of [ann, bob]) {
      assert.deepEqual(timeless(await socket.next('cat comes', is('user_joined'))), notice('user_joined', MEMBERS.cat));
    }
    // One of the two connections goes: nobody is told. The other drops: everybody is.
    cat.send({ type: 'leave_room', roomSlug: 'general-chat' });
    assert.deepEqual(timeless(await cat.next('room_left', is('room_left'))), { type: 'room_left', roomSlug: 'general-chat' });
    cat2.abandon();
    for (const socket of [ann, bob]) {
      assert.deepEqual(timeless(await socket.next('cat goes', is('user_left'))), notice('user_left', MEMBERS.cat));
    }
    bob.send({ type: 'leave_room', roomSlug: 'general-chat' });
    await bob.next('room_left', is('room_left'));
    assert.deepEqual(timeless(await ann.next('bob goes', is('user_left'))), notice('user_left', MEMBERS.bob));
    assert.deepEqual([...ann.frames, ...bob.frames], [], 'nothing was told twice');
  });

  it('checks who may join', async () => {
    const [ann, bob] = await Promise.all([member(a, 'ann', { rooms: ['private-*'] }), member(b, 'bob')]);
    await join(ann, 'private-board');
    bob.send({ type: 'join_room', roomSlug: 'private-board' });
    assert.equal((await bob.next('a refusal', is('error'))).type, 'error');
    // The application says that he may.
    await api('PUT', '/v1/users/2/rooms/private-board');
    bob.send({ type: 'join_room', roomSlug: 'private-board' });
    await bob.next('room_joined', is('room_joined'));
    await api('DELETE', '/v1/users/2/rooms/private-board');
    // The node that holds Bob hears of it a moment after the backend has its answer.
    await eventually('he may not write any more', async () => {
      bob.send({ type: 'chat_message', roomSlug: 'private-board', message: 'still here?' });
      return is('error')(await bob.next('an answer', (frame) => is('error')(frame) || is('message_sent')(frame)));
    });
  });

  it('confirms a message once it is safe, delivers it to all members, and only once', async () => {
    const [ann, bob] = await Promise.all([member(a, 'ann'), member(b, 'bob')]);
    await Promise.all([join(ann, 'chat'), join(bob, 'chat')]);
    const message = '<script>alert(1)</script> & "quotes"';
    for (let time = 0; time < 3; time += 1) {
      ann.send({ type: 'chat_message', roomSlug: 'chat', message, messageId: 'msg_1729238400_123' });
    }
    for (let time = 0; time < 3; time += 1) {
      assert.deepEqual(timeless(await ann.next('message_sent', is('message_sent'))), {
        type: 'message_sent',
        messageId: 'msg_1729238400_123',
        roomSlug: 'chat',
      });
    }
    ann.send({ type: 'chat_message', roomSlug: 'chat', message: 'without an id' });
    const ids = [];
    for (const socket of [ann, bob]) {
      const { data, ...frame } = timeless(await socket.next('new_message', is('new_message')));
      assert.deepEqual(frame, { type: 'new_message', roomSlug: 'chat' });
      assert.match(data.createdAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
      const { id, createdAt, ...rest } = data;
      assert.deepEqual(rest, {
        slug: 'msg_1729238400_123',
        chatRoomSlug: 'chat',
        userSlug: '1',
        username: 'ann',
        messageType: 'TEXT',
        message,
      });
      const second = (await socket.next('the next message', is('new_message'))).data;
      assert.equal(second.message, 'without an id', 'the first was delivered once');
      assert.ok(Number.isInteger(id) && second.id > id, 'the id is a number that grows');
      ids.push(id);
    }
    assert.equal(ids[0], ids[1]);
  });

  it('says what cannot be understood, and stays open', async () => {
    const ann = await member(a, 'ann');
    for (const rubbish of ['', '{', 'null', '[]', '{"type":"dance"}', '{"type":"chat_message","roomSlug":"chat"}', '{"type":"join_room","roomSlug":"a b"}']) {
      ann.raw(rubbish);
      assert.deepEqual(timeless(await ann.next('an error', () => true)), { type: 'error', message: 'Invalid message format' });
    }
    await join(ann, 'still-here');
  });

  it('holds a connection to a rate, with a clear error', async () => {
    const ann = await member(b, 'ann');
    await join(ann, 'flood');
    const flood = () => {
      for (let n = 0; n < 60; n += 1) ann.send({ type: 'chat_message', roomSlug: 'flood', message: 'x', messageId: `f${n}` });
    };
    // A node that is slow itself takes fewer at a time.
    await eventually('a refusal', () => {
      flood();
      return ann.frames.some(is('error'));
    });
    const refused = timeless(await ann.next('a refusal', is('error')));
    assert.equal(refused.message, 'Too many messages');
    assert.match(refused.messageId, /^f\d+$/);
  });

  it('passes on what the backend tells users and followers, wherever they are', async () => {
    const [ann, bob, cat] = await Promise.all([member(a, 'ann'), member(b, 'bob'), member(a, 'cat')]);
    await publish({ user: '2' }, 'notification', { id: 7, title: 'Hi' });
    const told = timeless(await bob.next('a notification', () => true));
    assert.deepEqual(told, { type: 'notification', data: { id: 7, title: 'Hi' } });
    // Ann, who is connected, and Bob, who comes anew, follow user 42.
    await api('PUT', '/v1/users/1/rooms/followers:42');
    await api('PUT', '/v1/users/2/rooms/followers:42');
    const later = await member(a, 'bob');
    await publish({ followers: '42' }, 'user_post_created', { postId: 9 });
    for (const socket of [ann, bob, later]) {
      const post = timeless(await socket.next('a post', () => true));
      assert.deepEqual(post, { type: 'user_post_created', data: { postId: 9 } });
    }
    await api('DELETE', '/v1/users/1/rooms/followers:42');
    let postId = 9;
    await eventually('who does not follow any more is not told', async () => {
      postId += 1;
      await publish({ followers: '42' }, 'user_post_created', { postId });
      assert.equal((await later.next('a post', () => true)).data.postId, postId);
      await publish({ user: '1' }, 'end', {});
      await ann.next('the end', is('end'));
      return ann.frames.splice(0).length === 0;
    });
    assert.deepEqual(cat.frames, []);
    // Nobody joins such a room by themselves.
    cat.send({ type: 'join_room', roomSlug: 'followers:42' });
    await cat.next('a refusal', is('error'));
  });

  it('tells the leaves of a killed node within 15 seconds, each once', async () => {
    const doomed = await world.startNode();
    const [ann, bob, cat] = await Promise.all([member(a, 'ann'), member(doomed, 'bob'), member(doomed, 'cat')]);
    const again = await member(b, 'cat');
    await join(ann, 'wake');
    for (const socket of [bob, cat, again]) await join(socket, 'wake');
    await ann.next('bob comes', (frame) => is('user_joined')(frame) && frame.data.userId === 2);
    await ann.next('cat comes', (frame) => is('user_joined')(frame) && frame.data.userId === 3);
    const began = Date.now();
    await doomed.process.kill();
    const left = await ann.next('bob goes', is('user_left'), 15_000);
    assert.equal(left.data.userId, 2);
    assert.ok(Date.now() - began < 15_000);
    // Cat is still there with a connection to another node, and goes with that one.
    again.abandon();
    assert.equal((await ann.next('cat goes', is('user_left'))).data.userId, 3);
    assert.equal((await join(ann, 'wake')).userCount, 1);
    assert.deepEqual(ann.frames, []);
  });

  it('says that a message was not sent while Redis is away, and sends it when it is back', async () => {
    const [ann, bob] = await Promise.all([member(a, 'ann'), member(b, 'bob')]);
    await Promise.all([join(ann, 'outage'), join(bob, 'outage')]);
    await world.redis.kill();
    ann.send({ type: 'chat_message', roomSlug: 'outage', message: 'Hello?', messageId: 'm-1' });
    const failed = timeless(await ann.next('a failure', is('error')));
    assert.deepEqual(failed, { type: 'error', message: 'Failed to send message', messageId: 'm-1' });
    await world.redis.restart();
    const deadline = Date.now() + 20_000;
    for (;;) {
      ann.send({ type: 'chat_message', roomSlug: 'outage', message: 'Hello?', messageId: 'm-1' });
      const answer = await ann.next('an answer', (frame) => frame.messageId === 'm-1');
      if (answer.type === 'message_sent') break;
      assert.ok(Date.now() < deadline, 'Redis is back');
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    assert.equal((await bob.next('the message', is('new_message'))).data.slug, 'm-1');
    assert.deepEqual(bob.frames.filter(is('new_message')), []);
  });

  it('finds out what it was not told of who is a member of what, after an interruption', async () => {
    const ann = await member(a, 'ann');
    const send = () => ann.send({ type: 'chat_message', roomSlug: 'private-club', message: 'Hello', messageId: 'club-1' });
    send();
    await ann.next('a refusal', is('error'));
    // A change that no node is told of, as if the message had been lost.
    const { stdout } = await promisify(execFile)('redis-cli', ['-u', world.redis.url, 'SADD', 'sb:{default/u/1}:r', 'private-club']);
    assert.equal(stdout.trim(), '1');
    send();
    await ann.next('a refusal', is('error'));
    await world.redis.kill();
    await world.redis.restart();
    await eventually(
      'a member',
      async () => {
        send();
        return (await ann.next('an answer', (frame) => frame.messageId === 'club-1')).type === 'message_sent';
      },
      40_000,
    );
  });
});

describe('the heartbeat of the community', () => {
  let world;
  let home;

  before(async () => {
    home = await mkdtemp(path.join(tmpdir(), 'switchboard-tango-'));
    const config = path.join(home, 'tango.toml');
    const text = await readFile(example('tango'), 'utf8');
    // The contract's 30 and 90 s in a tempo that tests can wait for.
    const quick = text.replaceAll('heartbeat = "30s"', 'heartbeat = "5s"').replaceAll('pong_timeout = "90s"', 'pong_timeout = "12s"\ntext_ping = true');
    assert.notEqual(quick, text);
    await writeFile(config, quick);
    world = await World.single({ environment: { SWITCHBOARD_CONFIG: config } });
  });
  after(async () => {
    hangUp();
    await world?.stop();
    await rm(home, { recursive: true, force: true });
  });

  it('pings, ends who is silent, and takes a pong of the application for a sign of life', async () => {
    const [node] = world.nodes;
    const url = `${node.url.replace('http', 'ws')}/`;
    const [silent, speaking] = await Promise.all([1, 2].map(() => Socket.open(url, { autoPong: false })));
    for (const [socket, name] of [[silent, 'ann'], [speaking, 'bob']]) socket.send({ type: 'auth', token: sign(MEMBERS[name]) });
    const beat = setInterval(() => speaking.send({ type: 'pong' }), 1000);
    const end = await silent.closed(30_000);
    clearInterval(beat);
    assert.equal(end.code, 4002);
    assert.ok(silent.pings >= 2, `native pings: ${silent.pings}`);
    assert.ok(timeless(silent.frames.find(is('ping'))));
    assert.equal(speaking.ended, undefined);
    assert.deepEqual(speaking.frames.filter((frame) => !['auth_success', 'ping'].includes(frame.type)), []);
  });
});
