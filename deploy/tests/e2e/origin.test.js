// The client of Socket.IO in a real browser, on a page of another origin than the gateway's, as each platform uses it.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { chromium } from 'playwright-core';
import { eventually } from './support/poll.js';
import { WAYS } from './support/socketio.js';
import { sign } from './support/token.js';
import { World } from './support/world.js';

const CLIENT = path.join(path.dirname(createRequire(import.meta.url).resolve('socket.io-client')), '../../dist/socket.io.min.js');

const example = (name) => path.resolve(import.meta.dirname, `../../examples/${name}.toml`);

const post = async (world, call, claims, body) => {
  const response = await fetch(world.fanout.url + call, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${sign(claims)}` },
    body: JSON.stringify(body),
  });
  assert.equal(response.status, 200, await response.text());
};

// What a platform's page is, how it says so (care's in a header, which browsers send with requests but not with a
// WebSocket), and what it then does and sees.
const PLATFORMS = [
  {
    name: 'care',
    claims: { sub: 'ann' },
    present: (token, [first]) =>
      first === 'polling' ? { extraHeaders: { Authorization: `Bearer ${token}` } } : { auth: { token } },
    async talk(page, world) {
      assert.deepEqual(await page.sees('authenticated'), { userId: 'ann' });
      await page.emit('ping');
      await page.sees('pong');
      await post(world, '/websocket/message/user', { sub: 'backend', scope: 'send' }, { userId: 'ann', type: 'visit', data: 1 });
      assert.equal((await page.sees('message')).data, 1);
    },
  },
  {
    name: 'crm',
    environment: { TWILIO_AUTH_TOKEN: 'x', CRM_NUMBERS: '{}' },
    claims: { userId: randomUUID(), organizationId: randomUUID(), email: 'a@b.example' },
    present: (token) => ({ auth: { token } }),
    async talk(page, world) {
      const callSid = randomUUID();
      await post(world, '/incoming-calls/accept', this.claims, { callSid });
      const { timestamp, ...accepted } = await page.sees('call-accepted');
      assert.deepEqual(accepted, { callSid, acceptedBy: this.claims.userId });
    },
  },
  {
    name: 'chat',
    claims: { sub: 'ann', name: 'ANN', rooms: ['*'] },
    present: (token) => ({ auth: { token } }),
    async talk(page) {
      const [conversationId, messageId] = [randomUUID(), randomUUID()];
      assert.deepEqual(await page.sees('authenticated'), { userId: 'ann' });
      await page.emit('conversation:join', { conversationId });
      await page.emit('message:send', { conversationId, messageId, text: 'hi' });
      assert.deepEqual(await page.sees('message:ack'), { messageId, status: 'stored' });
      assert.equal((await page.sees('message:new')).text, 'hi');
    },
  },
];

// Serves a page that has the client, and nothing else.
async function site() {
  const client = await readFile(CLIENT);
  const server = createServer((request, response) => {
    const isClient = request.url === '/client.js';
    response.setHeader('Content-Type', isClient ? 'text/javascript' : 'text/html');
    response.end(isClient ? client : '<!doctype html><script src="/client.js"></script>');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { url: `http://127.0.0.1:${server.address().port}`, stop: () => server.close() };
}

// A page whose client connects.
class Page {
  #tab;

  static async open(browser, from, url, options) {
    const page = new Page();
    page.#tab = await browser.newPage();
    await page.#tab.goto(from.url);
    await page.#tab.evaluate(
      ([url, options]) => {
        const socket = window.io(url, { ...options, reconnection: false });
        window.client = { socket, events: [], error: null };
        socket.onAny((...event) => window.client.events.push(event));
        socket.on('connect_error', ({ message }) => (window.client.error = message));
      },
      [url, options],
    );
    return page;
  }

  // What became of it, as soon as that is known.
  state() {
    return this.#ask('an end of the connecting', ({ socket, events, error }) => {
      if (error) return { error, events };
      return socket.connected && { connected: true };
    });
  }

  on(transport) {
    return this.#ask(`on ${transport}`, ({ socket }, transport) => socket.io.engine.transport.name === transport, transport);
  }

  // Waits for the first event of this name: its argument.
  async sees(name) {
    const [, data] = await this.#ask(name, ({ events }, name) => events.find(([event]) => event === name), name);
    return data;
  }

  emit(...event) {
    return this.#tab.evaluate((event) => void window.client.socket.emit(...event), event);
  }

  close() {
    return this.#tab.close();
  }

  async #ask(what, question, argument) {
    const asked = `(${question})(window.client, ${JSON.stringify(argument)})`;
    return eventually(what, () => this.#tab.evaluate(asked));
  }
}

describe('a page of another origin', () => {
  let browser;
  let world;
  let listed;
  let other;
  const pages = [];
  before(async () => {
    [listed, other] = [await site(), await site()];
    // Containers have no user namespaces for the sandbox; the pages are our own.
    browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
  });
  after(async () => {
    await browser?.close();
    [listed, other].forEach((site) => site?.stop());
  });
  afterEach(() => Promise.all(pages.splice(0).map((page) => page.close())));

  const visit = async (platform, from, transports, node) => {
    const options = { transports, ...platform.present(sign(platform.claims), transports) };
    const page = await Page.open(browser, from, world.nodes[node].url, options);
    pages.push(page);
    return page;
  };
  const connects = async (platform, from, transports) => {
    const page = await visit(platform, from, transports, 0);
    assert.deepEqual(await page.state(), { connected: true });
    await page.on(transports.at(-1));
    await platform.talk(page, world);
  };

  for (const platform of PLATFORMS) {
    describe(platform.name, () => {
      before(async () => {
        const environment = {
          ...platform.environment,
          SWITCHBOARD_CONFIG: example(platform.name),
          SWITCHBOARD_GATEWAY_ORIGINS: listed.url,
        };
        world = await World.cluster({ environment });
      });
      after(() => world?.stop());

      for (const [way, transports] of WAYS) {
        it(`${way}, it connects and gets its events if its origin is listed`, () => connects(platform, listed, transports));

        it(`${way}, it does not connect if its origin is not listed`, async () => {
          const { error, events } = await (await visit(platform, other, transports, 1)).state();
          // The transport is refused; a token would be refused in other words.
          assert.equal(error, transports[0] === 'polling' ? 'xhr poll error' : 'websocket error');
          assert.deepEqual(events, []);
        });
      }
    });
  }

  describe('where no origin is listed', () => {
    const [care] = PLATFORMS;
    before(async () => {
      world = await World.single({ environment: { SWITCHBOARD_CONFIG: example(care.name) } });
    });
    after(() => world?.stop());

    for (const [way, transports] of WAYS) it(`${way}, any connects`, () => connects(care, other, transports));
  });
});
