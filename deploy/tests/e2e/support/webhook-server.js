// A backend as a program of its own, so that it can be killed: takes signed webhooks and writes each to a file before it
// answers. Arguments: port, file. The environment has the secret. While there is a file `<file>.strict`, it refuses the
// message `poison` for good.

import { appendFileSync, existsSync } from 'node:fs';
import { createServer } from 'node:http';
import { Webhook } from 'standardwebhooks';

const [port, file] = process.argv.slice(2);
const webhook = new Webhook(process.env.SECRET);

createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    const body = Buffer.concat(chunks).toString();
    const entry = { id: request.headers['webhook-id'], path: request.url };
    try {
      entry.body = webhook.verify(body, request.headers);
    } catch (error) {
      entry.error = error.message;
    }
    // What a killed process wrote to a file stays written.
    appendFileSync(file, `${JSON.stringify(entry)}\n`);
    // A little later, so that it can be killed between the two, and those who deliver as well.
    const status = entry.error ? 401 : entry.body.data.data === 'poison' && existsSync(`${file}.strict`) ? 410 : 204;
    setTimeout(() => response.writeHead(status).end(), Math.random() * 20);
  });
}).listen(port, '127.0.0.1', () => console.log('listening'));
