// The client of Socket.IO in a real browser, on a page of another origin than the gateway's.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { chromium } from 'playwright-core';
import { WAYS } from './support/socketio.js';
import { sign } from './support/token.js';
import { World } from './support/world.js';

const EXAMPLE = path.resolve(import.meta.dirname, '../../examples/care.toml');
const CLIENT = path.join(path.dirname(createRequire(import.meta.url).resolve('socket.io-client')), '../../dist/socket.io.min.js');

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

describe('a page of another origin', () => {
  let world;
  let browser;
  let listed;
  let other;
  before(async () => {
    [listed, other] = [await site(), await site()];
    world = await World.cluster({
      environment: { SWITCHBOARD_CONFIG: EXAMPLE, SWITCHBOARD_GATEWAY_ORIGINS: listed.url },
    });
    // Containers have no user namespaces for the sandbox; the pages are our own.
    browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
  });
  after(async () => {
    await browser?.close();
    await world?.stop();
    [listed, other].forEach((site) => site?.stop());
  });

  // Connects in a new page, sends a ping, and tells what came of it.
  const visit = async (from, transports, node) => {
    const page = await browser.newPage();
    try {
      await page.goto(from.url);
      const token = sign({ sub: `page-${transports.join('-')}` });
      return await page.evaluate(
        ({ url, transports, token }) =>
          new Promise((resolve) => {
            // Browsers send the header with requests, not with a WebSocket.
            const rest = transports[0] === 'polling' ? { extraHeaders: { Authorization: `Bearer ${token}` } } : { auth: { token } };
            const socket = window.io(url, { transports, reconnection: false, ...rest });
            const seen = [];
            socket.on('connect_error', (error) => resolve({ refused: error.message }));
            socket.on('authenticated', ({ userId }) => {
              seen.push(userId);
              socket.emit('ping');
            });
            socket.on('pong', async () => {
              const last = transports.at(-1);
              while (socket.io.engine.transport.name !== last) await new Promise((wait) => setTimeout(wait, 20));
              resolve({ seen, transport: last });
            });
          }),
        { url: world.nodes[node].url, transports, token },
      );
    } finally {
      await page.close();
    }
  };

  for (const [way, transports] of WAYS) {
    it(`${way}, it connects if its origin is listed, and else not`, async () => {
      const expected = { seen: [`page-${transports.join('-')}`], transport: transports.at(-1) };
      assert.deepEqual(await visit(listed, transports, 0), expected);
      assert.ok((await visit(other, transports, 1)).refused);
    });
  }
});
