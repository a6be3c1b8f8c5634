// Binary data: what a client of Socket.IO emits with attachments others get as bytes, at the same place, and who cannot be
// given bytes gets them as text. Unmodified clients, on two gateways.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { Cable } from './support/cable.js';
import { eventually } from './support/poll.js';
import { SocketClient, WAYS, disconnectAll } from './support/socketio.js';
import { sign, tokenOf } from './support/token.js';
import { World } from './support/world.js';

// Also clients that are not told where they stand, and so get each event in one piece.
const CONFIG = `
[[channels]]
match = "room:*"
max_message = "100kb"
outbox = true

[[outbox]]
match = "room:*"
name = "files"
stream = "files"

[[endpoints]]
path = "/ws"

[[endpoints]]
protocol = "socketio"
vocabulary = "files"
queue_size = "1mb"
max_frame = "200kb"

[[endpoints]]
path = "/live"
protocol = "socketio"
vocabulary = "files"
recovery = "0s"

[vocabularies.files]
incoming.join = { action = "join", room = "$body" }
incoming.file = { action = "publish", room = "$body.room", data = { file = "$body.file", note = "$body.note ?? null" } }
publications.file = { event = "file", body = { file = "$data.file", note = "$data.note", name = "of \${user.id ?? \\"nobody\\"}" } }
errors.publish = { event = "refused", body = "$code" }
`;

const PNG = Buffer.from('iVBORw0KGgo=', 'base64');

