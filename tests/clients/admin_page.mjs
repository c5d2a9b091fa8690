// Socket.IO's own admin page, npm's @socket.io/admin-ui: what it says and is told, spoken by the stock client; and the page
// itself, in headless Chromium.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { Agent, createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import bcrypt from 'bcryptjs';
import { io } from 'socket.io-client';
import { run } from './checks.mjs';
import { browser } from './page.mjs';
import { publish, start, until } from './server.mjs';

const PASSWORD = 'anchor-chain-7';
const KEY = `socketio.admin_keys=${PASSWORD}`;
const PAGE = fileURLToPath(new URL('node_modules/@socket.io/admin-ui/ui/dist', import.meta.url));
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.png': 'image/png' };

/** A client that has entered; `events` keeps all it is told. */
async function enter(url, options = {}) {
  const socket = io(url, { forceNew: true, reconnection: false, ...options });
  socket.events = [];
  socket.onAny((name, ...values) => socket.events.push([name, ...values]));
  const [outcome] = await Promise.race([once(socket, 'connect').then(() => ['in']), once(socket, 'connect_error')]);
  if (outcome !== 'in') {
    socket.close();
    throw outcome;
  }
  return socket;
}

const admin = (server, auth = { username: 'admin', password: PASSWORD }) => enter(`${server.url}/admin`, { auth });
const told = (page, name) => page.events.filter(([event]) => event === name).map(([, ...values]) => values);
const last = (page, name) => told(page, name).at(-1);
const refused = (auth, server) => assert.rejects(admin(server, auth), { message: 'invalid credentials' });

async function withServer(settings, check) {
  const server = await start(...settings);
  const open = [];
  const keep = async (socket) => { open.push(await socket); return open.at(-1); };
  try {
    await check(server, keep);
  } finally {
    for (const socket of open) socket.close();
    await server.stop();
  }
}

