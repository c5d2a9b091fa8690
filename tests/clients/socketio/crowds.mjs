// Many clients at once, over several shards.

import assert from 'node:assert/strict';
import http from 'node:http';
import https from 'node:https';
import { SPEAKS_TLS, until } from '../server.mjs';
import { ask, current, fresh, join } from './client.mjs';
import { start } from './fixture.mjs';

/** Requests and answers of each client. Over TLS all of them are handshakes of this one thread as well. */
const ROUNDS = SPEAKS_TLS ? 3 : 10;

/** Two hundred clients that poll, all from one address: no shard may say that it does not know one. */
async function pollers(agent) {
  const server = await start('shards=8');
  const clients = current.clients(server.url, 'polling');
  const troubles = [];
  const room = fresh('room');
  const sockets = await Promise.all(Array.from({ length: 200 }, async (_, index) => {
    const socket = clients.make('/play', { auth: { name: String(index) }, agent });
    socket.on('connect_error', (error) => troubles.push(error.message));
    socket.on('disconnect', (reason) => troubles.push(reason));
    socket.io.on('error', (error) => troubles.push(String(error)));
    await socket.connected_;
    await join(socket, room);
    return socket;
  }));
  await Promise.all(sockets.map(async (socket, index) => {
    for (let round = 0; round < ROUNDS; round += 1) assert.deepEqual(await ask(socket, 'echo', index, round), [index, round]);
  }));
  await ask(sockets[0], 'say', { to: [room], self: true, event: 'to all' });
  await until('all have heard it', () => sockets.every(({ heard }) => heard.length === 1));
  assert.equal((await ask(sockets[7], 'sockets', room)).length, 200);
  assert.deepEqual(troubles, []);
  const shards = new Set((await Promise.all(sockets.map((socket) => ask(socket, 'me')))).map(({ shard }) => shard));
  if (!process.env.SOCKETIO_FIXTURE) assert.ok(shards.size > 4, `two hundred sessions over eight shards: ${[...shards]}`);
  for (const socket of sockets) socket.off('disconnect');
  clients.close();
  await server.stop();
}

export const crowds = {
  async 'three hundred clients at once meet in one room'() {
    const server = await start('shards=4');
    const ways = ['websocket', 'polling', 'upgrade'].map((way) => current.clients(server.url, way));
    const room = fresh('room');
    const sockets = await Promise.all(Array.from({ length: 300 }, async (_, index) => {
      const socket = await ways[index % 3].connect('/play', { auth: { name: String(index) } });
      await join(socket, room);
      return socket;
    }));
    assert.equal(new Set(sockets.map(({ id }) => id)).size, 300);
    assert.equal((await ask(sockets[0], 'sockets', room)).length, 300);
    const bytes = Buffer.from([1, 2, 3]);
    for (let number = 0; number < 10; number += 1) {
      await ask(sockets[number * 29], 'say', { to: [room], self: true, event: 'said', args: [number, bytes] });
    }
    const expected = Array.from({ length: 10 }, (_, number) => ['said', number, bytes]);
    await until('all have heard all', () => sockets.every(({ heard }) => heard.length === 10));
    for (const { heard } of sockets) {
      assert.deepEqual(heard.toSorted(([, a], [, b]) => a - b), expected);
    }
    ways.forEach((clients) => clients.close());
    await server.stop();
  },

  'two hundred clients poll from one address over new connections': () => pollers(undefined),

  'two hundred clients poll from one address over few connections kept open': async () => {
    const agent = new (SPEAKS_TLS ? https : http).Agent({ keepAlive: true, maxSockets: 500 });
    await pollers(agent);
    agent.destroy();
  },
};
