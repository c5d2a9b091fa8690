// The module's frames, without a server: however the bytes are cut, and whatever handlers throw, each frame is handled once and in order.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from '../server.mjs';

const ours = createRequire(new URL('../../../src/node/index.js', import.meta.url));
const { Stream } = ours('./lib/stream.js');
const { Numbers } = ours('./lib/numbers.js');
const { encode, revive } = ours('./lib/values.js');
const { Frame, KIND, PROTOCOL, Writer, idOf, whereIs } = ours('./lib/wire.js');
const { Server } = ours('./index.js');
const { version } = ours('./package.json');

/** Frames, and the values that are in them. */
function frames(count) {
  const writer = new Writer();
  const values = [];
  for (let number = 0; number < count; number += 1) {
    const value = ['name', number, 'ü'.repeat((number * 37) % 900), number === 77 ? 'x'.repeat(700_000) : { bytes: Buffer.alloc(number, number) }];
    const { json, values: bytes } = encode(value);
    writer.frame(KIND.EVENT, 2, 0, { shard: 1, index: number, generation: -5 }, 0 - number, number, json, bytes);
    values.push(value);
  }
  return [Buffer.concat(writer.take()), values];
}

/** What a stream hands out when the bytes come in pieces; every seventh handler throws. */
async function handed(bytes, piece) {
  const folder = await mkdtemp(join(tmpdir(), 'roadstead-frames-'));
  const caught = [];
  const taking = (error) => caught.push(error.message);
  process.on('uncaughtException', taking);
  const handled = [];
  try {
    const server = createServer(async (socket) => {
      // Of small pieces the first ones are enough.
      const cut = Math.min(bytes.length, 400 * piece);
      for (let at = 0; at < cut; at += piece) {
        if (!socket.write(bytes.subarray(at, Math.min(cut, at + piece)))) await once(socket, 'drain');
        await new Promise((resolve) => { setImmediate(resolve); });
      }
      socket.end(bytes.subarray(cut));
    }).listen(join(folder, 'a.sock'));
    await once(server, 'listening');
    await new Promise((resolve) => {
      const stream = new Stream(join(folder, 'a.sock'), (frame) => {
        assert.deepEqual([frame.kind, frame.flags, frame.shard, frame.generation, frame.number], [KIND.EVENT, 2, 1, -5, 0 - frame.index]);
        handled.push(frame.json(revive));
        if (frame.index === frame.extra && frame.index % 7 === 0) throw new Error('on purpose');
      }, () => {
        const ended = () => (stream.isHeld ? setImmediate(ended) : resolve());
        setImmediate(ended);
      });
    });
    server.close();
  } finally {
    process.off('uncaughtException', taking);
    await rm(folder, { recursive: true, force: true });
  }
  return { handled, caught };
}

/** Listens on one socket of a link, and hands out its frames with a function that answers. */
async function listen(folder, name, handle) {
  const frame = new Frame();
  const server = createServer((socket) => {
    let bytes = Buffer.alloc(0);
    const answer = (kind, json) => {
      const writer = new Writer();
      writer.frame(kind, 0, 0, null, 0, 0, json);
      socket.write(Buffer.concat(writer.take()));
    };
    socket.on('error', () => {});
    socket.on('data', (piece) => {
      bytes = Buffer.concat([bytes, piece]);
      for (let next; (next = frame.read(bytes, 0, bytes.length)) > 0; bytes = bytes.subarray(next)) handle(frame.kind, answer);
    });
  }).listen(join(folder, `${name}.sock`));
  await once(server, 'listening');
  return server;
}

