// A network between clients and nodes that can be cut without a word: connections stay open and nothing comes through.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';

export class Cable {
  #server;
  #pairs = new Set();
  #to;
  #isCut = false;

  // `address` is where it leads to.
  static async to(address) {
    const cable = new Cable();
    cable.lead(address);
    cable.#server = createServer((client) => cable.#join(client)).listen(0, '127.0.0.1');
    await once(cable.#server, 'listening');
    cable.address = `127.0.0.1:${cable.#server.address().port}`;
    cable.url = `http://${cable.address}`;
    return cable;
  }

  // New connections lead elsewhere from here on.
  lead(address) {
    const [host, port] = address.split(':');
    this.#to = { host, port: Number(port) };
  }

  // Breaks every connection on the client's side; the node is told nothing until it is mended or stopped.
  cut() {
    this.#isCut = true;
    for (const { client, node } of this.#pairs) {
      client.unpipe(node);
      node.unpipe(client);
      client.destroy();
    }
  }

  // Connections come through again.
  mend() {
    this.#isCut = false;
  }

  stop() {
    this.#server.close();
    for (const { client, node } of this.#pairs) [client, node].forEach((socket) => socket.destroy());
  }

  #join(client) {
    if (this.#isCut) return client.destroy();
    const pair = { client, node: connect(this.#to) };
    this.#pairs.add(pair);
    client.on('error', () => {});
    pair.node.on('error', () => {});
    client.pipe(pair.node).pipe(client);
    // A node that ends a connection, or is gone, ends it for the client too.
    pair.node.on('close', () => {
      this.#pairs.delete(pair);
      client.destroy();
    });
  }
}
