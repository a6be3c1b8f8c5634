// Tokens that are revoked: refused everywhere, and what goes on with them ends.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { Cable } from './support/cable.js';
import { Client, closeAll } from './support/client.js';
import { eventually } from './support/poll.js';
import { SocketClient, WAYS, disconnectAll } from './support/socketio.js';
import { sign, tokenOf } from './support/token.js';
import { Server, World } from './support/world.js';

const CONFIG = `
[[endpoints]]
path = "/ws"

[[endpoints]]
protocol = "socketio"
vocabulary = "plain"
in_band = false
rooms = ["lobby"]

[vocabularies.plain.publications."*"]
event = "$event"
body = "$data"
`;

const REVOKED = { code: 4504, reason: 'token revoked' };

describe('revocation', () => {
  let world;
  let home;
  let environment;
  before(async () => {
    home = await mkdtemp(path.join(tmpdir(), 'switchboard-revocation-'));
    environment = { SWITCHBOARD_CONFIG: path.join(home, 'config.toml') };
    await writeFile(environment.SWITCHBOARD_CONFIG, CONFIG);
    world = await World.cluster({ environment });
  });
  after(async () => {
    await world?.stop();
    await rm(home, { recursive: true, force: true });
  });
  afterEach(() => {
    disconnectAll();
    closeAll();
  });

  const now = () => Math.floor(Date.now() / 1000);
  const call = (method, route, token, body) =>
    fetch(world.fanout.url + route, {
      method,
      headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    });
  const revoke = async (what) => {
    const answer = await call('POST', '/v1/revocations', sign({ sub: 'backend', scope: 'admin' }), what);
    assert.equal(answer.status, 204, await answer.text());
  };

  // How a connection with this token ends before it begins, by its close code; nothing if it begins.
  const refusal = async (node, token) => {
    const client = await Client.open(node.socket, { headers: { Authorization: `Bearer ${token}` } });
    const told = await Promise.race([client.whenClosed, client.next('auth_success').catch(() => null)]);
    client.terminate();
    return told?.code;
  };
  const isRefused = (node, token) =>
    eventually(`refused on ${node.address}`, async () => (await refusal(node, token)) === 4500);

  it('of a token by its id ends its sessions on every node, and no others', async () => {
    const jti = randomUUID();
    const ann = await Promise.all(world.nodes.map((node) => node.connect('ann', { jti })));
    const other = await world.nodes[0].connect('ann', { jti: randomUUID() });
    await revoke({ jti });
    for (const client of ann) assert.deepEqual(await client.closed(), REVOKED);
    for (const node of world.nodes) assert.equal(await refusal(node, tokenOf('ann', { jti })), 4500);
    assert.equal((await other.ask({ type: 'ping' })).type, 'pong');
  });

  it('of a token by its text refuses it in band, for a refresh, for polling and over HTTP', async () => {
    const token = tokenOf('bob', { scope: 'publish', iat: now() });
    const message = { to: { room: 'lobby' }, event: 'e', data: 1 };
    assert.equal((await call('POST', '/v1/publish', token, message)).status, 200);
    const others = await Promise.all(world.nodes.map((node) => node.connect('bob', { iat: now() - 1 })));
    await revoke({ token });
    await eventually('refused over HTTP', async () => (await call('POST', '/v1/publish', token, message)).status === 401);
    for (const [n, node] of world.nodes.entries()) {
      await isRefused(node, token);
      const headers = { Authorization: `Bearer ${token}` };
      assert.equal((await fetch(`${node.url}/v1/rooms/lobby/history`, { headers })).status, 401);
      const late = await Client.open(node.socket);
      late.send({ type: 'auth', token });
      assert.equal((await late.closed()).code, 4500);
      const refreshed = await others[n].ask({ type: 'refresh', token });
      assert.deepEqual([refreshed.type, refreshed.code], ['error', 'invalid_token']);
      assert.equal((await others[n].ask({ type: 'ping' })).type, 'pong');
    }
  });

  it('of a user ends what has an older token, and lets a newer one in', async () => {
    const old = { iat: now() - 60 };
    const carol = await Promise.all(world.nodes.map((node) => node.connect('carol', old)));
    const dave = await world.nodes[0].connect('dave', old);
    await revoke({ user: 'carol' });
    for (const client of carol) assert.deepEqual(await client.closed(), REVOKED);
    assert.equal(await refusal(world.nodes[1], tokenOf('carol', old)), 4500);
    assert.equal(await refusal(world.nodes[1], tokenOf('carol', { iat: now() + 5 })), undefined);
    assert.equal((await dave.ask({ type: 'ping' })).type, 'pong');
  });

  it('is what counts for a session that has refreshed its token', async () => {
    const [first, second] = [randomUUID(), randomUUID()];
    const erin = await world.nodes[0].connect('erin', { jti: first });
    assert.equal((await erin.ask({ type: 'refresh', token: tokenOf('erin', { jti: second }) })).type, 'auth_success');
    await revoke({ jti: first });
    await isRefused(world.nodes[0], tokenOf('erin', { jti: first }));
    assert.equal((await erin.ask({ type: 'ping' })).type, 'pong');
    await revoke({ jti: second });
    assert.deepEqual(await erin.closed(), REVOKED);
  });

  it('reaches a node that was cut off from Redis as soon as it is back, and one that starts later', async () => {
    const jti = randomUUID();
    const cable = await Cable.to(new URL(world.redis.url).host);
    const options = { ...environment, SWITCHBOARD_REDIS: `redis://${cable.address}` };
    const node = await Server.start('gateway', options);
    try {
      const frank = await node.connect('frank', { jti });
      cable.cut();
      await revoke({ jti });
      // Everybody else knows, and this one cannot.
      await isRefused(world.nodes[0], tokenOf('frank', { jti }));
      assert.equal((await frank.ask({ type: 'ping' })).type, 'pong');
      cable.mend();
      assert.deepEqual(await frank.closed(), REVOKED);
      await isRefused(node, tokenOf('frank', { jti }));
    } finally {
      await node.process.kill();
      cable.stop();
    }
    const late = await Server.start('gateway', { ...environment, SWITCHBOARD_REDIS: world.redis.url });
    try {
      assert.equal(await refusal(late, tokenOf('frank', { jti })), 4500, 'from its first moment');
    } finally {
      await late.process.kill();
    }
  });

  for (const [way, transports] of WAYS) {
    it(`ends a session of Socket.IO ${way}, which does not come back`, async () => {
      const claims = { sub: 'gil', jti: randomUUID() };
      const gil = await SocketClient.connected(world.nodes[1].url, { transports, auth: { token: sign(claims) } });
      await gil.upgraded();
      await revoke({ jti: claims.jti });
      assert.equal(await gil.ended(), 'io server disconnect');
      assert.equal(gil.socket.active, false);
      gil.socket.connect();
      assert.match(await gil.refused(), /token was revoked/);
    });

    it(`${way}, refuses recovery to a session that was cut off when its token was revoked`, async () => {
      const claims = { sub: 'hal', jti: randomUUID() };
      const cable = await Cable.to(world.nodes[0].address);
      try {
        const options = { transports, auth: { token: sign(claims) } };
        const hal = await (await SocketClient.connected(cable.url, options)).upgraded();
        await world.publish({ room: 'lobby' }, 1);
        await hal.next('test');
        cable.cut();
        await eventually('disconnected', () => !hal.socket.connected);
        hal.errors = [];
        await revoke({ jti: claims.jti });
        for (const node of world.nodes) {
          await isRefused(node, tokenOf('hal', { jti: claims.jti }));
        }
        cable.lead(world.nodes[1].address);
        hal.errors = [];
        cable.mend();
        await eventually('refused', () => hal.errors.some((error) => /token was revoked/.test(error.message)));
        assert.equal(hal.connects, 1);
      } finally {
        cable.stop();
      }
    });
  }
});
