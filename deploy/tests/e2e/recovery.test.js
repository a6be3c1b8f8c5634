// Connection state recovery: unmodified clients of Socket.IO that come back, to whichever node, miss nothing and are told so.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import path from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { Cable } from './support/cable.js';
import { eventually } from './support/poll.js';
import { SocketClient, WAYS, disconnectAll } from './support/socketio.js';
import { sign } from './support/token.js';
import { World } from './support/world.js';

const EXAMPLE = path.resolve(import.meta.dirname, '../../examples/crm.toml');

describe('coming back', () => {
  let world;
  let cable;
  let org;
  before(async () => {
    world = await World.cluster({ environment: { SWITCHBOARD_CONFIG: EXAMPLE, TWILIO_AUTH_TOKEN: 'x', CRM_NUMBERS: '{}' } });
  });
  after(() => world?.stop());
  beforeEach(async () => {
    org = randomUUID();
    cable = await Cable.to(world.nodes[0].address);
  });
  afterEach(() => {
    disconnectAll();
    cable.stop();
  });

  const claims = (rest) => ({ userId: randomUUID(), organizationId: org, email: 'a@b.example', ...rest });
  const accept = async (number) => {
    const response = await fetch(`${world.fanout.url}/incoming-calls/accept`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${sign(claims())}` },
      body: JSON.stringify({ callSid: `CA${number}` }),
    });
    assert.equal(response.status, 200, await response.text());
  };
  const calls = (client) =>
    client.events.filter(([event]) => event === 'call-accepted').map(([, { callSid }]) => Number(callSid.slice(2)));
  const sees = (client, numbers) =>
    eventually(`sees ${numbers}`, () => {
      assert.deepEqual(calls(client), numbers);
      return true;
    });
  const back = (client, times = 2) => eventually('back', () => client.connects >= times && client.socket.connected);

  for (const [way, transports] of WAYS) {
    describe(way, () => {
      const open = async (user = claims()) => {
        const options = { transports, auth: (give) => give({ token: sign(user) }) };
        return (await SocketClient.connected(cable.url, options)).upgraded();
      };

      it('after a cut, on the same node, though that still holds the old connection', async () => {
        const ann = await open();
        const { id } = ann.socket;
        await accept(1);
        await sees(ann, [1]);
        cable.cut();
        await eventually('disconnected', () => !ann.socket.connected);
        await accept(2);
        await accept(3);
        cable.mend();
        await back(ann);
        assert.equal(ann.socket.recovered, true);
        assert.equal(ann.socket.id, id);
        await accept(4);
        await sees(ann, [1, 2, 3, 4]);
      });

      it('on another node, again and again', async () => {
        const ann = await open();
        await accept(1);
        await sees(ann, [1]);
        for (let n = 1; n <= 3; n += 1) {
          cable.lead(world.nodes[n % 2].address);
          cable.cut();
          await eventually('disconnected', () => !ann.socket.connected);
          await accept(2 * n);
          cable.mend();
          await back(ann, n + 1);
          assert.equal(ann.socket.recovered, true);
          await accept(2 * n + 1);
          await sees(ann, Array.from({ length: 2 * n + 1 }, (_, i) => i + 1));
        }
      });

      it('without having got an event before, from the start of the session', async () => {
        const ann = await open();
        cable.lead(world.nodes[1].address);
        cable.cut();
        await accept(1);
        cable.mend();
        await back(ann);
        assert.equal(ann.socket.recovered, true);
        await sees(ann, [1]);
      });

      it('with a fresh token when the old one runs out in mid-session', async () => {
        const user = claims();
        let life = 2;
        const auth = (give) => {
          give({ token: sign({ ...user, exp: Math.floor(Date.now() / 1000) + life }) });
          life = 3600;
        };
        const ann = await SocketClient.connected(cable.url, { transports, auth });
        await accept(1);
        await sees(ann, [1]);
        assert.equal(await ann.ended(), 'transport close');
        await back(ann);
        await accept(2);
        await sees(ann, [1, 2]);
        assert.equal(ann.socket.recovered, true);
      });

      it('not as somebody else, nor after it left', async () => {
        const ann = await open();
        await accept(1);
        await sees(ann, [1]);
        const { _pid: pid, _lastOffset: offset } = ann.socket;
        const eve = new SocketClient(cable.url, { transports, auth: { token: sign(claims()), pid, offset } });
        await back(eve, 1);
        assert.equal(eve.socket._pid === pid, false);
        assert.deepEqual(calls(eve), []);
        const user = claims();
        const bob = await open(user);
        const his = { pid: bob.socket._pid, offset: bob.socket._lastOffset };
        assert.ok(his.pid);
        bob.socket.disconnect();
        await eventually('forgotten', async () => {
          const again = await SocketClient.connected(cable.url, { transports, auth: { token: sign(user), ...his } });
          const isNew = again.socket._pid !== his.pid;
          again.socket.disconnect();
          return isNew;
        });
      });
    });
  }

  it('after its node was killed', async () => {
    const node = await world.startNode();
    cable.lead(node.address);
    const clients = await Promise.all(
      Array.from({ length: 20 }, async (_, n) => {
        const [, transports] = WAYS[n % WAYS.length];
        return (await SocketClient.connected(cable.url, { transports, auth: { token: sign(claims()) } })).upgraded();
      }),
    );
    await accept(1);
    for (const client of clients) await sees(client, [1]);
    await node.process.kill();
    cable.lead(world.nodes[0].address);
    await accept(2);
    for (const client of clients) {
      await back(client);
      assert.equal(client.socket.recovered, true);
    }
    await accept(3);
    for (const client of clients) await sees(client, [1, 2, 3]);
  });

  it('after its node was told to stop: the transport ends, not the session', async () => {
    const node = await world.startNode();
    cable.lead(node.address);
    const clients = [];
    for (const [, transports] of WAYS) {
      const options = { transports, auth: { token: sign(claims()) } };
      clients.push(await (await SocketClient.connected(cable.url, options)).upgraded());
    }
    await accept(1);
    for (const client of clients) await sees(client, [1]);
    cable.lead(world.nodes[0].address);
    node.process.signal('SIGTERM');
    for (const client of clients) assert.equal(await client.ended(), 'transport close');
    await accept(2);
    for (const client of clients) {
      await back(client);
      assert.equal(client.socket.recovered, true);
      await sees(client, [1, 2]);
    }
  });
});
