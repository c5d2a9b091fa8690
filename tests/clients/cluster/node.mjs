// A server in JavaScript: npm's socket.io with @socket.io/redis-adapter, over one client of Redis or the other.

import { createServer } from 'node:http';
import { once } from 'node:events';
import { Redis } from 'ioredis';
import { createClient } from 'redis';
import { Server } from 'socket.io';
import { createAdapter, createShardedAdapter } from '@socket.io/redis-adapter';

/** The two clients of Redis that the adapter takes. */
const CLIENTS = {
  ioredis: async (path) => [new Redis(path), new Redis(path)],
  redis: async (path) => {
    const pair = [0, 1].map(() => createClient({ socket: { path } }));
    await Promise.all(pair.map((client) => client.connect()));
    return pair;
  },
};

/** A running server: `io`, `play` (its namespace), `url`, and `stop()`. With `isSharded` over sharded pub/sub. */
export async function startNode(path, kind, isSharded = false) {
  const clients = await CLIENTS[kind](path);
  const http = createServer();
  const adapter = isSharded ? createShardedAdapter(...clients) : createAdapter(...clients, { requestsTimeout: 5000 });
  const io = new Server(http, { adapter });
  const play = io.of('/play');
  for (const namespace of [io.of('/'), play]) {
    namespace.on('connection', (socket) => {
      socket.data.name = socket.handshake.auth.name;
      socket.on('join', (room, done) => {
        socket.join(room);
        done();
      });
    });
  }
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  return {
    io,
    play,
    url: `http://127.0.0.1:${http.address().port}`,
    async stop() {
      await io.close();
      clients.forEach((client) => (client.destroy ?? client.disconnect).call(client));
    },
  };
}
