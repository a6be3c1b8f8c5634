// The phone dialer's contract, kept by its example configuration: plain WebSocket, and calls that Telnyx tells of.

import assert from 'node:assert/strict';
import { generateKeyPairSync, sign as signed } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { Socket, example, hangUp } from './support/application.js';
import { SECRET, sign } from './support/token.js';
import { World } from './support/world.js';

const telnyx = generateKeyPairSync('ed25519');
// The last 32 bytes of the form that Node exports are the key itself.
const TELNYX_PUBLIC_KEY = telnyx.publicKey.export({ type: 'spki', format: 'der' }).subarray(-32).toString('base64');
const stranger = generateKeyPairSync('ed25519');

const seconds = () => Math.floor(Date.now() / 1000);

describe('the dialer, on two gateways', () => {
  let world;
  const used = [];
  const agent = (claims = {}) => {
    const token = sign({ id: 7, email: 'ann@example.com', ...claims });
    used.push(token);
    return token;
  };
  const connect = async (node = 0, claims) => {
    const socket = await Socket.open(`${world.nodes[node].socket}?token=${agent(claims)}`);
    return [socket, (await socket.next('connected', (frame) => frame.event === 'connected')).data];
  };
  const call = (id, type = 'call.initiated', payload = { call_control_id: id, from: '+15550100' }) =>
    JSON.stringify({ data: { event_type: type, id, occurred_at: new Date().toISOString(), payload }, meta: { attempt: 1 } });
  const post = async (body, { key = telnyx.privateKey, at = seconds(), headers } = {}) => {
    const response = await fetch(`${world.fanout.url}/webhooks/telnyx`, {
      method: 'POST',
      headers: headers ?? {
        'content-type': 'application/json',
        'telnyx-signature-ed25519': signed(null, Buffer.from(`${at}|${body}`), key).toString('base64'),
        'telnyx-timestamp': String(at),
      },
      body,
    });
    await response.arrayBuffer();
    return response.status;
  };

  before(async () => {
    world = await World.cluster({
      environment: {
        SWITCHBOARD_CONFIG: example('dialer'),
        SWITCHBOARD_LOG_LEVEL: 'trace',
        TELNYX_PUBLIC_KEY,
      },
    });
  });
  after(async () => {
    hangUp();
    await world?.stop();
  });

  it('says first who is connected, whether the token came in the query or in the header', async () => {
    const { socket } = world.nodes[0];
    const clients = await Promise.all([
      Socket.open(`${socket}?token=${agent()}`),
      Socket.open(socket, { headers: { Authorization: `Bearer ${agent()}` } }),
    ]);
    const ids = new Set();
    for (const client of clients) {
      const first = await client.next('the first frame', () => true);
      assert.deepEqual(Object.keys(first), ['event', 'data']);
      assert.equal(first.event, 'connected');
      assert.equal(first.data.user, 'ann@example.com');
      assert.ok(first.data.clientId.startsWith('ann@example.com-'), first.data.clientId);
      ids.add(first.data.clientId);
    }
    assert.equal(ids.size, 2, 'unique to the connection');
  });

  it('answers a ping', async () => {
    const [client] = await connect();
    client.send({ type: 'ping', data: {} });
    const pong = await client.next('pong', (frame) => frame.event === 'pong');
    assert.deepEqual(Object.keys(pong.data), ['timestamp']);
    assert.ok(Math.abs(pong.data.timestamp - Date.now()) < 60_000);
  });

  it('accepts a socket without a good token, and closes it with 1008 and a reason for people', async () => {
    const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const claims = part({ id: 7, email: 'ann@example.com', exp: seconds() + 600 });
    for (const [token, reason] of [
      [undefined, /no token/],
      ['rubbish', /not a signed JWT/],
      [agent({ exp: seconds() - 600 }), /expired/],
      [sign({ id: 7, email: 'ann@example.com' }, 'a secret of somebody else, as long as ours'), /signature is wrong/],
      [`${part({ alg: 'none', typ: 'JWT' })}.${claims}.`, /algorithm|not a signed JWT/],
      [sign({ email: 'ann@example.com' }), /id.*missing|missing/],
      [agent({ nbf: seconds() + 600 }), /not valid yet/],
    ]) {
      const url = world.nodes[1].socket + (token === undefined ? '' : `?token=${token}`);
      if (token) used.push(token);
      const client = await Socket.open(url);
      const end = await client.closed();
      assert.equal(end.code, 1008, JSON.stringify(end));
      assert.match(end.reason, reason);
      assert.ok(!token || !end.reason.includes(token), 'the token is not repeated');
    }
  });

  it('survives rubbish, which is ignored', async () => {
    const [client] = await connect();
    const canary = 'a-canary-in-a-frame';
    for (const rubbish of [
      '', canary, '{', '[]', '"text"', '7', 'null', '{}', '{"type":7}', `{"type":"${canary}"}`, '{"event":"ping","data":',
      `{"type":"ping","type":"ping","data":${'['.repeat(200)}`, '\u0000',
    ]) {
      client.raw(rubbish);
    }
    client.send({ type: 'ping', data: {} });
    await client.next('pong', (frame) => frame.event === 'pong');
    assert.deepEqual(client.frames, [], 'nothing else was said');
    assert.match(world.output, /a frame was not understood/);
    const quoting = world.output.split('\n').filter((line) => line.includes(canary) && !line.includes('"TRACE"'));
    assert.deepEqual(quoting, [], 'at no level but the finest the log repeats what clients send');
  });

  it('tells every client on every node of each call, once', async () => {
    const [[ann], [bob]] = await Promise.all([connect(0), connect(1, { id: 8, email: 'bob@example.com' })]);
    const names = {
      'call.initiated': 'call-initiated',
      'call.answered': 'call-answered',
      'call.hangup': 'call-hangup',
      'call.dtmf.received': 'dtmf-received',
      'call.recording.saved': 'call-recording-saved',
      'call.speak.started': 'call-speak-started',
      'call.speak.ended': 'call-speak-ended',
    };
    for (const [type, event] of Object.entries(names)) {
      const payload = { call_control_id: type, duration: 1.50, tags: ['a', null] };
      const body = call(`id-${type}`, type, payload);
      for (let attempt = 0; attempt < 3; attempt += 1) assert.equal(Math.floor((await post(body)) / 100), 2);
      for (const client of [ann, bob]) {
        assert.deepEqual(await client.next(event, () => true), { event, data: payload });
      }
    }
    assert.equal(Math.floor((await post(call('other', 'call.machine.detection.ended'))) / 100), 2);
    assert.equal(Math.floor((await post(call('last'))) / 100), 2);
    for (const client of [ann, bob]) {
      // Whatever was delivered twice would stand before this.
      assert.equal((await client.next('the last', () => true)).data.call_control_id, 'last');
    }
  });

  it('refuses what is forged, stale or unsigned, and delivers nothing of it', async () => {
    const [client] = await connect(1);
    const body = call('refused');
    const json = { 'content-type': 'application/json' };
    const signature = (text, key = telnyx.privateKey) => signed(null, Buffer.from(text), key).toString('base64');
    const now = seconds();
    for (const [what, status] of Object.entries({
      forged: await post(body, { key: stranger.privateKey }),
      old: await post(body, { at: now - 301 }),
      'of the future': await post(body, { at: now + 330 }),
      unsigned: await post(body, { headers: json }),
      'without a time': await post(body, { headers: { ...json, 'telnyx-signature-ed25519': signature(`${now}|${body}`) } }),
      'with another time': await post(body, {
        headers: { ...json, 'telnyx-signature-ed25519': signature(`${now}|${body}`), 'telnyx-timestamp': String(now - 1) },
      }),
      'with another body': await post(`${body} `, {
        headers: { ...json, 'telnyx-signature-ed25519': signature(`${now}|${body}`), 'telnyx-timestamp': String(now) },
      }),
      'with no number for a time': await post(body, {
        headers: { ...json, 'telnyx-signature-ed25519': signature(`NaN|${body}`), 'telnyx-timestamp': 'NaN' },
      }),
    })) {
      assert.ok([400, 401, 403].includes(status), `${what}: ${status}`);
    }
    assert.equal(Math.floor((await post(call('taken'))) / 100), 2);
    assert.equal((await client.next('a call', () => true)).data.call_control_id, 'taken');
  });

  it('has its health on the main listener, with the number of connections', async () => {
    const [client] = await connect(0);
    const response = await world.nodes[0].get('/health');
    const health = await response.json();
    assert.equal(response.status, 200);
    assert.equal(health.status, 'ok');
    assert.ok(health.connections >= 1, JSON.stringify(health));
    await client.close();
  });

  it('logs who came and went, and no token ever', async () => {
    const [client] = await connect(0, { id: 99, email: 'eve@example.com' });
    await client.close();
    const { process } = world.nodes[0];
    await process.line(/"user":"99".*"connected"|"connected".*"user":"99"/);
    await process.line(/"user":"99".*"disconnected"|"disconnected".*"user":"99"/);
    const told = [world.output];
    for (const server of [world.fanout, ...world.nodes]) {
      for (const path of ['/metrics', '/status', '/health']) told.push(await (await server.get(path)).text());
    }
    const text = told.join('\n');
    assert.match(text, /"level":"trace"/i, 'the log is complete');
    assert.ok(used.length > 10);
    for (const token of used) {
      for (const part of token.split('.').slice(-2).filter((part) => part.length > 8)) {
        assert.ok(!text.includes(part), part);
      }
    }
    assert.ok(!text.includes(SECRET));
  });
});