export const frameChecks = {
  async 'a program asks for no clients before it can say something of them'() {
    const folder = await mkdtemp(join(tmpdir(), 'roadstead-links-'));
    const hello = JSON.stringify({ protocol: PROTOCOL, server: version, shards: 2, id_end: '4cd71b92ae' });
    const said = [];
    let greet;
    let pings = 0;
    const servers = await Promise.all([
      listen(folder, 'control', (kind, answer) => {
        if (kind === KIND.HELLO) answer(KIND.HELLO, hello);
        if (kind === KIND.LISTEN) answer(KIND.LISTENING, '{"port":1,"address":"127.0.0.1","shards":2}');
        if (kind === KIND.LISTEN || kind === KIND.PONG) setImmediate(answer, KIND.PING, '');
        if (kind === KIND.PONG) pings += 1;
      }),
      listen(folder, '0', (kind, answer) => {
        if (kind === KIND.HELLO) greet = () => answer(KIND.HELLO, hello);
        if (kind === KIND.READY) said.push('0 is ready');
      }),
      listen(folder, '1', (kind, answer) => {
        if (kind === KIND.HELLO) answer(KIND.HELLO, hello);
        if (kind === KIND.READY) said.push('1 is ready');
      }),
    ]);
    const program = 'new (require("socket.io").Server)(require("node:http").createServer()).httpServer.listen(1)';
    const child = spawn(process.execPath, ['--require', ours.resolve('./register.js'), '--eval', program], {
      env: { ...process.env, ROADSTEAD_LINK: folder }, stdio: 'inherit',
    });
    try {
      await until('the first shard is greeted', () => greet !== undefined);
      // The second shard has answered long ago when so much has gone to and fro.
      pings = 0;
      await until('the program has done what it could', () => pings > 50);
      assert.deepEqual(said, []);
      greet();
      await until('both are ready', () => said.length === 2);
      assert.deepEqual(said.sort(), ['0 is ready', '1 is ready']);
    } finally {
      child.kill('SIGKILL');
      await once(child, 'exit');
      servers.forEach((server) => server.close());
      await rm(folder, { recursive: true, force: true });
    }
  },

  async 'frames are handled once and in order, however they are cut and whatever a handler throws'() {
    const [bytes, values] = frames(150);
    for (const piece of [7, 28, 29, 100, 65_536, 300_000, bytes.length]) {
      const { handled, caught } = await handed(bytes, piece);
      assert.deepEqual(handled, values, `in pieces of ${piece}`);
      assert.deepEqual(caught, Array(22).fill('on purpose'), `in pieces of ${piece}`);
    }
  },

  async 'the number of a namespace is used again once every link has said that it has ended'() {
    const numbers = new Numbers();
    const make = (name) => {
      const nsp = { name, number: numbers.reserve(name) };
      numbers.namespaces[nsp.number] = nsp;
      return nsp;
    };
    const [, a, b] = ['/', '/a', '/b'].map(make);
    assert.deepEqual([a.number, b.number], [1, 2]);
    const first = numbers.end(a, 2);
    numbers.ended(1, first);
    assert.equal(make('/c').number, 3);
    // One that somebody is on the way to is kept, and so is the number of one that is made anew meanwhile.
    numbers.keep(a);
    numbers.ended(1, first);
    const second = numbers.end(a, 2);
    numbers.ended(1, first);
    numbers.ended(1, second);
    assert.equal(numbers.namespaces[1], a);
    const again = make('/a');
    assert.equal(again.number, 1);
    numbers.ended(1, second);
    assert.equal(numbers.namespaces[1], again);
    const third = numbers.end(again, 2);
    numbers.ended(1, third);
    numbers.ended(1, third);
    assert.equal(numbers.namespaces[1], undefined);
    assert.equal(make('/d').number, 1);
    assert.equal(numbers.end(b, 0), undefined);
    assert.equal(make('/e').number, 2);
    while (!numbers.isFull) make(`/${numbers.namespaces.length}`);
    assert.throws(() => make('/more'), /at most 10000 namespaces/);
  },

  async 'a frame that is too large is refused where it is written'() {
    const writer = new Writer();
    assert.throws(() => writer.frame(KIND.EMIT, 0, 0, null, 0, 0, 'x'.repeat((16 << 20) + 1)), /at most 16777216 bytes/);
    assert.equal(writer.isEmpty, true);
    writer.frame(KIND.EMIT, 0, 0, null, 0, 0, 'x'.repeat(16 << 20));
    assert.equal(Buffer.concat(writer.take()).length, 28 + (16 << 20));
  },

  async 'an id says where its socket is'() {
    for (const [shard, index, generation] of [[0, 0, 0], [1, 2, 3], [65_535, 0x7fff_ffff, -1]]) {
      assert.deepEqual(whereIs(idOf(shard, index, generation)), { shard, index, generation });
    }
    for (const id of [undefined, 7, '', 'x', 'A'.repeat(20), `${idOf(0, 0, 0)}A`]) assert.equal(whereIs(id), undefined);
  },

  async 'listeners are those of an EventEmitter, with one to five names'() {
    const { EventEmitter } = await import('node:events');
    const nsp = new Server().of('/');
    const heard = (emitter, tell) => {
      const told = [];
      const listener = (name) => (...args) => told.push([name, ...args]);
      const [first, second] = [listener('first'), listener('second')];
      for (const name of ['a', 'b', 'c', 'd', 'e']) {
        emitter.on(name, first);
        emitter.once(name, second);
        emitter.prependListener(name, listener(`before ${name}`));
        tell(name, 1);
        tell(name, 2, 3);
        told.push(emitter.listenerCount(name), emitter.eventNames().join());
      }
      emitter.off('c', first).removeAllListeners('a').removeListener('d', second);
      emitter.on('a', first);
      emitter.on('a', first);
      emitter.off('a', first);
      emitter.once('f', second);
      emitter.off('f', second);
      for (const name of ['a', 'b', 'c', 'd', 'e', 'f']) tell(name, 4);
      told.push(emitter.listeners('a').length, emitter.rawListeners('e').length, [...emitter.eventNames()].sort().join());
      emitter.removeAllListeners();
      tell('b', 5);
      told.push(emitter.eventNames());
      return told;
    };
    const theirs = new EventEmitter();
    const own = nsp.make('{}');
    assert.deepEqual(heard(own, (...event) => own._tell(...event)), heard(theirs, (...event) => theirs.emit(...event)));
  },
};
