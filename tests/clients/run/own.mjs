// What only `roadstead run` does: clients that stay when the program goes, the light form, and what it refuses.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import WebSocket from 'ws';
import { until } from '../server.mjs';
import { people, person } from './people.mjs';
import { sides, start } from './sides.mjs';

const PACKAGE = fileURLToPath(new URL('../../../src/node', import.meta.url));

/** Asks who serves a client, which is not to be `pid` any more. */
async function answeredBy(one, pid) {
  const [who] = await one.asks('who');
  assert.notEqual(who.pid, pid);
  return who;
}

/** Ends the program of a server and checks that its clients stay, and what they said meanwhile is handled. */
async function outlives(end) {
  const server = await start('roadstead', 'lasting.mjs');
  const [ann, bob] = await people(server.url, 'websocket', 2, [{ auth: { user: 'ann' } }, { auth: { user: 'bob' } }]);
  await ann.asks('keep', { a: [1] });
  await bob.asks('keep', 'b');
  const [{ pid }] = await ann.asks('who');
  assert.equal(`${pid}`, await (await fetch(server.url)).text());
  await end(pid, ann);
  // What the program was given in its last moment may have gone with it, so it is said again until it is heard.
  await until('both hear', () => {
    ann.socket.emit('say', 'meanwhile');
    return [ann, bob].every(({ log }) => log.some(([name]) => name === 'said'));
  });
  const [first, second] = [await answeredBy(ann, pid), await answeredBy(bob, pid)];
  assert.deepEqual(first, { pid: first.pid, user: 'ann', recovered: true, data: { value: { a: [1] } }, rooms: 2 });
  assert.deepEqual(second, { pid: first.pid, user: 'bob', recovered: true, data: { value: 'b' }, rooms: 2 });
  assert.deepEqual([ann, bob].map(({ socket }) => socket.connected), [true, true]);
  assert.equal(`${first.pid}`, await (await fetch(server.url)).text());
  [ann, bob].forEach((one) => one.leave());
  await server.stop();
}

