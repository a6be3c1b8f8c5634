// What clients send reaches the backend: at least once, in the order of each room, signed, whatever was down meanwhile.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, it } from 'node:test';
import { promisify } from 'node:util';
import { Backend } from './support/backend.js';
import { Client } from './support/client.js';
import { eventually } from './support/poll.js';
import { sign } from './support/token.js';
import { WORLDS, World } from './support/world.js';

const numbers = (count) => Array.from({ length: count }, (_, n) => n);

for (const [name, start] of WORLDS) {
  describe(`with ${name}`, () => {
    it('a backend that was down has every message afterwards, in the order of each room', async (t) => {
      const backend = await Backend.create();
      t.after(() => backend.stop());
      const world = await start({ environment: await backend.environment() });
      t.after(() => world.stop());
      const rooms = ['a', 'b', 'c'];
      const clients = await Promise.all(world.nodes.map((node, n) => node.connect(`user-${n}`)));
      for (const client of clients) for (const room of rooms) await client.join(room);
      const say = async (room, data, n) => {
        const answer = await clients[n % 2].ask({ type: 'publish', room, event: 'chat', data, messageId: `${room}-${data}` });
        assert.equal(answer.type, 'published', JSON.stringify(answer));
      };
      for (const n of numbers(20)) for (const room of rooms) await say(room, n, n);
      await world.publish({ room: 'a' }, 'from the backend itself');
      await clients[0].ask({ type: 'publish', room: 'a', event: 'typing', data: 'typing', ephemeral: true });
      const again = await clients[1].ask({ type: 'publish', room: 'a', event: 'chat', data: 19, messageId: 'a-19' });
      assert.equal(again.duplicate, true);

      await backend.start();
      const everything = Object.fromEntries(rooms.map((room) => [`room:${room}`, numbers(20)]));
      await eventually('the backend has everything', () => Object.values(backend.told).flat().length >= 60);
      assert.deepEqual(backend.told, everything);
      const { id, path, body } = backend.received.find((entry) => entry.body.type === 'message.published');
      assert.match(id, /^msg_[0-9a-f]{16}-\d+-[0-9a-f]{16}$/);
      const { type, timestamp, data } = body;
      assert.deepEqual([path, type], ['/hook', 'message.published']);
      assert.ok(Math.abs(Date.parse(timestamp) - Date.now()) < 120_000, timestamp);
      assert.match(data.position, /^v1\./);
      assert.deepEqual([data.tenant, data.event, data.from.name], ['default', 'chat', data.from.user.toUpperCase()]);
      assert.ok(backend.received.every((entry) => !entry.error), 'every signature is good');

      // Who came, each once; and who goes.
      const came = [...rooms.map((room) => `room.occupied room:${room} user-0`), ...numbers(2).map((n) => `user.online user:user-${n} user-${n}`)];
      await eventually('who came is told', () => backend.changes.length === 5);
      assert.deepEqual(backend.changes.toSorted(), came.toSorted());
      // And what comes now comes at once.
      await say('a', 'now', 0);
      await eventually('it came', () => backend.told['room:a'].at(-1) === 'now');
      await clients[0].close();
      await eventually('who went is told', () => backend.changes.length === 6);
      assert.equal(backend.changes.at(-1), 'user.offline user:user-0 user-0');
      await clients[1].ask({ type: 'leave', room: 'a' });
      await eventually('and which room is empty', () => backend.changes.at(-1) === 'room.vacated room:a user-1');
    });

    it('what the backend refuses holds up nothing, is listed, and is delivered again on demand', async (t) => {
      const backend = await Backend.create();
      t.after(() => backend.stop());
      const world = await start({ environment: await backend.environment() });
      t.after(() => world.stop());
      await backend.start();
      await backend.strict(true);
      const ann = await world.nodes[0].connect('ann');
      await ann.join('a');
      for (const data of [1, 'poison', 2]) await ann.ask({ type: 'publish', room: 'a', event: 'chat', data });
      await eventually('the others came', () => backend.told['room:a']?.at(-1) === 2);
      const administer = (method, call) => fetch(`${world.fanout.url}/v1/outbox/dead${call}`, {
        method,
        headers: { Authorization: `Bearer ${sign({ sub: 'backend', scope: 'admin' })}` },
      });
      const { letters } = await (await administer('GET', '')).json();
      assert.deepEqual(letters.map(({ channel, reason, body }) => [channel, reason, body.data.data]), [['room:a', 'answered 410', 'poison']]);
      const times = () => backend.received.filter(({ id }) => id === letters[0].id).length;
      assert.equal(times(), 1);
      await backend.strict(false);
      assert.equal((await administer('POST', `/${letters[0].id}/replay`)).status, 204);
      await eventually('it came again', () => times() === 2);
      assert.deepEqual((await (await administer('GET', '')).json()).letters, []);
      // Whichever process delivered it has counted it.
      const servers = [...new Set([world.fanout, ...world.nodes])];
      const metrics = await Promise.all(servers.map(async (server) => (await server.get('/metrics')).text()));
      const dead = metrics.flatMap((text) => /^fanout_outbox_dead_total\{outbox="backend"\} (\d+)$/m.exec(text)?.[1] ?? []);
      assert.deepEqual(dead, ['1']);
    });
  });
}

