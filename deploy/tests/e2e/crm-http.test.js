// What the CRM is sent over HTTP: webhooks as Twilio signs them and what agents do, seen by unmodified clients of Socket.IO on
// either gateway, with an application that is asked about each and is not always there.

import assert from 'node:assert/strict';
import { createHmac, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import path from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { eventually } from './support/poll.js';
import { SocketClient, disconnectAll } from './support/socketio.js';
import { sign } from './support/token.js';
import { World } from './support/world.js';

const EXAMPLE = path.resolve(import.meta.dirname, '../../examples/crm.toml');
const TWILIO = 'a-token-of-the-tests';
const PUBLIC = 'https://hooks.example.com';
const [OURS, THEIRS] = ['+15550001', '+15550002'];
const UNLISTED = '+15550003';

// The application: answers as the test says.
class Application {
  asked = [];
  answer = null;
  #server = createServer(async (request, response) => {
    const chunks = await request.toArray();
    this.asked.push(JSON.parse(Buffer.concat(chunks).toString()));
    if (this.answer === 'never') return;
    const { status = 200, body = {} } = this.answer ?? {};
    response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body));
  });

  async start() {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
  }

  get url() {
    return `http://127.0.0.1:${this.#server.address().port}/enrich`;
  }

  async stop() {
    this.#server.closeAllConnections();
    if (this.#server.listening) {
      this.#server.close();
      await once(this.#server, 'close');
    }
  }
}