/** Runs a text as a program in a folder of its own, and returns what it wrote until it said what is waited for. */
async function writes(text, expected, prepare = () => {}) {
  const folder = await mkdtemp(join(tmpdir(), 'roadstead-run-'));
  try {
    await prepare(folder);
    const program = join(folder, 'program.mjs');
    await writeFile(program, text);
    const [command, args] = sides.roadstead(program, []);
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    const exited = once(child, 'exit');
    let written = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (piece) => { written += piece; });
    try {
      await until(`it says ${expected}`, () => written.includes(expected));
    } catch (error) {
      throw new Error(`${error.message}:\n${written}`);
    } finally {
      child.kill('SIGTERM');
      await exited;
    }
    return written;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

export const own = {
  async 'clients stay when the program is killed, and the next one finds them'() {
    await outlives((pid) => process.kill(pid, 'SIGKILL'));
  },

  async 'clients stay when a handler throws, and the next program finds them'() {
    await outlives((pid, ann) => { ann.socket.emit('throw'); });
  },

  async 'a client that comes back to another program than the one it has left is known to it, with its rooms and its data'() {
    const server = await start('roadstead', 'lasting.mjs', { env: { RECOVERS: '1' } });
    const [ann, bob] = await people(server.url, 'websocket', 2, [{ auth: { user: 'ann' } }, { auth: { user: 'bob' } }]);
    await ann.asks('keep', { a: [1] });
    const [{ pid }] = await ann.asks('who');
    bob.socket.emit('say', 'hello');
    await ann.hears('said');
    ann.socket.io.engine.close();
    await until('she has gone', async () => (await bob.asks('count'))[0] === 1);
    process.kill(pid, 'SIGKILL');
    // What is said to a program in its last moment goes with it.
    await until('another program serves', async () => {
      const said = await fetch(server.url).then((response) => response.text(), () => undefined);
      return Number(said) > 0 && said !== `${pid}`;
    });
    await answeredBy(bob, pid);
    ann.socket.connect();
    await ann.connected();
    assert.equal(ann.socket.recovered, true);
    const who = await answeredBy(ann, pid);
    assert.deepEqual(who, { pid: who.pid, user: 'ann', recovered: true, data: { value: { a: [1] } }, rooms: 2 });
    bob.socket.emit('say', 'welcome');
    await ann.hears('said', 2);
    [ann, bob].forEach((one) => one.leave());
    await server.stop();
  },

  async 'clients stay in namespaces that are made for them when the program is killed, and the next one makes those again'() {
    const server = await start('roadstead', 'tenants.mjs');
    const [root] = await people(server.url, 'websocket', 1);
    const [ann, bob, cat] = await people(server.url, 'websocket', 3, [
      { namespace: '/tenant-a', auth: { key: 'a' } }, { namespace: '/room-1' }, { namespace: '/room-2' },
    ]);
    await Promise.all([ann.asks('keep', 1), bob.asks('keep', 2), cat.asks('keep', 3)]);
    const [{ pid }] = await ann.asks('who');
    process.kill(pid, 'SIGKILL');
    // Who comes while there is no program waits for the next one.
    const [dan] = await people(server.url, 'websocket', 1, [{ namespace: '/room-3' }]);
    await until('all hear what is said by the next program', () => {
      ann.socket.emit('say', 'to tenants');
      bob.socket.emit('say', 'to rooms');
      return [ann, bob, cat].every(({ log }) => log.some(([name]) => name === 'said'));
    });
    for (const [one, name, value] of [[ann, '/tenant-a', 1], [bob, '/room-1', 2], [cat, '/room-2', 3]]) {
      const who = await answeredBy(one, pid);
      assert.deepEqual(who, { pid: who.pid, name, recovered: true, data: { value } });
    }
    assert.equal((await answeredBy(dan, pid)).recovered, false);
    assert.deepEqual(await root.asks('children'), [['/room-1', '/room-2', '/room-3', '/tenant-a']]);
    [bob, dan].forEach((one) => one.leave());
    await until('their namespaces have gone', async () => (await root.asks('children'))[0].length === 2);
    [root, ann, cat].forEach((one) => one.leave());
    await server.stop();
  },

  async 'namespaces come and go, many at a time, and nobody is lost on the way'() {
    const server = await start('roadstead', 'tenants.mjs');
    const [root] = await people(server.url, 'websocket', 1);
    // Several enter and leave the same ones, so that many are about to end when the next one comes.
    await Promise.all(Array.from({ length: 8 }, async (_, walker) => {
      for (let step = 0; step < 40; step += 1) {
        const name = `/room-${(step * (1 + (walker % 3))) % 7}`;
        const one = person(server.url, 'websocket', { namespace: name });
        await one.connected();
        const [who] = await one.asks('who');
        assert.equal(who.name, name);
        one.leave();
      }
    }));
    await until('all have gone', async () => (await root.asks('children'))[0].length === 0);
    root.leave();
    await server.stop();
  },

  async 'a socket of the light form can do what needs nothing to be kept'() {
    const server = await start('roadstead', 'light.mjs');
    const [ann, bob] = await people(server.url, 'websocket', 2);
    const [id] = await ann.asks('enter', 'room');
    assert.equal(id, ann.socket.id);
    await bob.asks('enter', 'room');
    ann.socket.emit('say', 'room', 'hi');
    await Promise.all([bob.hears('said'), ann.hears('told')]);
    ann.socket.on('question', (number, answer) => answer(`to ${number}`));
    assert.deepEqual(await ann.asks('ask'), ['to 1']);
    const [refusal] = await ann.asks('rooms');
    assert.match(refusal, /socket\.rooms of a socket in the light form is not supported: .*io\.on\("connection"/);
    bob.socket.emit('end');
    await bob.hears('disconnect');
    await until('one is left', async () => (await ann.asks('count'))[0] === 1);
    ann.socket.emit('say', 'room', 'alone');
    await ann.hears('told', 2);
    assert.deepEqual(ann.log.filter(([name]) => name === 'told'), [['told', 2], ['told', 1]]);
    assert.deepEqual(bob.log.filter(([name]) => name === 'said'), [['said', 'hi']]);
    ann.leave();
    await server.stop();
  },

  async 'a program that exports fetch answers requests with it, and its clients connect as ever'() {
    const server = await start('roadstead', 'fetching.mjs');
    const page = await fetch(`${server.url}/?a=1&b=%20`);
    assert.deepEqual([page.status, page.headers.get('content-type'), page.headers.get('x-method'), page.headers.getSetCookie()], [203, 'text/plain', 'GET', ['a=1', 'b=2']]);
    assert.equal(await page.text(), '?a=1&b=%20 from 127.0.0.1');
    const answer = async (path, body) => {
      const response = await fetch(server.url + path, { method: body === undefined ? 'GET' : 'POST', body });
      return [response.status, Buffer.from(await response.arrayBuffer())];
    };
    assert.deepEqual(await answer('/text', 'grüße'), [200, Buffer.from('GRÜSSE')]);
    const large = Buffer.alloc(3_000_000, 'abcdefg');
    assert.deepEqual(await answer('/bytes', large), [200, large]);
    assert.deepEqual(await answer('/slowly'), [200, Buffer.from('one two')]);
    assert.deepEqual(await answer('/nothing'), [404, Buffer.alloc(0)]);
    for (const path of ['/throw', '/undefined']) assert.equal((await answer(path))[0], 500);
    await until('it says why', () => ['nobody catches this', 'has to return a Response'].every((text) => server.output().includes(text)));
    const [ann] = await people(server.url, 'websocket', 1);
    ann.leave();
    await server.stop();
  },

  async 'a program that exports fetch answers with it on the port of its Socket.IO server'() {
    const server = await start('roadstead', 'fetching.cjs');
    assert.equal(await (await fetch(server.url, { method: 'DELETE' })).text(), 'DELETE here');
    const [ann] = await people(server.url, 'websocket', 1);
    ann.leave();
    await server.stop();
  },

  async 'a client that says what no client can say is put out, and the program goes on'() {
    const server = await start('roadstead', 'lasting.mjs');
    const [ann] = await people(server.url, 'websocket', 1, [{ auth: { user: 'ann' } }]);
    const [{ pid }] = await ann.asks('who');
    const bytes = Buffer.from('bytes');
    for (const packets of [
      ['451-["keep",{"_placeholder":true,"num":7}]', bytes], ['451-["keep",{"_placeholder":true,"num":-1}]', bytes],
      ['451-["keep",{"_placeholder":true,"num":"0"}]', bytes], ['42["disconnect","transport close"]'], ['42["disconnecting","x"]'],
      ['42["connect"]'],
    ]) {
      const raw = new WebSocket(`${server.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`);
      const closed = once(raw, 'close');
      raw.on('message', (data) => {
        const text = data.toString();
        if (text.startsWith('0')) raw.send('40{"user":"raw"}');
        else if (text.startsWith('40')) packets.forEach((packet) => raw.send(packet));
      });
      await closed;
    }
    assert.equal((await ann.asks('who'))[0].pid, pid);
    ann.leave();
    await server.stop();
  },

  async 'what is not there is refused by name and with the cure'() {
    const { Server } = createRequire(import.meta.url)(PACKAGE);
    const io = new Server();
    const http = await import('node:http');
    const https = await import('node:https');
    const refused = {
      'io.bind': () => io.bind({}),
      'io.attachApp': () => io.attachApp({}),
      'io.engine.generateId': () => { io.engine.generateId = () => '1'; },
      'the option parser': () => new Server({ parser: {} }),
      'the option allowRequest': () => new Server({ allowRequest: () => {} }),
      'the transport webtransport': () => new Server({ transports: ['websocket', 'webtransport'] }),
      'cors.origin as a function': () => new Server({ cors: { origin: () => {} } }),
      'a server that is not one of node:http': () => new Server(https.createServer()),
    };
    for (const [name, act] of Object.entries(refused)) {
      assert.throws(act, (error) => error.code === 'ERR_ROADSTEAD_UNSUPPORTED' && error.message.startsWith(`roadstead: ${name}`), name);
    }
    assert.throws(() => new Server(http.createServer()), /started by Roadstead.*`roadstead run app\.js`/);
    assert.throws(() => io.attach(() => {}), /express request handler/);
  },

  async 'adapters do nothing but warn, once'() {
    const written = await writes(`
      import { Server } from 'socket.io';
      const io = new Server();
      io.adapter(() => {});
      io.adapter(() => {});
      io.on('connection', () => {});
      io.listen(0).httpServer.on('listening', () => console.log('it listens'));
    `, 'it listens');
    assert.equal(written.split('RoadsteadWarning: io.adapter(…) does nothing under roadstead').length, 2, written);
  },

  async 'a package of another version says which of the two to change'() {
    const program = 'import { Server } from \'roadstead\'; new Server(0);';
    const { version } = JSON.parse(await readFile(join(PACKAGE, 'package.json'), 'utf8'));
    await writes(program, `npm install roadstead@${version}`, async (folder) => {
      const place = join(folder, 'node_modules', 'roadstead');
      await cp(PACKAGE, place, { recursive: true });
      const json = JSON.parse(await readFile(join(place, 'package.json'), 'utf8'));
      await writeFile(join(place, 'package.json'), JSON.stringify({ ...json, version: '9.9.9' }));
    });
  },
};
