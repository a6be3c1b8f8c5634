// The page to try things on, in a real browser, by keyboard only.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';
import { eventually } from './support/poll.js';
import { freePort } from './support/process.js';
import { Server } from './support/world.js';

describe('the page of the development mode', () => {
  let address;
  let server;
  let browser;
  let page;
  const complaints = [];

  const start = async () => {
    server = await Server.start('standalone', { JWT_SECRET: '', SWITCHBOARD_LISTEN: address });
    const [token] = await server.process.line(/\bey\S+\.\S+\.\S+$/);
    return token.trim();
  };
  const state = () => page.getByRole('status').textContent();
  const messages = () => page.getByRole('log', { name: 'Messages' }).textContent();
  const shows = (text) => eventually(`a message ${text}`, async () => (await messages()).includes(text));
  // Goes to an element with the keyboard alone, as far as there is something to go to.
  const reach = async (name) => {
    const seen = [];
    for (let steps = 0; steps < 40; steps += 1) {
      const at = await page.evaluate(() => {
        const element = document.activeElement;
        return element.labels?.[0]?.firstChild.textContent.trim() ?? element.textContent.trim();
      });
      if (at === name) return;
      seen.push(at);
      await page.keyboard.press('Tab');
    }
    assert.fail(`${name} is not reached; there are ${seen}`);
  };
  const fill = async (name, text) => {
    await reach(name);
    await page.keyboard.press('Control+A');
    await page.keyboard.type(text);
  };
  const publish = async (token, room, data) => {
    const response = await fetch(`http://${address}/v1/publish`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${token}` },
      body: JSON.stringify({ to: { room }, event: 'hello', data }),
    });
    assert.equal(response.status, 200);
  };

  before(async () => {
    address = `127.0.0.1:${await freePort()}`;
    // Containers have no user namespaces for the sandbox; the page is our own.
    browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
    page = await browser.newPage();
    page.on('console', (message) => {
      // A browser complains of each connection that fails, which some of these must.
      const expected = /WebSocket connection to .* failed|ERR_CONNECTION_REFUSED/.test(message.text());
      if (['error', 'warning'].includes(message.type()) && !expected) complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('request', (request) => {
      if (new URL(request.url()).host !== address) complaints.push(`asked for ${request.url()}`);
    });
  });
  after(async () => {
    await browser?.close();
    await server?.process.kill();
  });

  it('connects by itself, and shows what a backend publishes, as text', async () => {
    const token = await start();
    await page.goto(`http://${address}/`);
    await eventually('connected', async () => (await state()) === 'connected as dev');
    await shows('joined lobby');
    await publish(token, 'lobby', { text: '<img src=x onerror=alert(1)><b>bold</b>' });
    await shows('<b>bold</b>');
    assert.equal(await page.locator('ol img, ol b').count(), 0);
  });

  it('shows what the printed curl line publishes', async () => {
    const [line] = /^ *curl [\s\S]*?'\n(?! )/m.exec(`${server.process.output}\n`) ?? assert.fail('no such line');
    const { stdout } = await promisify(execFile)('sh', ['-c', line]);
    assert.equal(JSON.parse(stdout).results[0].channel, 'room:lobby');
    await shows('Hello from curl');
  });

  it('joins, publishes and leaves by keyboard', async () => {
    await fill('Room', 'kitchen');
    await page.keyboard.press('Enter');
    await shows('joined kitchen');
    await reach('To');
    await page.keyboard.type('kitchen');
    await fill('Event', 'dinner');
    await fill('Data (JSON, or else text)', '{"soup": 1}');
    await page.keyboard.press('Enter');
    await shows('room:kitchen Developer: dinner {"soup":1}');
    await reach('Leave kitchen');
    await page.keyboard.press('Space');
    await eventually('left', async () => (await page.getByRole('button', { name: 'Leave kitchen' }).count()) === 0);
    assert.equal(await page.evaluate(() => document.activeElement.id), 'room', 'the focus is not lost');
  });

  it('tells its frames, but not the token', async () => {
    await reach('Frames');
    await page.keyboard.press('Enter');
    const frames = page.getByRole('list', { name: 'Frames' });
    await eventually('frames', () => frames.isVisible());
    const text = await frames.textContent();
    assert.ok(text.includes('→ {"type":"auth","token":"…"}') && text.includes('← {"type":"welcome"'), text);
    assert.ok(!text.includes(await page.getByLabel('Token').inputValue()));
  });

  it('disconnects and connects by keyboard', async () => {
    await reach('Disconnect');
    await page.keyboard.press('Enter');
    assert.equal(await state(), 'disconnected');
    await reach('Connect');
    await page.keyboard.press('Enter');
    await eventually('connected', async () => (await state()) === 'connected as dev');
    await shows('back in lobby, nothing missed');
  });

  it('comes back when the server was told to stop and started again', async () => {
    server.process.signal('SIGTERM');
    await eventually('told', async () => /^closed: 1012 .*again in/.test(await state()));
    await server.process.exit();
    const token = await start();
    await eventually('connected', async () => (await state()) === 'connected as dev', 60_000);
    // Memory forgets: what may have been missed is said, not hidden.
    await shows('gap in room:lobby: reset');
    await publish(token, 'lobby', 'welcome back');
    await shows('welcome back');
  });

  it('comes back when the server was killed', async () => {
    await server.process.kill();
    await eventually('waits', async () => (await state()).includes('again in'));
    const token = await start();
    await eventually('connected', async () => (await state()) === 'connected as dev', 60_000);
    await eventually('joined', async () => (await messages()).split('back in lobby').length === 4);
    await publish(token, 'lobby', 'still here');
    await shows('still here');
  });

  it('nothing is complained of in the console, and nothing is fetched from elsewhere', () => {
    assert.deepEqual(complaints, []);
  });

  it('can be read in light and in dark', async () => {
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      const [text, ground] = await page.evaluate(() => [
        getComputedStyle(document.body).color,
        getComputedStyle(document.documentElement).colorScheme,
      ]);
      assert.equal(ground, 'light dark');
      assert.equal(text, colorScheme === 'dark' ? 'rgb(255, 255, 255)' : 'rgb(0, 0, 0)');
    }
  });
});
