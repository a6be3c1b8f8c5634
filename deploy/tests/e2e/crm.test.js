// The CRM: unmodified clients of Socket.IO against two gateways, as its contract says. How they come back after losing their
// connection is shown in recovery.test.js.

import assert from 'node:assert/strict';
import { createHmac, randomUUID } from 'node:crypto';
import path from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { SocketClient, WAYS, disconnectAll } from './support/socketio.js';
import { sign } from './support/token.js';
import { World } from './support/world.js';

const EXAMPLE = path.resolve(import.meta.dirname, '../../examples/crm.toml');
const TWILIO = 'a-token-of-the-tests';
const FORGER = 'a secret of somebody else, long enough for all';
const PUBLIC = 'https://hooks.example.com';
const ORGANISATIONS = { '+15550001': randomUUID(), '+15550002': randomUUID() };

describe('crm', () => {
  let world;
  before(async () => {
    world = await World.cluster({
      environment: {
        SWITCHBOARD_CONFIG: EXAMPLE,
        SWITCHBOARD_FANOUT_PUBLIC_URL: PUBLIC,
        TWILIO_AUTH_TOKEN: TWILIO,
        CRM_NUMBERS: JSON.stringify(ORGANISATIONS),
      },
    });
  });
  after(() => world?.stop());
  afterEach(disconnectAll);

  const [ours, theirs] = Object.keys(ORGANISATIONS);
  const claims = (number, rest) => ({
    userId: randomUUID(),
    organizationId: ORGANISATIONS[number],
    email: 'a@b.example',
    ...rest,
  });
  // A request as Twilio signs it.
  const twilio = async (call, parameters) => {
    const text = Object.keys(parameters).sort().reduce((sum, key) => sum + key + parameters[key], PUBLIC + call);
    const response = await fetch(world.fanout.url + call, {
      method: 'POST',
      headers: { 'X-Twilio-Signature': createHmac('sha1', TWILIO).update(text).digest('base64') },
      body: new URLSearchParams(parameters),
    });
    assert.equal(response.status, 200);
    assert.match(await response.text(), /<Response\/>/);
  };

  for (const [way, transports] of WAYS) {
    describe(way, () => {
      const open = async (user, node = 0) => {
        const options = { transports, auth: { token: sign(user) } };
        return (await SocketClient.connected(world.nodes[node].url, options)).upgraded();
      };

      it('calls and messages are told to the organisation, and to no other', async () => {
        const agent = claims(ours);
        const [ann, bob, eve] = [await open(agent, 0), await open(claims(ours), 1), await open(claims(theirs), 1)];
        // No client can ask for anything, least of all for another organisation's room.
        for (const event of ['join', 'conversation:join', 'message']) {
          eve.emit(event, { room: `org:${ORGANISATIONS[ours]}` });
          assert.equal((await eve.next('error')).code, 'unknown', event);
        }
        const [from, to] = ['+15551234', ours];
        await twilio('/webhook/voice', { CallSid: randomUUID(), From: from, To: to, CallStatus: 'ringing' });
        await twilio('/webhook/sms', { MessageSid: randomUUID(), From: from, To: to, Body: 'hi <script>x</script>' });
        await fetch(`${world.fanout.url}/incoming-calls/accept`, {
          method: 'POST',
          headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${sign(agent)}` },
          body: JSON.stringify({ callSid: 'CA1' }),
        });
        for (const client of [ann, bob]) {
          const call = await client.next('incoming-call');
          assert.deepEqual(Object.keys(call).sort(), ['callSid', 'callerName', 'contactId', 'from', 'leadId', 'timestamp', 'to']);
          assert.deepEqual([call.from, call.to, call.leadId], [from, to, null]);
          const sms = await client.next('incoming-sms');
          assert.ok(sms.body.startsWith('hi') && !sms.body.includes('<'), sms.body);
          assert.equal(new Date(sms.timestamp).toISOString(), sms.timestamp);
          const accepted = await client.next('call-accepted');
          assert.deepEqual([accepted.callSid, accepted.acceptedBy], ['CA1', agent.userId]);
        }
        // The other organisation's own event is the first that its client sees.
        await twilio('/webhook/sms', { MessageSid: randomUUID(), From: from, To: theirs, Body: 'yours' });
        assert.equal((await eve.next('incoming-sms')).body, 'yours');
        assert.deepEqual(eve.events, []);
      });

      it('who is refused is told why', async () => {
        for (const [user, reason] of [
          [claims(ours, { exp: 1_000_000_000 }), /expired/],
          [claims(ours, { userId: '42' }), /userId/],
          [claims(ours, { organizationId: 'acme' }), /organizationId/],
          [claims(ours, { organizationId: undefined }), /organizationId/],
        ]) {
          const client = new SocketClient(world.nodes[0].url, { transports, auth: { token: sign(user) } });
          assert.match(await client.refused(), reason);
        }
        for (const [auth, reason] of [
          [undefined, /no token/],
          [{ token: sign(claims(ours), FORGER) }, /signature/],
        ]) {
          const client = new SocketClient(world.nodes[0].url, { transports, auth });
          assert.match(await client.refused(), reason);
        }
      });
    });
  }
});
