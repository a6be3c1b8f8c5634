// How many sessions a user may have at an endpoint, over all nodes.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { Client } from './support/client.js';
import { eventually } from './support/poll.js';
import { World } from './support/world.js';

describe('an endpoint with one session a user, on two gateways', () => {
  let world;
  let home;
  const alive = async (client) => (await client.ask({ type: 'ping' })).type === 'pong';
  const redis = async (...command) => (await promisify(execFile)('redis-cli', ['-u', world.redis.url, ...command])).stdout.trim();

  before(async () => {
    home = await mkdtemp(path.join(tmpdir(), 'switchboard-sessions-'));
    const config = path.join(home, 'switchboard.toml');
    await writeFile(config, '[[endpoints]]\npath = "/ws"\nmax_sessions = 1\n');
    world = await World.cluster({ environment: { SWITCHBOARD_CONFIG: config } });
  });
  after(async () => {
    await world?.stop();
    await rm(home, { recursive: true, force: true });
  });

  it('closes the older session, on whichever node it is', async () => {
    const older = await world.nodes[0].connect('ann');
    const other = await world.nodes[0].connect('bob');
    const newer = await world.nodes[1].connect('ann');
    assert.deepEqual(await older.closed(), { code: 4501, reason: 'replaced by a newer connection' });
    assert.ok((await alive(newer)) && (await alive(other)));
  });

  it('leaves exactly one of two that come at once', async () => {
    for (let round = 0; round < 10; round += 1) {
      const both = await Promise.all(
        world.nodes.map((node) => Client.as(`twin-${round}`, node.socket).catch(() => undefined)),
      );
      const clients = both.filter(Boolean);
      await eventually('one is closed', () => both.length - clients.length + clients.filter((one) => one.ended).length === 1);
      const [left] = clients.filter((one) => !one.ended);
      assert.ok(await alive(left), 'the other stays');
      clients.filter((one) => one.ended).forEach((one) => assert.equal(one.ended.code, 4501));
    }
  });

  it('finds out after an interruption that a session was replaced', async () => {
    const client = await world.nodes[0].connect('eve');
    const key = 'sb:{default/u/eve}:p:/ws';
    assert.equal(await redis('ZCARD', key), '1');
    // A newer session takes the place, and nobody is told of it.
    await redis('DEL', key);
    await redis('ZADD', key, '2', 'somebody-newer');
    assert.ok(await alive(client));
    await world.redis.kill();
    await world.redis.restart();
    assert.equal((await Promise.race([client.whenClosed, new Promise((_, no) => setTimeout(no, 40_000, new Error('still there')))])).code, 4501);
  });
});