describe('what the CRM is sent over HTTP', () => {
  const organisations = { [OURS]: randomUUID(), [THEIRS]: randomUUID() };
  let world;
  let application;
  let ann;
  let eve;

  const claims = (organizationId, rest) => ({ userId: randomUUID(), organizationId, email: 'a@b.example', ...rest });
  const open = (user, node) =>
    SocketClient.connected(world.nodes[node].url, { transports: ['websocket'], auth: { token: sign(user) } });

  // The request of a webhook; `said` replaces the signature or the address that is signed.
  const post = (call, parameters, said = {}) => {
    const signed = (said.url ?? PUBLIC) + call;
    const text = Object.keys(parameters).sort().reduce((sum, key) => sum + key + parameters[key], signed);
    const signature = said.signature ?? createHmac('sha1', said.secret ?? TWILIO).update(text).digest('base64');
    return fetch(world.fanout.url + call, {
      method: 'POST',
      headers: signature ? { 'X-Twilio-Signature': signature } : {},
      body: new URLSearchParams(said.parameters ?? parameters),
      // Twilio waits no longer.
      signal: AbortSignal.timeout(15_000),
    });
  };
  const twilio = async (call, parameters) => {
    const response = await post(call, parameters);
    assert.equal(response.status, 200);
    assert.match(response.headers.get('Content-Type'), /^text\/xml/);
    assert.match(await response.text(), /<Response\/>$/);
  };
  const sms = (to, rest) => ({ MessageSid: `SM${randomUUID()}`, From: '+15551234', To: to, Body: 'hello', ...rest });
  const voice = (to, rest) => ({ CallSid: `CA${randomUUID()}`, From: '+15551234', To: to, CallStatus: 'ringing', ...rest });
  const accept = (body, token) =>
    fetch(`${world.fanout.url}/incoming-calls/accept`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', ...(token && { Authorization: `Bearer ${token}` }) },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });

  before(async () => {
    application = new Application();
    await application.start();
    world = await World.cluster({
      environment: {
        SWITCHBOARD_CONFIG: EXAMPLE,
        SWITCHBOARD_FANOUT_PUBLIC_URL: PUBLIC,
        TWILIO_AUTH_TOKEN: TWILIO,
        CRM_NUMBERS: JSON.stringify(organisations),
        CRM_ENRICH_URL: application.url,
      },
    });
  });
  after(async () => {
    await world?.stop();
    await application?.stop();
  });
  beforeEach(async () => {
    [application.answer, application.asked] = [null, []];
    [ann, eve] = [await open(claims(organisations[OURS]), 0), await open(claims(organisations[THEIRS]), 1)];
  });
  afterEach(disconnectAll);

  // What was refused, or was for others, changed nothing: the next genuine message is the first that is seen.
  const nothingElse = async () => {
    for (const [client, number] of [[ann, OURS], [eve, THEIRS]]) {
      const last = sms(number, { Body: 'last' });
      await twilio('/webhook/sms', last);
      assert.equal((await client.next('incoming-sms')).messageSid, last.MessageSid);
      assert.deepEqual(client.events, []);
    }
  };

  it('the application says whose number was called, and who calls', async () => {
    const bob = await open(claims(organisations[OURS]), 1);
    application.answer = { body: { contactName: 'Ada', leadId: 'L1', contactId: 7 } };
    const message = sms(OURS, { Body: 'a <b onclick="x()">bold</b> word<script>steal()</script>' });
    await twilio('/webhook/sms', message);
    for (const client of [ann, bob]) {
      const { timestamp, body, ...rest } = await client.next('incoming-sms');
      assert.deepEqual(rest, { messageSid: message.MessageSid, from: '+15551234', to: OURS, contactName: 'Ada', leadId: 'L1', contactId: 7 });
      assert.match(body, /^a bold word/);
      assert.doesNotMatch(body, /[<>]|steal/);
      assert.equal(new Date(timestamp).toISOString(), timestamp);
    }
    assert.deepEqual(application.asked, [{ event: 'incoming-sms', messageSid: message.MessageSid, from: '+15551234', to: OURS }]);

    // A number that no table knows.
    application.answer = { body: { organizationId: organisations[THEIRS], callerName: 'Bob' } };
    const call = voice(UNLISTED);
    await twilio('/webhook/voice', call);
    const { timestamp, ...told } = await eve.next('incoming-call');
    assert.deepEqual(told, { callSid: call.CallSid, from: '+15551234', to: UNLISTED, callerName: 'Bob', leadId: null, contactId: null });
    await nothingElse();
  });

  it('an agent who takes a call is told to the whole organisation, and to no other', async () => {
    const bob = await open(claims(organisations[OURS]), 1);
    const agent = claims(organisations[OURS]);
    const answer = await accept({ callSid: 'CA1' }, sign(agent));
    assert.deepEqual([answer.status, await answer.json()], [200, { success: true, callSid: 'CA1' }]);
    for (const client of [ann, bob]) {
      const { timestamp, ...told } = await client.next('call-accepted');
      assert.deepEqual(told, { callSid: 'CA1', acceptedBy: agent.userId });
      assert.equal(new Date(timestamp).toISOString(), timestamp);
    }
    await nothingElse();
  });

  it('what is not signed by Twilio for this address is refused, and changes nothing', async () => {
    for (const call of ['/webhook/sms', '/webhook/voice']) {
      const parameters = { ...sms(OURS), ...voice(OURS) };
      for (const said of [
        { signature: '' },
        { signature: 'rubbish' },
        { secret: 'another secret' },
        { url: 'https://evil.example' },
        { url: world.fanout.url },
        { parameters: { ...parameters, Body: 'changed on its way' } },
        { parameters: { ...parameters, To: THEIRS } },
      ]) {
        const response = await post(call, parameters, said);
        assert.equal(response.status, 401, JSON.stringify(said));
        assert.match(response.headers.get('Content-Type'), /^application\/problem\+json/);
        assert.equal((await response.json()).status, 401);
      }
    }
    assert.deepEqual(application.asked, []);
    await nothingElse();
  });

  it('what is too large is refused, and what is repeated counts once', async () => {
    const large = await post('/webhook/sms', sms(OURS, { Body: 'x'.repeat(1_000_000) }));
    assert.equal(large.status, 413);
    const [message, call] = [sms(OURS), voice(OURS)];
    for (let times = 0; times < 3; times += 1) {
      await twilio('/webhook/sms', message);
      await twilio('/webhook/voice', call);
    }
    assert.equal((await ann.next('incoming-sms')).messageSid, message.MessageSid);
    assert.equal((await ann.next('incoming-call')).callSid, call.CallSid);
    await nothingElse();
  });

  it('a call is taken by an agent with a good token alone', async () => {
    const agent = claims(organisations[OURS]);
    for (const [body, token, status] of [
      [{ callSid: 'CA1' }, undefined, 401],
      [{ callSid: 'CA1' }, 'rubbish', 401],
      [{ callSid: 'CA1' }, sign(agent, 'a-secret-that-somebody-else-made-up-and-nobody-knows'), 401],
      [{ callSid: 'CA1' }, sign({ ...agent, exp: 1_000_000_000 }), 401],
      [{ callSid: 'CA1' }, sign({ ...agent, organizationId: 'acme' }), 401],
      [{ callSid: 'CA1' }, sign({ ...agent, organizationId: undefined }), 401],
      [{}, sign(agent), 400],
      [{ callSid: 7 }, sign(agent), 400],
      [{ callSid: '' }, sign(agent), 400],
      ['{"callSid":', sign(agent), 400],
      [{ callSid: 'x'.repeat(2_000_000) }, sign(agent), 413],
    ]) {
      const response = await accept(body, token);
      const said = await response.json();
      assert.equal(response.status, status, JSON.stringify(said));
      assert.ok(said.detail || said.title || said.error, JSON.stringify(said));
    }
    await nothingElse();
  });

  it('Twilio has its answer, and the organisation its event, whatever becomes of the application', async () => {
    const told = async (call) => {
      await twilio('/webhook/voice', call);
      const { callerName, leadId, contactId, callSid } = await ann.next('incoming-call');
      assert.deepEqual([callSid, leadId, contactId], [call.CallSid, null, null]);
      return callerName;
    };
    for (const answer of [
      'never',
      { status: 500, body: { callerName: 'no' } },
      { status: 302 },
      { body: 'no object' },
    ]) {
      application.answer = answer;
      assert.equal(await told(voice(OURS)), null, JSON.stringify(answer));
    }
    await application.stop();
    // What Twilio itself knows of the caller stays.
    assert.equal(await told(voice(OURS, { CallerName: 'ADA L' })), 'ADA L');
    // Nobody knows whose number this is.
    await twilio('/webhook/voice', voice(UNLISTED));
    await nothingElse();
  });

  it('Twilio has its answer while Redis is away, and everything goes on when it is back', async () => {
    await world.redis.kill();
    await twilio('/webhook/sms', sms(OURS));
    await twilio('/webhook/voice', voice(OURS));
    const refused = await accept({ callSid: 'CA1' }, sign(claims(organisations[OURS])));
    assert.equal(refused.status, 503);
    await world.redis.restart();
    let message;
    await eventually('messages come again', async () => {
      message = sms(OURS);
      await twilio('/webhook/sms', message);
      return ann.events.some(([name, { messageSid }]) => name === 'incoming-sms' && messageSid === message.MessageSid);
    });
    assert.equal(ann.connects, 1, 'clients stayed');
    assert.deepEqual(eve.events, []);
  });
});
