// A process with wrong options does not start, and says which.

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Process, freePort } from './support/process.js';
import { SECRET } from './support/token.js';

const RIGHT = { JWT_SECRET: SECRET, SWITCHBOARD_REDIS: 'redis://127.0.0.1:1' };

for (const program of ['gateway', 'fanout', 'standalone']) {
  describe(program, () => {
    let home;
    before(async () => {
      home = await mkdtemp(path.join(tmpdir(), 'switchboard-options-'));
    });
    after(() => rm(home, { recursive: true }));

    // The exit code, and what was written.
    const run = async (args, environment = RIGHT) => {
      const started = new Process(program, args, environment);
      try {
        const { code } = await started.exit();
        return { code, output: started.output };
      } finally {
        await started.kill();
      }
    };
    const file = async (text) => {
      const name = path.join(home, 'switchboard.toml');
      await writeFile(name, text);
      return name;
    };

    it('names a key of the file that does not exist, with its line', async () => {
      const name = await file('# Limits\n[listener]\nmax_conections = 5\n');
      const { code, output } = await run(['--config', name]);
      assert.equal(code, 2, output);
      assert.match(output, /listener\.max_conections/);
      assert.match(output, /line 3/);
    });

    it('names a key whose value is wrong, wherever it was written', async () => {
      const name = await file('[drain]\ntime = "soon"\n');
      const written = [
        [['--config', name], {}, 'drain.time'],
        [['--drain-time', 'soon'], {}, 'drain.time'],
        [[], { SWITCHBOARD_DRAIN_TIME: 'soon' }, 'drain.time'],
        [['--listen', 'somewhere'], {}, 'listen'],
        [['--redis', 'http://127.0.0.1:1'], {}, 'redis'],
      ];
      for (const [flags, environment, key] of written) {
        const { code, output } = await run(flags, { ...RIGHT, ...environment });
        assert.equal(code, 2, output);
        assert.ok(output.includes(`${key}: `), `${key} in ${output}`);
      }
    });

    // Alone, `standalone` needs nothing.
    const needed = program === 'standalone' ? {} : { JWT_SECRET: 'auth.secret', SWITCHBOARD_REDIS: 'redis' };
    for (const [variable, key] of Object.entries(needed)) {
      it(`names ${key} when it is missing`, async () => {
        const { code, output } = await run([], { ...RIGHT, [variable]: '' });
        assert.equal(code, 2, output);
        assert.ok(output.includes(`${key}: `), output);
      });
    }

    it('names redis when a stream of it is to be filled', async () => {
      const name = await file('[[outbox]]\nmatch = "room:*"\nstream = "chat"\n');
      const { code, output } = await run(['--config', name, '--check'], { ...RIGHT, SWITCHBOARD_REDIS: '' });
      assert.equal(code, 2, output);
      assert.ok(output.includes('redis: '), output);
    });

    it('checks a configuration without serving it', async () => {
      const name = await file(`listen = "127.0.0.1:${await freePort()}"\n[drain]\ntime = "1m"\n`);
      const { code, output } = await run(['--config', name, '--check']);
      assert.equal(code, 0, output);
    });
  });
}
