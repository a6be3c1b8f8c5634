// What is sent to a user who is away: given on the next connection, on whichever node, once to each of the user's devices.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { Client, closeAll } from './support/client.js';
import { eventually } from './support/poll.js';
import { post } from './support/post.js';
import { SocketClient, WAYS, disconnectAll } from './support/socketio.js';
import { sign, tokenOf } from './support/token.js';
import { World } from './support/world.js';

const CARE = path.resolve(import.meta.dirname, '../../examples/care.toml');

let home;
before(async () => {
  home = await mkdtemp(path.join(tmpdir(), 'switchboard-offline-'));
});
after(() => rm(home, { recursive: true, force: true }));

// Two gateways with this configuration.
const start = async (name, text) => {
  const file = path.join(home, `${name}.toml`);
  await writeFile(file, text);
  return World.cluster({ environment: { SWITCHBOARD_CONFIG: file } });
};

const command = async (world, ...words) =>
  (await promisify(execFile)('redis-cli', ['-u', world.redis.url, ...words])).stdout.trim();

// The offset of a user's last message, and how far one of their devices is known to have got.
const top = (world, user) => command(world, 'HGET', `sb:{default/u/${user}}:m`, 's');
const reached = async (world, user, device) =>
  (await command(world, 'HGET', `sb:{default/u/${user}}:d`, device)).split(':')[1];

// The device answers for all that its user was sent.
const settled = (world, user, device) =>
  eventually(`${device} of ${user} has everything`, async () => (await reached(world, user, device)) === (await top(world, user)));

let users = 0;

describe('an offline queue of the native protocol', () => {
  let world;
  let ann;
  before(async () => {
    const kept = '[[channels]]\nmatch = "user:*"\nhistory_size = 200\nhistory_age = "7d"\n';
    world = await start('native', `[[endpoints]]\npath = "/ws"\noffline = "kept"\n${kept}`);
  });
  after(() => world?.stop());
  beforeEach(() => (ann = `ann-${++users}`));
  afterEach(closeAll);

  const open = (node, device, rest = '') => Client.as(ann, `${world.nodes[node].socket}?device=${device}${rest}`);
  const say = (data) => world.publish({ user: ann }, data);
  const hears = async (client, numbers) => {
    for (const number of numbers) assert.equal((await client.next('message')).data, number);
  };

  it('gives what was sent meanwhile on the next connection, once to each device', async () => {
    const phone = await open(0, 'phone');
    await say(1);
    await hears(phone, [1]);
    await settled(world, ann, 'phone');
    await phone.close();
    await say(2);
    await say(3);
    const back = await open(1, 'phone');
    await hears(back, [2, 3]);
    await settled(world, ann, 'phone');
    await back.close();
    const again = await open(0, 'phone');
    const desk = await open(1, 'desk');
    await say(4);
    await hears(again, [4]);
    await hears(desk, [1, 2, 3, 4]);
    await settled(world, ann, 'desk');
    await desk.close();
    const later = await open(0, 'desk');
    await say(5);
    await hears(later, [5]);
  });

  it('loses nothing when the node is killed while messages come', async () => {
    const doomed = await world.startNode();
    const seen = [];
    const client = await Client.as(ann, `${doomed.socket}?device=phone`);
    client.listen((frame) => frame.type === 'message' && seen.push(frame));
    let sent = 0;
    while (sent < 20) await say(++sent);
    await settled(world, ann, 'phone');
    const killed = (async () => {
      await eventually('some came', () => seen.length >= 40);
      await doomed.process.kill();
    })();
    while (sent < 150) await say(++sent);
    await killed;
    await client.whenClosed;
    const before = seen.map(({ data }) => data);
    assert.deepEqual(before, before.map((_, at) => at + 1));
    const back = await open(1, 'phone');
    const { data: first } = await back.next('message');
    // Some may come again that the device had and is not known to have.
    assert.ok(first > 20 && first <= before.length + 1, `${before.length} had come, then from ${first}`);
    await hears(back, Array.from({ length: 150 - first }, (_, at) => first + 1 + at));
    await settled(world, ann, 'phone');
    await back.close();
    const again = await open(0, 'phone');
    await say(151);
    await hears(again, [151]);
  });

  it('tells who was away for too long that something is missing', async () => {
    const phone = await open(0, 'phone');
    await say(0);
    await hears(phone, [0]);
    await settled(world, ann, 'phone');
    await phone.close();
    for (let sent = 0; sent < 500; sent += 50) {
      await Promise.all(Array.from({ length: 50 }, () => say('more')));
    }
    const back = await open(1, 'phone');
    const gap = await back.next('gap');
    assert.deepEqual([gap.channel, gap.reason], [`user:${ann}`, 'trimmed']);
    await settled(world, ann, 'phone');
    const got = back.messages().length;
    assert.ok(got >= 200 && got < 500, `${got} of 500`);
    await back.close();
    const again = await open(0, 'phone');
    await say('last');
    await hears(again, ['last']);
  });

  it('believes a client that says itself where it was', async () => {
    await say(1);
    await say(2);
    const phone = await open(0, 'phone');
    const { position } = await phone.next('message');
    await hears(phone, [2]);
    await settled(world, ann, 'phone');
    await phone.close();
    const back = await open(1, 'phone', `&since=${encodeURIComponent(`user:${ann}@${position}`)}`);
    await hears(back, [2]);
  });

  it('refuses what is no name of a device', async () => {
    await assert.rejects(open(0, 'a/b'), /400/);
    const client = await Client.open(world.nodes[0].socket);
    const answer = await client.ask({ type: 'auth', token: tokenOf(ann), device: '' });
    assert.deepEqual([answer.type, answer.code], ['error', 'invalid_name']);
  });
});