await run({
  'a page enters by a password, and later by what it was told then': () => withServer([KEY], async (server, keep) => {
    for (const auth of [undefined, {}, { password: '' }, { password: 'x' }, { username: 'admin', password: `${PASSWORD}.` }, { sessionId: '1.00' }, { password: 7 }]) {
      await refused(auth ?? {}, server);
    }
    const page = await keep(admin(server));
    await until('it has a session', () => told(page, 'session').length === 1);
    const [sessionId] = last(page, 'session');
    // Whatever shard it comes to.
    for (let time = 0; time < 6; time += 1) {
      const again = await keep(admin(server, { sessionId }));
      await until('it is told what it may', () => told(again, 'config').length > 0);
      assert.deepEqual(told(again, 'session'), []);
    }
    await refused({ sessionId: sessionId.replace(/.$/, (digit) => (digit === '0' ? '1' : '0')) }, server);
    await refused({ sessionId: `f${sessionId}` }, server);
    // What is told to pages is no publication that others could read.
    const { publications } = await (await fetch(`${server.url}/channels/%2Fadmin/history`)).json();
    assert.deepEqual(publications, []);
  }),

  'a hashed password does as well, and whoever brings wrong ones is not listened to': () => withServer(
    ['socketio.admin_keys=sha256:' + createHash('sha256').update(PASSWORD).digest('hex')],
    async (server, keep) => {
      await keep(admin(server));
      // Whatever shards they come to.
      await Promise.all(Array.from({ length: 60 }, () => refused({ password: 'x' }, server)));
      await refused({ password: PASSWORD }, server);
      // From another address.
      const agent = new Agent({ localAddress: '127.0.0.2' });
      await keep(enter(`${server.url}/admin`, { auth: { password: PASSWORD }, agent }));
    },
  ),

  'a password is known by the hash that the stock server has of it': () => withServer(
    [`socketio.admin_keys=${bcrypt.hashSync(PASSWORD, 8)}`],
    async (server, keep) => {
      const page = await keep(admin(server));
      await until('it has a session', () => told(page, 'session').length === 1);
      const [sessionId] = last(page, 'session');
      await keep(admin(server, { sessionId }));
      await refused({ password: 'anchor-chain-8' }, server);
      await keep(admin(server));
    },
  ),

  'nobody but the server says anything to a page': () => withServer([KEY], async (server, keep) => {
    const page = await keep(admin(server));
    await until('it has the list', () => told(page, 'all_sockets').length > 0);
    const post = async (path, body, method = 'POST') => {
      const headers = { 'Content-Type': 'application/json' };
      const answer = await fetch(`${server.url}${path}`, { method, headers, body: JSON.stringify(body) });
      return answer.json();
    };
    const config = { supportedFeatures: [] };
    for (const channel of ['%2Fadmin', '%2Fadmin%23' + page.id]) {
      const { error } = await post(`/channels/${channel}`, ['config', config]);
      assert.equal(error.code, 'admin_namespace', channel);
    }
    for (const [path, body] of [
      ['/socket.io-api/emit', { namespace: '/admin', event: 'config', args: [config] }],
      ['/socket.io-api/sockets', { namespace: '/admin', join: ['x'] }],
      ['/socket.io-api/sockets', { namespace: '/admin', disconnect: true }],
    ]) {
      assert.equal((await post(path, body)).error.code, 'admin_namespace', path);
    }
    const { results } = await post('/publish', { publications: [{ channel: '/admin', data: ['config', config] }] });
    assert.equal(results[0].error.code, 'admin_namespace');
    const at = told(page, 'server_stats').length;
    await until('the server still does', () => told(page, 'server_stats').length > at);
    assert.ok(page.connected && told(page, 'config').every(([{ supportedFeatures }]) => supportedFeatures.length > 0));
  }),

  'a page is told who is there, where, and what becomes of them': () => withServer([KEY], async (server, keep) => {
    const ada = await keep(enter(server.url, { transports: ['websocket'] }));
    const bob = await keep(enter(server.url, { transports: ['polling'] }));
    await ada.emitWithAck('join', 'lobby');
    const page = await keep(admin(server));
    await until('it has the list', () => told(page, 'all_sockets').length > 0);
    const [list] = last(page, 'all_sockets');
    const shown = list.map(({ id, nsp, transport, rooms }) => [id, nsp, transport, rooms.sort()]).sort();
    assert.deepEqual(shown, [[ada.id, '/', 'websocket', [ada.id, 'lobby'].sort()], [bob.id, '/', 'polling', [bob.id]]].sort());
    const [stats] = last(page, 'server_stats');
    assert.deepEqual(stats.namespaces, [{ name: '/', socketsCount: 2 }]);
    assert.equal(stats.clientsCount, 2);

    await bob.emitWithAck('join', 'pier');
    await until('it is told of the room', () => told(page, 'room_joined').length > 0);
    assert.deepEqual(last(page, 'room_joined').slice(0, 3), ['/', 'pier', bob.id]);
    await bob.emitWithAck('leave', 'pier');
    await until('it is told again', () => told(page, 'room_left').length > 0);
    assert.deepEqual(last(page, 'room_left').slice(0, 3), ['/', 'pier', bob.id]);
    const eve = await keep(enter(`${server.url}/game`));
    await until('it is told of who comes', () => told(page, 'socket_connected').length > 0);
    assert.deepEqual([last(page, 'socket_connected')[0].id, last(page, 'socket_connected')[0].nsp], [eve.id, '/game']);
    const { id } = eve;
    eve.close();
    await until('it is told of who goes', () => told(page, 'socket_disconnected').length > 0);
    assert.deepEqual(last(page, 'socket_disconnected').slice(0, 2), ['/game', id]);
  }),

  'a page moves sockets, sends events and ends connections': () => withServer([KEY], async (server, keep) => {
    const ada = await keep(enter(server.url, { transports: ['websocket'] }));
    const bob = await keep(enter(server.url, { transports: ['websocket'] }));
    const page = await keep(admin(server));
    page.emit('join', '/', 'vip', ada.id);
    page.emit('emit', '/', 'vip', 'hello', 1, { two: 2 });
    await until('it came', () => told(ada, 'hello').length === 1);
    assert.deepEqual(last(ada, 'hello'), [1, { two: 2 }]);
    page.emit('leave', '/', 'vip', ada.id);
    page.emit('emit', '/', 'vip', 'hello', 2);
    page.emit('emit', '/', undefined, 'all');
    for (const client of [ada, bob]) await until('all have it', () => told(client, 'all').length === 1);
    assert.equal(told(ada, 'hello').length, 1);
    assert.equal(told(bob, 'hello').length, 0);
    // What is none of it does nothing.
    for (const args of [[], [1], ['/'], ['/', 'room', 7], ['no#name', 'x', 'y'], ['/admin', 'x', page.id], ['/', '', 'x']]) {
      for (const command of ['join', 'leave', 'emit', '_disconnect']) page.emit(command, ...args);
    }
    const gone = once(ada, 'disconnect');
    page.emit('_disconnect', '/', false, ada.id);
    assert.equal((await gone)[0], 'io server disconnect');
    assert.ok(page.connected && bob.connected);
    page.emit('_disconnect', '/', true, undefined);
    await once(bob, 'disconnect');
  }),

  'a page that may only look, looks': () => withServer([KEY, 'socketio.admin_readonly=true'], async (server, keep) => {
    const ada = await keep(enter(server.url, { transports: ['websocket'] }));
    const page = await keep(admin(server));
    await until('it has the list', () => told(page, 'all_sockets').length > 0);
    assert.deepEqual(last(page, 'config')[0], { supportedFeatures: ['ALL_EVENTS'] });
    page.emit('emit', '/', undefined, 'hello');
    page.emit('_disconnect', '/', true, ada.id);
    await publish(server, '%2F', '["done"]');
    await until('what came behind it came', () => told(ada, 'done').length === 1);
    assert.deepEqual(ada.events.map(([name]) => name), ['done']);
  }),

  'the page itself shows the server, in Chromium': async () => {
    const files = createServer(async (request, response) => {
      const path = normalize(new URL(request.url, 'http://x').pathname);
      const file = join(PAGE, path === '/' ? 'index.html' : path);
      const body = await readFile(file).catch(() => null);
      response.writeHead(body ? 200 : 404, { 'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream' }).end(body ?? '');
    }).listen(0, '127.0.0.1');
    await once(files, 'listening');
    const origin = `http://localhost:${files.address().port}`;
    await withServer([KEY, `cors.allowed_origins=${origin}`, 'cors.credentials=true'], async (server, keep) => {
      const ada = await keep(enter(server.url, { transports: ['websocket'] }));
      const context = await browser.newContext();
      const page = await context.newPage();
      page.setDefaultTimeout(20000);
      const faults = [];
      page.on('pageerror', (error) => faults.push(String(error)));
      await page.goto(`${origin}/`);
      await page.getByLabel('Server URL').fill(server.url);
      await page.getByLabel('Username').fill('admin');
      await page.getByLabel('Password').fill(PASSWORD);
      await page.getByRole('button', { name: 'Connect' }).click();
      await page.goto(`${origin}/#/sockets`);
      await page.getByText(ada.id).first().waitFor();
      if (process.env.SCREENSHOTS) await page.screenshot({ path: join(process.env.SCREENSHOTS, 'admin-page.png') });
      assert.deepEqual(faults, []);
      await context.close();
    });
    files.close();
  },
});