// Publishes message after message in its room, each until it is confirmed, whichever node that takes.
async function insist(world, room, count, confirmed) {
  let client;
  const publish = async (data) => {
    if (!client) {
      const nodes = world.nodes.filter((node) => !node.process.ended);
      client = await Client.as(`user-${room}`, nodes[Math.floor(Math.random() * nodes.length)].socket);
      await client.join(room);
    }
    const answer = await client.ask({ type: 'publish', room, event: 'chat', data, messageId: `${room}-${data}` });
    if (answer.type !== 'published') throw new Error(JSON.stringify(answer));
    return true;
  };
  for (const n of numbers(count)) {
    await eventually(`${room} says ${n}`, async () => {
      try {
        return await publish(n);
      } catch (error) {
        client?.terminate();
        client = undefined;
        throw error;
      }
    }, 60_000);
    confirmed.count += 1;
  }
  client.terminate();
}

describe('outbox', () => {
  it('a stream takes no more than it may hold, and is read by a consumer group', async (t) => {
    const home = await mkdtemp(path.join(tmpdir(), 'switchboard-stream-'));
    t.after(() => rm(home, { recursive: true, force: true }));
    const file = path.join(home, 'switchboard.toml');
    const [channels, outbox] = ['[[channels]]\nmatch = "room:*"\noutbox = true\noutbox_size = 5', '[[outbox]]\nmatch = "room:*"\nstream = "chat"\nstream_size = 3\nlongest_rest = "1s"'];
    await writeFile(file, `${channels}\n${outbox}\n`);
    const world = await World.cluster({ environment: { SWITCHBOARD_CONFIG: file } });
    t.after(() => world.stop());
    const redis = async (...command) => (await promisify(execFile)('redis-cli', ['-u', world.redis.url, ...command])).stdout;
    await redis('XGROUP', 'CREATE', 'sb:backend:chat', 'store', '0', 'MKSTREAM');
    const ann = await world.nodes[0].connect('ann');
    await ann.join('a');
    const say = (data) => ann.ask({ type: 'publish', room: 'a', event: 'chat', data: `<${data}>` });
    for (const n of numbers(3)) assert.equal((await say(n)).type, 'published');
    await eventually('the stream is full', async () => (await redis('XLEN', 'sb:backend:chat')).trim() === '3');
    for (const n of [3, 4, 5, 6, 7]) assert.equal((await say(n)).type, 'published', 'they wait');
    const { type, code, retryable } = await say(8);
    assert.deepEqual([type, code, retryable], ['error', 'unavailable', true], 'and then it is full');

    // A reader takes entry after entry, and deletes what it is done with.
    const seen = [];
    await eventually('the reader has everything', async () => {
      const entries = await redis('XREADGROUP', 'GROUP', 'store', 'one', 'COUNT', '10', 'STREAMS', 'sb:backend:chat', '>');
      for (const [, id] of entries.matchAll(/^(\d+-\d+)$/gm)) {
        await redis('XACK', 'sb:backend:chat', 'store', id);
        await redis('XDEL', 'sb:backend:chat', id);
      }
      seen.push(...[...entries.matchAll(/"data":"<(\d)>"/g)].map(([, data]) => Number(data)));
      return seen.length === 8;
    });
    assert.deepEqual(seen, numbers(8));
    await eventually('there is room again', async () => (await say(8)).type === 'published');
  });

  it('who was on a gateway that is killed is told to have gone, once', async (t) => {
    const backend = await Backend.create();
    t.after(() => backend.stop());
    const world = await World.cluster({ environment: await backend.environment() });
    t.after(() => world.stop());
    await backend.start();
    const [ann, bob] = await Promise.all(world.nodes.map((node, n) => node.connect(['ann', 'bob'][n])));
    await ann.join('a');
    await ann.join('b');
    await bob.join('b');
    await world.nodes[0].process.kill();
    const gone = ['room.vacated room:a ann', 'user.offline user:ann ann'];
    await eventually('it is told', () => gone.every((change) => backend.changes.includes(change)), 40_000);
    assert.ok(!backend.changes.some((change) => change.startsWith('room.vacated room:b')), 'bob is still there');
    await bob.ask({ type: 'leave', room: 'b' });
    await eventually('the last one', () => backend.changes.includes('room.vacated room:b bob'));
    for (const change of gone) assert.equal(backend.changes.filter((other) => other === change).length, 1, change);
  });

  it('nothing confirmed is lost when fanouts, gateways and the backend are killed', async (t) => {
    const backend = await Backend.create();
    t.after(() => backend.stop());
    const world = await World.cluster({ environment: await backend.environment() });
    t.after(() => world.stop());
    await backend.start();
    const fanouts = [world.fanout, await world.startFanout()];
    const [rooms, each] = [['a', 'b', 'c', 'd'], Number(process.env.OUTBOX_MESSAGES ?? 250)];
    const confirmed = { count: 0 };
    let done = false;
    const publishing = Promise.all(rooms.map((room) => insist(world, room, each, confirmed))).finally(() => (done = true));

    // Kills one after the other, each time after some more messages.
    const kills = { fanout: 0, gateway: 0, backend: 0 };
    const moments = numbers(9).map((n) => Math.floor(((n + 1) * rooms.length * each) / 11));
    for (const [turn, moment] of moments.entries()) {
      await eventually(`${moment} messages`, () => done || confirmed.count >= moment, 60_000);
      const what = Object.keys(kills)[turn % 3];
      kills[what] += 1;
      if (what === 'backend') {
        await backend.kill();
        await backend.start();
      } else if (what === 'fanout') {
        await fanouts[turn % 2].process.kill();
        fanouts[turn % 2] = await world.startFanout();
      } else {
        await world.nodes[turn % 2].process.kill();
        world.nodes[turn % 2] = await world.startNode();
      }
    }
    await publishing;
    const total = rooms.length * each;
    assert.equal(confirmed.count, total);
    await eventually('the backend has everything', () => Object.values(backend.told).flat().length >= total, 60_000);
    for (const room of rooms) assert.deepEqual(backend.told[`room:${room}`], numbers(each), `the order of ${room}`);
    assert.ok(backend.received.every((entry) => !entry.error));
    const repeated = backend.received.filter((entry) => entry.body.type === 'message.published').length - total;
    t.diagnostic(`${total} confirmed, 0 lost, ${repeated} delivered again; killed: ${JSON.stringify(kills)}`);
  });
});
