// An API key from its making to a message: `standalone key` prints it once, and the table that knows it.

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { it } from 'node:test';
import { Process } from './support/process.js';
import { World } from './support/world.js';

async function make(...args) {
  const maker = new Process('standalone', ['key', ...args]);
  const { code } = await maker.exit();
  assert.equal(code, 0, maker.output);
  const lines = maker.output.split('\n');
  const key = lines.find((line) => line.startsWith('sb_'));
  return { key, table: lines.filter((line) => line !== key).join('\n') };
}

it('a key that was made does what its table says, and no other key does', async (t) => {
  const home = await mkdtemp(path.join(tmpdir(), 'switchboard-key-'));
  t.after(() => rm(home, { recursive: true }));
  const [billing, stranger] = [await make('--name', 'billing', '--scopes', 'publish'), await make()];
  assert.ok(!billing.table.includes(billing.key));
  const config = path.join(home, 'switchboard.toml');
  await writeFile(config, billing.table);
  const world = await World.single({ environment: { SWITCHBOARD_CONFIG: config } });
  t.after(() => world.stop());

  const ask = async (key, method, route, body) => {
    const headers = { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' };
    const response = await fetch(world.fanout.url + route, { method, headers, body: body && JSON.stringify(body) });
    await response.body?.cancel();
    return response.status;
  };
  const message = { to: { room: 'lobby' }, event: 'hello', data: 1 };
  assert.equal(await ask(billing.key, 'POST', '/v1/publish', message), 200);
  assert.equal(await ask(stranger.key, 'POST', '/v1/publish', message), 401);
  assert.equal(await ask(billing.key, 'GET', '/v1/stats'), 403);
});
