// The page to try endpoints on, with the dialer, in a real browser and by keyboard; and the token for it.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { chromium } from 'playwright-core';
import { example } from './support/application.js';
import { eventually } from './support/poll.js';
import { Process } from './support/process.js';
import { SECRET, sign } from './support/token.js';
import { World } from './support/world.js';

const environment = {
  SWITCHBOARD_CONFIG: example('dialer'),
  TELNYX_PUBLIC_KEY: Buffer.alloc(32, 1).toString('base64'),
};

// What `standalone token` prints, and how it ends.
async function mint(args, variables = { JWT_SECRET: SECRET }) {
  const minter = new Process('standalone', ['token', ...args], { ...variables, ...environment });
  const { code } = await minter.exit();
  return { code, output: minter.output.trim() };
}

describe('a minted token', () => {
  it('says what it was asked to say, and how long', async () => {
    const { code, output } = await mint(['--claims', '{"id": 7, "email": "ann@example.com"}', '--lifetime', '5m']);
    assert.equal(code, 0, output);
    const claims = JSON.parse(Buffer.from(output.split('.')[1], 'base64url'));
    const { iat, exp, ...rest } = claims;
    assert.deepEqual(rest, { id: 7, email: 'ann@example.com' });
    assert.equal(exp - iat, 300);
  });

  it('is refused by its option, without what was written', async () => {
    for (const [args, variables, key] of [
      [['--claims', '["a canary"]'], undefined, 'claims'],
      [['--claims', '{"canary"'], undefined, 'claims'],
      [[], { JWT_SECRET: '' }, 'auth.secret'],
    ]) {
      const { code, output } = await mint(args, variables);
      assert.equal(code, 2, output);
      assert.ok(output.includes(key) && !output.includes('canary'), output);
    }
  });
});

describe('the page to try the dialer on', () => {
  let world;
  let browser;
  let page;
  const complaints = [];
  const state = () => page.getByRole('status').textContent();
  const messages = () => page.getByRole('log', { name: 'Messages' }).textContent();
  const shows = (text) => eventually(`a message ${text}`, async () => (await messages()).includes(text));
  // Goes to an element with the keyboard alone.
  const reach = async (name) => {
    for (let steps = 0; steps < 20; steps += 1) {
      const at = await page.evaluate(() => {
        const element = document.activeElement;
        return element.labels?.[0]?.firstChild.textContent.trim() ?? element.textContent.trim();
      });
      if (at === name) return;
      await page.keyboard.press('Tab');
    }
    assert.fail(`${name} is not reached`);
  };
  const enter = async (name, text) => {
    await reach(name);
    await page.keyboard.press('Control+A');
    await page.keyboard.type(text);
    await page.keyboard.press('Enter');
  };

  before(async () => {
    world = await World.cluster({ environment });
    // Containers have no user namespaces for the sandbox; the page is our own.
    browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
    page = await browser.newPage();
    page.on('console', (message) => {
      const expected = /WebSocket connection to .* failed|ERR_CONNECTION_REFUSED/.test(message.text());
      if (['error', 'warning'].includes(message.type()) && !expected) complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(error.message));
    await page.goto(`${world.nodes[0].url}/`);
  });
  after(async () => {
    await browser?.close();
    await world?.stop();
  });

  it('connects with a token by keyboard, and shows live what comes, as text', async () => {
    assert.equal(await state(), 'not connected');
    const { output: token } = await mint(['--claims', '{"id": 7, "email": "ann@example.com"}']);
    // The page begins where the token goes.
    await enter('Token', token);
    await eventually('connected', async () => (await state()) === 'connected');
    await shows('"event":"connected"');
    await shows('ann@example.com-');
    const response = await fetch(`${world.fanout.url}/v1/publish`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${sign({ sub: 'b', scope: 'send' })}` },
      body: JSON.stringify({ to: { all: true }, event: 'call-initiated', data: { from: '<img src=x onerror=alert(1)>' } }),
    });
    assert.equal(response.status, 200);
    await shows('"event":"call-initiated"');
    await shows('<img src=x');
    assert.equal(await page.locator('ol img').count(), 0);
    assert.ok(!(await messages()).includes(token), 'the token is not shown');
  });

  it('sends a frame', async () => {
    await reach('Frame');
    await page.keyboard.press('Enter');
    await shows('"event":"pong"');
  });

  it('disconnects, and tells why a wrong token is refused', async () => {
    await reach('Disconnect');
    await page.keyboard.press('Enter');
    assert.equal(await state(), 'disconnected');
    await enter('Token', 'rubbish');
    await eventually('refused', async () => /^closed: 1008 .*JWT/.test(await state()));
    await reach('Connect');
  });

  it('tries again by itself when the node is gone', async () => {
    const { output: token } = await mint(['--claims', '{"id": 7, "email": "ann@example.com"}']);
    await enter('Token', token);
    await eventually('connected', async () => (await state()) === 'connected');
    await world.nodes[0].process.kill();
    await eventually('trying again', async () => /again in|connecting/.test(await state()));
    assert.deepEqual(complaints, []);
  });
});
