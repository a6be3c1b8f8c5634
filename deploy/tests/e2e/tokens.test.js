// Where a token may stand, and where it may never show.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Client } from './support/client.js';
import { SECRET, backendToken, sign, tokenOf } from './support/token.js';
import { WORLDS } from './support/world.js';

for (const [name, start] of WORLDS) {
  describe(`with ${name}`, () => {
    let world;
    const used = [];
    const remember = (token) => {
      used.push(token);
      return token;
    };
    before(async () => {
      world = await start({ environment: { SWITCHBOARD_LOG_LEVEL: 'trace' } });
    });
    after(() => world?.stop());

    it('a token is taken from the header, the query, the subprotocols and a first frame', async () => {
      const token = remember(tokenOf('ann'));
      const { socket } = world.nodes[0];
      const carried = {
        header: Client.open(socket, { headers: { Authorization: `Bearer ${token}` } }),
        query: Client.open(`${socket}?token=${token}`),
        subprotocol: Client.open(socket, { protocols: ['switchboard', `bearer.${token}`] }),
      };
      for (const [place, opening] of Object.entries(carried)) {
        const client = await opening;
        assert.equal((await client.next('welcome')).authenticated, true, place);
        assert.equal((await client.next('auth_success')).user, 'ann', place);
      }
      // The name of the protocol comes back, the token does not.
      assert.equal((await carried.subprotocol).protocol, 'switchboard');

      const client = await Client.open(socket);
      assert.equal((await client.next('welcome')).authenticated, false);
      assert.equal((await client.ask({ type: 'join', room: 'lobby' })).code, 'not_authenticated');
      assert.equal((await client.ask({ type: 'auth', token })).user, 'ann');
      const fresh = remember(tokenOf('ann', { rooms: ['lobby'] }));
      assert.equal((await client.ask({ type: 'refresh', token: fresh })).type, 'auth_success');
    });

    it('a wrong token is told why, and not to come back with it', async () => {
      const { socket } = world.nodes[1];
      for (const [token, code, close] of [
        ['not-a-token-but-told-apart', 'invalid_token', 4500],
        [sign({ sub: 'ann' }, 'another secret'), 'invalid_token', 4500],
        [sign({ sub: 'ann', exp: 1_000_000_000 }), 'token_expired', 4001],
        [sign({ name: 'nobody' }), 'invalid_token', 4500],
      ]) {
        const client = await Client.open(`${socket}?token=${remember(token)}`);
        assert.equal((await client.next('error')).code, code);
        assert.equal((await client.closed()).code, close);
      }
    });

    it('a caller needs a token with the scope', async () => {
      const publish = (token) =>
        fetch(`${world.fanout.url}/v1/publish`, {
          method: 'POST',
          headers: { 'Content-Type': 'application/json', ...(token && { Authorization: `Bearer ${remember(token)}` }) },
          body: JSON.stringify({ to: { all: true }, event: 'test', data: 1 }),
        });
      assert.equal((await publish(backendToken())).status, 200);
      assert.equal((await publish(tokenOf('ann'))).status, 403);
      assert.equal((await publish(sign({ sub: 'a', scope: 'publish' }, 'another secret'))).status, 401);
      assert.equal((await publish()).status, 401);
    });

    it('no token and no secret shows in what a process writes or tells', async () => {
      const told = [world.output, world.redis?.output ?? ''];
      for (const server of new Set([world.fanout, ...world.nodes])) {
        for (const path of ['/metrics', '/status', '/health']) told.push(await (await server.get(path)).text());
      }
      const text = told.join('\n');
      assert.match(world.output, /"level":"trace"/i, 'the log is complete');
      assert.ok(used.length >= 9);
      for (const token of used) {
        // The header of a JWT is the same for all and says nothing; the rest would do to recognise it.
        for (const part of token.split('.').slice(-2)) assert.ok(!text.includes(part), `${part} of ${token}`);
      }
      assert.ok(!text.includes(SECRET));
    });
  });
}
