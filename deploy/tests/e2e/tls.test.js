// TLS that a node terminates itself, and a certificate that is renewed while it runs.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { connect } from 'node:tls';
import { promisify } from 'node:util';
import { Socket, hangUp } from './support/application.js';
import { eventually } from './support/poll.js';
import { Process } from './support/process.js';
import { SECRET, tokenOf } from './support/token.js';
import { Server } from './support/world.js';

const run = promisify(execFile);

describe('a node that terminates TLS', () => {
  let home;
  let server;
  const file = (name) => path.join(home, name);
  const issue = (name) =>
    run('openssl', [
      'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
      '-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1',
      '-keyout', file(`${name}.key`), '-out', file(`${name}.pem`),
    ]);
  const use = async (name) => {
    await copyFile(file(`${name}.pem`), file('cert.pem'));
    await copyFile(file(`${name}.key`), file('key.pem'));
  };
  // Whom a new connection meets.
  const shown = () =>
    new Promise((resolve, reject) => {
      const [host, port] = server.address.split(':');
      const socket = connect({ host, port, rejectUnauthorized: false }, () => {
        resolve(socket.getPeerCertificate().subject.CN);
        socket.destroy();
      });
      socket.on('error', reject);
    });
  const client = async (user) => {
    const ca = [await readFile(file('first.pem')), await readFile(file('second.pem'))];
    const socket = await Socket.open(`wss://${server.address}/ws`, {
      ca,
      headers: { Authorization: `Bearer ${tokenOf(user)}` },
    });
    await socket.next('auth_success', (frame) => frame.type === 'auth_success');
    return socket;
  };

  before(async () => {
    home = await mkdtemp(path.join(tmpdir(), 'switchboard-tls-'));
    await Promise.all([issue('first'), issue('second')]);
    await use('first');
    server = await Server.start('standalone', {
      SWITCHBOARD_TLS_CERTIFICATE: file('cert.pem'),
      SWITCHBOARD_TLS_KEY: file('key.pem'),
    });
  });
  after(async () => {
    hangUp();
    await server?.process.kill();
    await rm(home, { recursive: true, force: true });
  });

  it('serves WebSockets whose frames are large and many, both ways', async () => {
    const [ann, bob] = await Promise.all([client('ann'), client('bob')]);
    for (const socket of [ann, bob]) {
      socket.send({ type: 'join', room: 'lobby' });
      await socket.next('joined', (frame) => frame.type === 'joined');
    }
    const text = 'x'.repeat(20_000);
    for (let n = 0; n < 100; n += 1) ann.send({ type: 'publish', room: 'lobby', event: 'e', data: { n, text } });
    for (let n = 0; n < 100; n += 1) {
      const { data } = await bob.next(`message ${n}`, (frame) => frame.type === 'message');
      assert.deepEqual(data, { n, text });
    }
    await ann.close();
  });

  it('has nothing to say to those who do not speak TLS', async () => {
    await assert.rejects(fetch(`http://${server.address}/livez`));
  });

  it('takes up a renewed certificate, and keeps those who are there', async () => {
    const ann = await client('ann');
    assert.equal(await shown(), 'first');
    // A renewal is two files: between them they do not fit each other.
    await copyFile(file('second.pem'), file('cert.pem'));
    await server.process.line(/files of the certificate changed and cannot be used/);
    assert.equal(await shown(), 'first');
    await copyFile(file('second.key'), file('key.pem'));
    await eventually('the new certificate', async () => (await shown()) === 'second');
    ann.send({ type: 'ping' });
    await ann.next('pong', (frame) => frame.type === 'pong');
    const bob = await client('bob');
    bob.send({ type: 'ping' });
    await bob.next('pong', (frame) => frame.type === 'pong');
  });

  it('says goodbye through TLS when it stops', async () => {
    const ann = await client('ann');
    server.process.signal('SIGTERM');
    assert.equal((await ann.closed()).code, 1012);
    assert.equal((await server.process.exit()).code, 0);
  });

  it('does not start with files that do not fit, and says which option is wrong', async () => {
    await writeFile(file('rubbish.pem'), 'rubbish');
    for (const [certificate, key, option] of [
      ['first.pem', 'second.key', 'tls.key'],
      ['rubbish.pem', 'first.key', 'tls.certificate'],
      ['none.pem', 'first.key', 'tls.certificate'],
    ]) {
      const environment = { JWT_SECRET: SECRET, SWITCHBOARD_TLS_CERTIFICATE: file(certificate), SWITCHBOARD_TLS_KEY: file(key) };
      const wrong = new Process('standalone', ['--check'], environment);
      const { code } = await wrong.exit();
      assert.equal(code, 2, wrong.output);
      assert.ok(wrong.output.includes(option), wrong.output);
    }
  });
});