describe('an offline queue for unmodified clients of Socket.IO', () => {
  let world;
  let ann;
  before(async () => {
    const text = await readFile(CARE, 'utf8');
    // As its comments say.
    const queued = text.replace(/^#(?! |$)|^only_if_connected = .*\n/gm, '').replace('history_size = 1000', 'history_size = 100');
    assert.notEqual(queued, text);
    world = await start('care', queued);
  });
  after(() => world?.stop());
  beforeEach(() => (ann = `ann-${++users}`));
  afterEach(disconnectAll);

  const say = async (data) => {
    const token = sign({ sub: 'backend', scope: 'send' });
    const message = { userId: ann, type: 'visit', data };
    const response = await post(`${world.fanout.url}/websocket/message/user`, token, message);
    assert.equal(response.status, 200, await response.text());
  };
  const heard = (client) => client.events.filter(([name]) => name === 'message').map(([, { data }]) => data);
  const hears = (client, numbers) =>
    eventually(`hears ${numbers}`, () => {
      assert.deepEqual(heard(client), numbers);
      return true;
    });

  for (const [way, transports] of WAYS) {
    describe(way, () => {
      const open = async (node, auth) => {
        const options = { transports, auth, extraHeaders: { Authorization: `Bearer ${sign({ sub: ann })}` } };
        return (await SocketClient.connected(world.nodes[node].url, options)).upgraded();
      };

      it('gives what was sent meanwhile on the next connection, once', async () => {
        await say(1);
        const first = await open(0);
        await hears(first, [1]);
        await say(2);
        await hears(first, [1, 2]);
        await settled(world, ann, 'any');
        first.socket.disconnect();
        await say(3);
        await say(4);
        const second = await open(1);
        await hears(second, [3, 4]);
        await settled(world, ann, 'any');
        second.socket.disconnect();
        const third = await open(0);
        await say(5);
        await hears(third, [5]);
      });

      it('keeps the devices apart that name themselves', async () => {
        const phone = await open(0, { device: 'phone' });
        await say(1);
        await hears(phone, [1]);
        await settled(world, ann, 'phone');
        phone.socket.disconnect();
        await say(2);
        await hears(await open(1, { device: 'desk' }), [1, 2]);
        await hears(await open(1, { device: 'phone' }), [2]);
      });

      it('loses nothing when the node is killed', async () => {
        const doomed = await world.startNode();
        const headers = { Authorization: `Bearer ${sign({ sub: ann })}` };
        const options = { transports, extraHeaders: headers, reconnection: false };
        const client = await (await SocketClient.connected(doomed.url, options)).upgraded();
        for (let number = 1; number <= 60; number += 1) {
          await say(number);
          if (number === 20) await settled(world, ann, 'any');
          if (number === 40) {
            await eventually('some came', () => heard(client).length >= 30);
            await doomed.process.kill();
          }
        }
        const before = heard(client);
        assert.deepEqual(before, before.map((_, at) => at + 1));
        const back = await SocketClient.connected(world.nodes[1].url, options);
        await eventually('the last', () => heard(back).at(-1) === 60);
        const [first] = heard(back);
        assert.ok(first > 20 && first <= before.length + 1, `${before.length} had come, then from ${first}`);
        assert.deepEqual(heard(back), Array.from({ length: 61 - first }, (_, at) => first + at));
      });

      it('tells who was away for too long, in words that the client knows', async () => {
        const client = await open(0);
        await say(0);
        await hears(client, [0]);
        await settled(world, ann, 'any');
        client.socket.disconnect();
        for (let sent = 0; sent < 300; sent += 50) await Promise.all(Array.from({ length: 50 }, () => say('more')));
        const back = await open(1);
        const { type, data, timestamp } = await back.next('message');
        assert.deepEqual([type, data.level], ['system', 'warning']);
        assert.equal(typeof timestamp, 'number');
        await settled(world, ann, 'any');
        assert.ok(heard(back).length >= 100 && heard(back).length < 300);
        assert.equal(back.connects, 1);
      });
    });
  }
});
