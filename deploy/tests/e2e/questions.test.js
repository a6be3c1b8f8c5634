// Questions from a backend to the clients of a user, which answer by acknowledgements: unmodified clients, two gateways.

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { Cable } from './support/cable.js';
import { Client } from './support/client.js';
import { eventually } from './support/poll.js';
import { SocketClient, WAYS, disconnectAll } from './support/socketio.js';
import { sign, tokenOf } from './support/token.js';
import { World } from './support/world.js';

const CONFIG = `
[[endpoints]]
path = "/ws"

[[endpoints]]
protocol = "socketio"
vocabulary = "calls"

[vocabularies.calls]
publications.ring = { event = "ring", body = { call = "$data.call" } }
publications.note = { event = "note", body = "$data" }
`;

describe('questions', () => {
  let home;
  let world;
  let number = 0;
  before(async () => {
    home = await mkdtemp(path.join(tmpdir(), 'switchboard-questions-'));
    const file = path.join(home, 'calls.toml');
    await writeFile(file, CONFIG);
    world = await World.cluster({ environment: { SWITCHBOARD_CONFIG: file } });
  });
  after(async () => {
    await world?.stop();
    await rm(home, { recursive: true, force: true });
  });
  afterEach(() => disconnectAll());

  const someone = () => `user${(number += 1)}`;
  const open = (user, url, transports = ['websocket']) =>
    SocketClient.connected(url, { transports, auth: { token: tokenOf(user) } }).then((client) => client.upgraded());
  // What becomes of a question.
  const ask = async (user, question, claims = { sub: 'backend', scope: 'admin' }) => {
    const response = await fetch(`${world.fanout.url}/v1/users/${user}/ask`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${sign(claims)}` },
      body: JSON.stringify({ event: 'ring', data: { call: 7 }, ...question }),
      signal: AbortSignal.timeout(40_000),
    });
    return { status: response.status, ...(await response.json()) };
  };
  // Has a client give its name and what it was asked.
  const answer = (client, name) =>
    client.socket.on('ring', (data, done) => done(name, data, Buffer.from([1, 2, 3]), null));
  const byName = (one, other) => (one.data[0] < other.data[0] ? -1 : 1);

  for (const [way, transports] of WAYS) {
    it(`${way}: every session on every node is asked, and says what it has to say`, async () => {
      const user = someone();
      const clients = [await open(user, world.nodes[0].url, transports), await open(user, world.nodes[1].url, transports)];
      const stranger = await open(someone(), world.nodes[0].url, transports);
      clients.forEach((client, index) => answer(client, `client ${index}`));
      // Long before the time is over.
      const { status, answers, silent, unasked } = await ask(user, { timeout: 30_000 });
      assert.deepEqual({ status, silent, unasked }, { status: 200, silent: 0, unasked: 0 });
      const said = clients.map((client, index) => ({
        session: client.socket.id,
        data: [`client ${index}`, { call: 7 }, 'AQID', null],
      }));
      assert.deepEqual(answers.sort(byName), said);
      assert.deepEqual(stranger.events, []);
    });

    it(`${way}: who does not answer in time is counted, and an answer that is late is none`, async () => {
      const user = someone();
      const [ann, mute] = [await open(user, world.nodes[0].url, transports), await open(user, world.nodes[1].url, transports)];
      answer(ann, 'ann');
      const held = [];
      mute.socket.on('ring', (data, done) => held.push(done));
      const first = await ask(user, { timeout: 500 });
      assert.deepEqual([first.answers.map(({ data }) => data[0]), first.silent], [['ann'], 1]);
      assert.equal(held.length, 1);
      // Each question has its own answers.
      const asked = ask(user, { timeout: 30_000 });
      await eventually('asked again', () => held.length === 2);
      held[0]('late');
      mute.socket.io.engine.write('399["nobody asked"]');
      held[1]('mute');
      const second = await asked;
      assert.deepEqual(second.answers.sort(byName).map(({ data }) => data[0]), ['ann', 'mute']);
      assert.deepEqual([ann.ends, mute.ends], [[], []]);
    });

    it(`${way}: a question does not change where a client stands, and none waits for its return`, async () => {
      const cable = await Cable.to(world.nodes[0].address);
      try {
        const user = someone();
        const ann = await open(user, cable.url, transports);
        const held = [];
        ann.socket.on('ring', (data, done) => held.push(done));
        await world.publish({ user }, 1, { event: 'note' });
        assert.equal(await ann.next('note'), 1);
        const asked = ask(user, { timeout: 3000 });
        await eventually('asked', () => held.length === 1);
        cable.lead(world.nodes[1].address);
        cable.cut();
        await eventually('disconnected', () => !ann.socket.connected);
        await world.publish({ user }, 2, { event: 'note' });
        cable.mend();
        await eventually('back', () => ann.connects === 2);
        assert.equal(ann.socket.recovered, true);
        held[0]('from another connection');
        const { answers, silent } = await asked;
        assert.deepEqual({ answers, silent }, { answers: [], silent: 1 });
        assert.equal(await ann.next('note'), 2);
        assert.deepEqual(ann.events.filter(([name]) => name !== 'ring'), []);
        assert.equal(held.length, 1);
      } finally {
        cable.stop();
      }
    });
  }

  it('is over when all who were asked are gone or have answered', async () => {
    const user = someone();
    const [ann, bob] = [await open(user, world.nodes[0].url), await open(user, world.nodes[1].url)];
    answer(ann, 'ann');
    bob.socket.on('ring', () => bob.socket.disconnect());
    const { answers, silent } = await ask(user, { timeout: 30_000 });
    assert.deepEqual([answers.length, silent], [1, 1]);
  });

  it('goes to clients of Socket.IO alone, and the others are counted', async () => {
    const user = someone();
    const native = await Client.as(user, world.nodes[1].socket);
    const { status, answers, silent, unasked } = await ask(user);
    assert.deepEqual({ status, answers, silent, unasked }, { status: 200, answers: [], silent: 0, unasked: 1 });
    const ann = await open(user, world.nodes[0].url);
    // A vocabulary without a word for it cannot ask.
    assert.equal((await ask(user, { event: 'unknown' })).unasked, 2);
    answer(ann, 'ann');
    const both = await ask(user, { timeout: 30_000 });
    assert.deepEqual([both.answers.length, both.unasked], [1, 1]);
    native.terminate();
  });

  it('has limits: of open questions, and of what an answer holds', async () => {
    const user = someone();
    const ann = await open(user, world.nodes[0].url);
    const held = [];
    ann.socket.on('ring', (data, done) => held.push(done));
    const asked = Array.from({ length: 20 }, () => ask(user, { timeout: 30_000 }));
    await eventually('asked', () => held.length === 16);
    // Those that were not put are over at once; the others are answered.
    const done = new Set();
    asked.forEach((question, index) => question.then(() => done.add(index)));
    await eventually('four over', () => done.size === 4);
    held.forEach((reply) => reply('x'.repeat(15_000)));
    const all = await Promise.all(asked);
    assert.equal(all.filter(({ answers }) => answers.length === 1).length, 16);
    assert.equal(all.filter(({ silent }) => silent === 1).length, 4);
    const large = ask(user, { timeout: 30_000 });
    await eventually('asked', () => held.length === 17);
    held[16]('x'.repeat(17_000));
    assert.equal((await large).silent, 1);
    assert.deepEqual(ann.ends, []);
  });

  it('needs the scope for administration, and somebody to ask', async () => {
    const user = someone();
    assert.equal((await ask(user)).status, 404);
    assert.equal((await ask(user, {}, { sub: 'backend', scope: 'publish' })).status, 403);
    assert.equal((await ask(user, { timeout: 30_001 })).status, 400);
  });
});
