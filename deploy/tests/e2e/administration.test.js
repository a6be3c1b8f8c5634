// What backends and administrators ask over HTTP, with two gateways and a fanout that meet in a Redis.

import assert from 'node:assert/strict';
import path from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { Socket, hangUp } from './support/application.js';
import { eventually } from './support/poll.js';
import { SocketClient, WAYS, disconnectAll } from './support/socketio.js';
import { sign } from './support/token.js';
import { World } from './support/world.js';

const example = (name) => path.resolve(import.meta.dirname, `../../examples/${name}.toml`);

const ask = async (world, method, route, claims, body) => {
  const headers = { Authorization: `Bearer ${sign({ sub: 'backend', ...claims })}`, 'Content-Type': 'application/json' };
  const answer = await fetch(world.fanout.url + route, { method, headers, body: body && JSON.stringify(body) });
  const text = await answer.text();
  return { status: answer.status, type: answer.headers.get('content-type'), body: text && JSON.parse(text) };
};

const admin = { scope: 'admin' };

describe('the calls of the care platform', () => {
  let world;
  before(async () => {
    world = await World.cluster({ environment: { SWITCHBOARD_CONFIG: example('care') } });
  });
  after(() => world?.stop());
  afterEach(disconnectAll);

  const open = (user, node, transports = ['websocket']) =>
    SocketClient.connected(world.nodes[node].url, {
      transports,
      extraHeaders: { Authorization: `Bearer ${sign({ sub: user })}` },
    });

  const connected = async () => {
    const { status, body } = await ask(world, 'GET', '/websocket/users/connected', admin);
    assert.equal(status, 200, JSON.stringify(body));
    assert.equal(body.count, body.users.length);
    return body.users.map(({ userId }) => userId).sort();
  };

  it('the connected users are those of all nodes, each once', async () => {
    await Promise.all([open('ann', 0), open('bob', 1)]);
    await eventually('both are there', async () => (await connected()).join() === 'ann,bob');
    disconnectAll();
    await eventually('both are gone', async () => (await connected()).length === 0);
  });

  it('a user\'s status says whether and since when, and so does one\'s own', async () => {
    const before = Date.now() - 2_000;
    await open('ann', 1);
    const { body } = await ask(world, 'GET', '/websocket/users/ann/status', admin);
    assert.deepEqual({ ...body, connectedAt: 0 }, { userId: 'ann', connected: true, connectedAt: 0 });
    assert.ok(body.connectedAt >= before && body.connectedAt <= Date.now(), `${body.connectedAt}`);
    const own = await ask(world, 'GET', '/websocket/me/status', { sub: 'ann' });
    assert.equal(own.body.connected, true);
    const other = await ask(world, 'GET', '/websocket/users/zoe/status', admin);
    assert.deepEqual([other.status, other.body], [200, { userId: 'zoe', connected: false, connectedAt: null }]);
  });

  for (const [way, transports] of WAYS) {
    it(`a user is disconnected wherever it is, and does not come back by itself: ${way}`, async () => {
      const ann = await (await open('ann', 1, transports)).upgraded();
      const gone = await ask(world, 'DELETE', '/websocket/users/ann/disconnect', admin);
      assert.deepEqual([gone.status, gone.body], [200, { success: true, userId: 'ann' }]);
      await eventually('the client is told', () => ann.ends.length === 1);
      await eventually('the user is gone', async () => {
        const { status } = await ask(world, 'DELETE', '/websocket/users/ann/disconnect', admin);
        return status === 404;
      });
      assert.equal(ann.socket.active, false);
    });
  }

  it('each refusal has its status, and a body that says what is wrong', async () => {
    const [sender, hello] = [{ scope: 'send' }, { title: 'Hello', body: 'there' }];
    for (const [method, route, claims, status, sent] of [
      ['POST', '/websocket/message/user', sender, 404, { userId: 'nobody', type: 'visit' }],
      ['POST', '/websocket/message/user', sender, 400, { type: 'visit' }],
      ['POST', '/websocket/message/user', sender, 400, { userId: 'nobody', type: '' }],
      ['POST', '/websocket/notification', sender, 404, { userId: 'nobody', ...hello }],
      ['POST', '/websocket/notification', sender, 400, hello],
      ['GET', '/websocket/users/connected', sender, 403],
      ['GET', '/websocket/users/connected', { ...admin, exp: 1_000_000_000 }, 401],
      ['GET', '/websocket/users/a%20b/status', admin, 400],
      ['DELETE', '/websocket/users/nobody/disconnect', admin, 404],
      ['DELETE', '/websocket/users/nobody/disconnect', {}, 403],
      ['DELETE', '/websocket/users/a%20b/disconnect', admin, 400],
      ['GET', '/websocket/users/ann/status', { scope: 'send' }, 403],
      ['GET', '/websocket/me/status', { exp: 1_000_000_000 }, 401],
    ]) {
      const answer = await ask(world, method, route, claims, sent);
      assert.deepEqual([answer.status, answer.type], [status, 'application/problem+json'], route);
      assert.ok(answer.body.detail, route);
    }
  });

  it('none of the eight calls is for strangers', async () => {
    for (const [method, route] of [
      ['POST', '/websocket/message/user'],
      ['POST', '/websocket/message/users'],
      ['POST', '/websocket/message/broadcast'],
      ['POST', '/websocket/notification'],
      ['GET', '/websocket/users/connected'],
      ['GET', '/websocket/users/ann/status'],
      ['DELETE', '/websocket/users/ann/disconnect'],
      ['GET', '/websocket/me/status'],
    ]) {
      const forged = sign({ sub: 'backend', scope: 'send admin' }, 'a secret of somebody else, long enough for all');
      for (const headers of [{}, { Authorization: 'Bearer nonsense' }, { Authorization: `Bearer ${forged}` }]) {
        const answer = await fetch(world.fanout.url + route, { method, headers });
        assert.equal(answer.status, 401, `${method} ${route}`);
        assert.equal((await answer.json()).status, 401);
      }
    }
  });

  it('who was on a node that was killed is not connected any more', async () => {
    const node = await world.startNode();
    const users = WAYS.map((_, n) => `ann-${n}`);
    for (const [n, [, transports]] of WAYS.entries()) {
      const extraHeaders = { Authorization: `Bearer ${sign({ sub: users[n] })}` };
      const options = { transports, extraHeaders, reconnection: false };
      await (await SocketClient.connected(node.url, options)).upgraded();
    }
    const present = async () => (await connected()).filter((user) => users.includes(user));
    await eventually('all are there', async () => (await present()).length === users.length);
    await node.process.kill();
    await eventually('all are gone', async () => (await present()).length === 0, 30_000);
    for (const user of users) {
      const { body } = await ask(world, 'GET', `/websocket/users/${user}/status`, admin);
      assert.equal(body.connected, false);
    }
  });
});