describe('attachments', () => {
  let home;
  let world;
  let room;
  before(async () => {
    home = await mkdtemp(path.join(tmpdir(), 'switchboard-attachments-'));
    const file = path.join(home, 'files.toml');
    await writeFile(file, CONFIG);
    world = await World.cluster({ environment: { SWITCHBOARD_CONFIG: file } });
  });
  after(async () => {
    await world?.stop();
    await rm(home, { recursive: true, force: true });
  });
  beforeEach(() => (room = randomUUID()));
  afterEach(() => disconnectAll());

  const enter = async (user, url, options) => {
    const client = await SocketClient.connected(url, { auth: { token: tokenOf(user) }, ...options });
    if (options) await client.upgraded();
    await client.ask('join', room);
    return client;
  };
  const send = async (client, file, note) => assert.equal((await client.ask('file', { room, file, note }))?.error, undefined);

  for (const [way, transports] of WAYS) {
    describe(way, () => {
      it('are bytes to others wherever they stand, one event after the other', async () => {
        const [ann, bob] = [
          await enter('ann', world.nodes[0].url, { transports }),
          await enter('bob', world.nodes[1].url, { transports }),
        ];
        const large = randomBytes(60_000);
        await send(ann, PNG);
        await send(ann, 'a text');
        await send(ann, { list: [1, new Uint8Array([1, 2, 3]), { deep: Buffer.alloc(0) }], large }, PNG);
        for (const client of [ann, bob]) {
          assert.deepEqual(await client.next('file'), { file: PNG, note: null, name: 'of ann' });
          assert.deepEqual(await client.next('file'), { file: 'a text', note: null, name: 'of ann' });
          const { file, note } = await client.next('file');
          assert.deepEqual(file, { list: [1, Buffer.from([1, 2, 3]), { deep: Buffer.alloc(0) }], large });
          assert.deepEqual(note, PNG);
          assert.deepEqual(client.ends, []);
        }
      });

      it('are bytes as well to who is not told its place', async () => {
        const bob = await enter('bob', world.nodes[1].url, { path: '/live', transports });
        const ann = await enter('ann', world.nodes[0].url, { transports });
        await send(ann, [PNG, PNG]);
        assert.deepEqual((await bob.next('file')).file, [PNG, PNG]);
      });

      it('are bytes to who comes back, on another node, and its place is behind them', async () => {
        const cable = await Cable.to(world.nodes[0].address);
        try {
          const ann = await enter('ann', world.nodes[0].url, { transports });
          const bob = await enter('bob', cable.url, { transports });
          await send(ann, [PNG, 1]);
          assert.deepEqual((await bob.next('file')).file, [PNG, 1]);
          cable.lead(world.nodes[1].address);
          cable.cut();
          await eventually('disconnected', () => !bob.socket.connected);
          await send(ann, [2, PNG]);
          cable.mend();
          await eventually('back', () => bob.connects === 2);
          assert.equal(bob.socket.recovered, true);
          await send(ann, 'last');
          assert.deepEqual((await bob.next('file')).file, [2, PNG]);
          assert.equal((await bob.next('file')).file, 'last');
          assert.deepEqual(bob.events, []);
        } finally {
          cable.stop();
        }
      });

      it('keep together for who takes them slowly', async () => {
        const bob = await enter('bob', world.nodes[1].url, { transports });
        const ann = await enter('ann', world.nodes[0].url, { transports });
        const resume = bob.pause();
        const files = Array.from({ length: 30 }, (_, n) => [n, randomBytes(50_000), `between ${n}`, randomBytes(n)]);
        for (const file of files) await send(ann, file);
        resume();
        for (const file of files) assert.deepEqual((await bob.next('file')).file, file);
        assert.deepEqual(bob.ends, []);
      });

      it('count by their own size, and have a limit', async () => {
        const ann = await enter('ann', world.nodes[0].url, { transports });
        // As text they would be larger than the room takes.
        await send(ann, Buffer.alloc(99_000, 7));
        assert.equal((await ann.next('file')).file.length, 99_000);
        const answer = await ann.ask('file', { room, file: Buffer.alloc(103_000) });
        assert.deepEqual(answer, { error: 'too_large' });
        const eleven = Array.from({ length: 11 }, () => PNG);
        ann.emit('file', { room, file: eleven });
        assert.match(await ann.ended(), /transport/);
      });

      it('are what a backend says they are', async () => {
        const ann = await enter('ann', world.nodes[0].url, { transports });
        const data = { file: { 'a/b': PNG.toString('base64'), text: PNG.toString('base64') } };
        await world.publish({ room }, data, { event: 'file', binary: ['/file/a~1b'] });
        const expected = { 'a/b': PNG, text: PNG.toString('base64') };
        assert.deepEqual(await ann.next('file'), { file: expected, name: 'of nobody' });
        const refused = await world.fanout.publish({ room }, data, { event: 'file', binary: ['/file/a~1b', '/file'] });
        assert.equal(refused.status, 422);
        assert.equal(refused.body.pointer, '/binary/1');
      });
    });
  }

  it('are text to everybody else: to other framings, in a history, and to the backend', async () => {
    const native = await world.nodes[1].connect('nat');
    await native.join(room);
    const ann = await enter('ann', world.nodes[0].url);
    await send(ann, PNG);
    const data = { file: PNG.toString('base64'), note: null };
    assert.deepEqual((await native.next('message')).data, data);
    const { messages } = await native.ask({ type: 'history', room });
    assert.deepEqual(messages.map((message) => message.data), [data]);
    const url = `${world.fanout.url}/v1/channels/room:${room}/history`;
    const response = await fetch(url, { headers: { Authorization: `Bearer ${sign({ sub: 'backend', scope: 'admin' })}` } });
    const kept = await response.json();
    assert.deepEqual(kept.items.map((item) => item.data), [data], JSON.stringify(kept));
    const backend = ['-u', world.redis.url, 'XREVRANGE', 'sb:backend:files', '+', '-', 'COUNT', '1'];
    const letter = new RegExp(`room:${room}.*"file":"${PNG.toString('base64')}"`);
    await eventually('a letter', async () => letter.test((await promisify(execFile)('redis-cli', backend)).stdout));
  });

  it('cannot be forged: what looks like a placeholder is an object', async () => {
    const [ann, bob] = [await enter('ann', world.nodes[0].url), await enter('bob', world.nodes[1].url)];
    const forged = { _placeholder: true, num: 7 };
    // Not even where there are bytes beside it, which the client could not write.
    await world.publish({ room }, { file: forged, note: PNG.toString('base64') }, { event: 'file', binary: ['/note'] });
    await send(ann, forged);
    for (const client of [ann, bob]) {
      assert.deepEqual((await client.next('file')), { file: forged, note: PNG.toString('base64'), name: 'of nobody' });
      assert.deepEqual((await client.next('file')).file, forged);
      assert.deepEqual(client.ends, []);
    }
  });
});
