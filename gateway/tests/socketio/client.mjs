// Scenarios with the unmodified client: node client.mjs <port> <transports>.
import assert from "node:assert/strict";
import { io } from "socket.io-client";


const [port, transportList] = process.argv.slice(2);
const transports = transportList.split(",");
const last = transports.at(-1);

// Never longer than the test waits.
setTimeout(() => {
  console.error("took too long");
  process.exit(2);
}, 30_000).unref();

const open = (namespace, options = {}) =>
  io(`http://127.0.0.1:${port}${namespace}`, {
    transports,
    forceNew: true,
    reconnectionDelay: 10,
    reconnectionDelayMax: 50,
    ...options,
  });

const next = (emitter, event) => new Promise((resolve) => emitter.once(event, (...args) => resolve(args)));

async function connected(namespace, options) {
  const socket = open(namespace, options);
  const [welcome] = await next(socket, "welcome");
  return { socket, welcome };
}

async function upgraded(socket) {
  if (socket.io.engine.transport.name !== last) await next(socket.io.engine, "upgrade");
  assert.equal(socket.io.engine.transport.name, last);
}

const scenarios = {
  async "authenticates by its payload and by a header of its first request"() {
    const { socket, welcome } = await connected("/", {
      auth: { token: "T" },
      extraHeaders: { authorization: "Bearer H" },
    });
    assert.deepEqual(welcome, { auth: { token: "T" }, header: "Bearer H" });
    assert.equal(typeof socket.id, "string");
    assert.notEqual(socket.id, socket.io.engine.id, "the session's id is a secret");
    socket.close();
  },

  async "events come back with their arguments, binary ones too"() {
    const { socket } = await connected("/");
    const long = "é".repeat(50_000);
    socket.emit("echo", 1, "2", { 3: [true, null] }, long);
    assert.deepEqual(await next(socket, "echo"), [1, "2", { 3: [true, null] }, long]);
    socket.emit("echo", { a: Buffer.from([1, 2, 3]), b: [Buffer.alloc(70_000, 7)] });
    const [binary] = await next(socket, "echo");
    assert.deepEqual([...binary.a], [1, 2, 3]);
    assert.equal(Buffer.compare(binary.b[0], Buffer.alloc(70_000, 7)), 0);
    socket.close();
  },

  async "acknowledgements go both ways"() {
    const { socket } = await connected("/");
    const answers = await Promise.all([1, 2, 3].map((n) => socket.timeout(10_000).emitWithAck("echo", n)));
    assert.deepEqual(answers, [1, 2, 3]);
    const binary = await socket.timeout(10_000).emitWithAck("echo", Buffer.from([9]));
    assert.deepEqual([...binary], [9]);
    socket.once("question", (a, b, answer) => answer(a * b, Buffer.from([1])));
    socket.emit("ask");
    const [[product, bytes]] = await next(socket, "answered");
    assert.equal(product, 42);
    assert.deepEqual([...bytes], [1]);
    socket.close();
  },

  async "namespaces share a connection and are left one by one"() {
    const { socket } = await connected("/");
    const custom = socket.io.socket("/custom", { auth: { token: "C" } });
    assert.deepEqual((await next(custom, "welcome"))[0].auth, { token: "C" });
    custom.close();
    assert.equal(await socket.timeout(10_000).emitWithAck("echo", "still there"), "still there");
    socket.close();
  },

  async "a refused client is told why and does not come back"() {
    const unknown = open("/random");
    const [error] = await next(unknown, "connect_error");
    assert.equal(error.message, "Invalid namespace");
    unknown.close();
    const bad = open("/", { auth: { token: "bad" } });
    const [refused] = await next(bad, "connect_error");
    assert.equal(refused.message, "not authorized");
    assert.deepEqual(refused.data, { code: "bad_token" });
    assert.equal(bad.active, false);
    bad.close();
    bad.io._close();
  },

  async "a kicked client stays away from its namespace until it connects again"() {
    const { socket } = await connected("/");
    socket.emit("kick");
    // On its way when the server has left already.
    socket.emit("echo", "too late");
    const [reason] = await next(socket, "disconnect");
    assert.equal(reason, "io server disconnect");
    socket.connect();
    await next(socket, "welcome");
    socket.close();
  },

  async "a client whose session was closed comes back by itself"() {
    const { socket } = await connected("/");
    await upgraded(socket);
    const before = socket.id;
    socket.emit("cut");
    const [reason] = await next(socket, "disconnect");
    assert.ok(["transport close", "transport error"].includes(reason), reason);
    await next(socket, "welcome");
    assert.notEqual(socket.id, before);
    socket.close();
  },

  async "nothing is lost or changes places while the transport changes"() {
    const { socket } = await connected("/");
    const count = 2_000;
    const ticks = [];
    const done = new Promise((resolve) => {
      socket.on("tick", (number) => ticks.push(number) === count && resolve());
    });
    const echoes = [];
    socket.on("echo", (number) => echoes.push(number));
    for (let round = 0; round < 20; round++) {
      socket.emit("burst", count / 20);
      socket.emit("echo", round);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    await done;
    await upgraded(socket);
    const round = [...Array(count / 20).keys()];
    assert.deepEqual(ticks, Array(20).fill(round).flat());
    assert.equal(await socket.timeout(10_000).emitWithAck("echo", "end"), "end");
    assert.deepEqual(echoes, [...Array(20).keys()]);
    socket.close();
  },

  async "heartbeats keep a quiet client"() {
    const { socket } = await connected("/");
    await upgraded(socket);
    for (let count = 0; count < 4; count++) await next(socket.io, "ping");
    assert.ok(socket.connected);
    socket.close();
  },
};

for (const [name, scenario] of Object.entries(scenarios)) {
  try {
    await scenario();
    console.log(`passed: ${name}`);
  } catch (error) {
    console.error(`failed: ${name}\n${error.stack}`);
    process.exit(1);
  }
}
// The process ends by itself once all clients have said goodbye.
console.log("all scenarios passed");
