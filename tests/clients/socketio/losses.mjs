// Connections that break: what client and server make of it, and that the client comes back by itself.

import assert from 'node:assert/strict';
import { proxyTo } from '../proxy.mjs';
import { until } from '../server.mjs';
import { ask, fresh, hears, join, reason } from './client.mjs';
import { start } from './fixture.mjs';

const QUICK = { reconnectionDelay: 20, reconnectionDelayMax: 50, randomizationFactor: 0, timeout: 1000 };

/** Gives a check a server of its own with settings, a bad network before it, and clients; and ends them. */
const behindProxy = (settings, check) => async (version, way) => {
  const server = await start('shards=4', ...settings);
  const proxy = await proxyTo(server.port);
  const [near, far] = [version.clients(server.url, way), version.clients(proxy.url, way)];
  try {
    await check({ server, proxy, near, far, way });
    await server.stop();
  } finally {
    near.close();
    far.close();
    proxy.close();
  }
};

export const losses = {
  'a client whose connection is cut comes back as somebody new': behindProxy(['pingInterval=300', 'pingTimeout=2000'], async ({ proxy, near, far, way }) => {
    const observer = await near.observer();
    const socket = await far.connect('/play', { ...QUICK, auth: { name: 'cut' } });
    const { id } = socket;
    await join(socket, 'lost');
    proxy.down();
    assert.equal(await reason(socket), way === 'polling' ? 'transport error' : 'transport close');
    // A poll that was cut before it came tells the server nothing; the heartbeat does.
    assert.match(await observer.gone('cut'), way === 'polling' ? /^(transport error|transport close|ping timeout)$/ : /^transport (close|error)$/);
    proxy.up();
    await until('it is back', () => socket.connected);
    assert.notEqual(socket.id, id);
    assert.ok(!socket.recovered);
    const me = await ask(socket, 'me');
    assert.deepEqual([me.recovered, me.rooms], [false, ['all', socket.id].sort()]);
  }),

  'a network that falls silent is noticed by both sides': behindProxy(['pingInterval=300', 'pingTimeout=200'], async ({ proxy, near, far }) => {
    const observer = await near.observer();
    const socket = await far.connect('/play', { ...QUICK, auth: { name: 'silent' } });
    proxy.freeze();
    assert.equal(await observer.gone('silent'), 'ping timeout');
    assert.equal(await reason(socket), 'ping timeout');
    proxy.up();
    await until('it is back', () => socket.connected);
  }),

  'heartbeats keep a client that says nothing': behindProxy(['pingInterval=100', 'pingTimeout=500'], async ({ far }) => {
    const socket = await far.connect('/play', { reconnection: false });
    let pings = 0;
    socket.io.on('ping', () => { pings += 1; });
    await until('there were ten heartbeats', () => pings === 10);
    assert.equal(await ask(socket, 'echo', 'still here'), 'still here');
    assert.deepEqual(socket.reasons, []);
  }),

  'a client waits for a server that is away, and sends then what it kept': behindProxy([], async ({ proxy, far }) => {
    proxy.down();
    const socket = far.make('/play', QUICK);
    const name = fresh('kept');
    socket.emit('echo', name);
    await assert.rejects(socket.connected_);
    proxy.up();
    await hears(socket, [['echo', name]]);
  }),

  'a server that ends lets its clients know': behindProxy([], async ({ server, near }) => {
    const sockets = await Promise.all(Array.from({ length: 10 }, () => near.connect('/play', { reconnection: false })));
    const stopped = server.stop();
    for (const socket of sockets) assert.match(await reason(socket), /^(transport close|transport error|io server disconnect)$/);
    await stopped;
  }),
};