describe('the own API', () => {
  let world;
  before(async () => {
    world = await World.cluster();
  });
  after(() => world?.stop());

  it('a membership is followed by a session on another node, and messages to followers arrive', async () => {
    const ann = await world.nodes[1].connect('ann');
    const route = '/v1/users/ann/rooms/followers:7';
    assert.equal((await ask(world, 'PUT', route, admin)).status, 204);
    await ann.next('joined', ({ room }) => room === 'followers:7');
    await world.publish({ followers: '7' }, { post: 1 });
    const { data } = await ann.next('message', ({ channel }) => channel === 'room:followers:7');
    assert.deepEqual(data, { post: 1 });
    const members = await ask(world, 'GET', '/v1/rooms/followers:7/members', admin);
    assert.deepEqual(members.body, { users: ['ann'] });
    assert.equal((await ask(world, 'DELETE', route, admin)).status, 204);
    await ann.next('left', ({ room }) => room === 'followers:7');
  });

  it('rooms and connections add up over both nodes', async () => {
    const [ann, bob] = [await world.nodes[0].connect('stats-ann'), await world.nodes[1].connect('stats-bob')];
    for (const client of [ann, bob]) client.send({ type: 'join', room: 'busy' });
    ann.send({ type: 'join', room: 'calm' });
    const stats = async () => (await ask(world, 'GET', '/v1/stats', admin)).body;
    await eventually('both rooms are counted', async () => {
      const { busiest } = await stats();
      const users = Object.fromEntries(busiest.map(({ room, users }) => [room, users]));
      return users.busy === 2 && users.calm === 1;
    });
    await eventually('both connections are counted', async () => (await stats()).connections >= 2);
    const sessions = await ask(world, 'GET', '/v1/users/stats-bob/sessions', admin);
    assert.equal(sessions.body.sessions.length, 1);
  });
});

describe('the statistics of the community', () => {
  let world;
  before(async () => {
    world = await World.cluster({ environment: { SWITCHBOARD_CONFIG: example('tango') } });
  });
  after(async () => {
    hangUp();
    await world?.stop();
  });

  it('have the shape that its backend knows', async () => {
    assert.equal((await ask(world, 'GET', '/stats', {})).status, 403);
    const { status, body } = await ask(world, 'GET', '/stats', admin);
    assert.deepEqual([status, body], [200, { totalConnections: 0, totalRooms: 0, rooms: [] }]);
  });

  it('count over both nodes', async () => {
    for (const [n, roomSlug] of [[0, 'general-chat'], [1, 'general-chat'], [1, 'quiet']]) {
      const socket = await Socket.open(`${world.nodes[n].url.replace('http', 'ws')}/`);
      const claims = { id: 10 + n, username: `user-${n}`, name: `User ${n}`, isActive: true };
      socket.send({ type: 'auth', token: sign(claims) });
      await socket.next('authenticated', ({ type }) => type === 'auth_success');
      socket.send({ type: 'join_room', roomSlug });
      await socket.next('joined', ({ type }) => type === 'room_joined');
    }
    const rooms = [{ slug: 'general-chat', userCount: 2 }, { slug: 'quiet', userCount: 1 }];
    await eventually('all are counted', async () => {
      const { body } = await ask(world, 'GET', '/stats', admin);
      assert.deepEqual(body, { totalConnections: 3, totalRooms: 2, rooms });
      return true;
    });
  });
});
