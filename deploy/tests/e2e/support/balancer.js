// A load balancer that knows nothing of us: plain round robin, no sticky sessions.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { eventually } from './poll.js';
import { Process, freePort } from './process.js';

// Debian keeps it out of the path of those who are not root.
const HAPROXY = '/usr/sbin/haproxy';

export class Balancer {
  static async start(nodes) {
    const balancer = new Balancer();
    const port = await freePort();
    balancer.address = `127.0.0.1:${port}`;
    balancer.url = `http://${balancer.address}`;
    balancer.socket = `ws://${balancer.address}/ws`;
    balancer.home = await mkdtemp(path.join(tmpdir(), 'switchboard-haproxy-'));
    const file = path.join(balancer.home, 'haproxy.cfg');
    const servers = nodes.map((node, n) => `  server node${n} ${node.address} check inter 50ms fall 1 rise 1`);
    await writeFile(file, `
defaults
  mode http
  timeout connect 2s
  # Without it a busy machine would make a node that is slow to answer look dead within the interval of the checks.
  timeout check 5s
  timeout client 60s
  timeout server 60s
  timeout tunnel 1h
  option redispatch
  retries 2
frontend clients
  bind ${balancer.address}
  default_backend nodes
backend nodes
  balance roundrobin
  option httpchk GET /readyz
${servers.join('\n')}
`);
    balancer.process = new Process(HAPROXY, ['-db', '-f', file]);
    await eventually('the balancer serves', async () => (await fetch(`http://${balancer.address}/livez`)).ok);
    return balancer;
  }

  async stop() {
    await this.process.kill();
    await rm(this.home, { recursive: true });
  }
}
