// What the current client has beyond the oldest: acknowledgements with time limits, and retries.

import assert from 'node:assert/strict';
import { ask, hears } from './client.mjs';
import { until } from '../server.mjs';

/** Gives a check clients of the version and way, and ends them. */
const using = (check) => async (version, way, server) => {
  const clients = version.clients(server.url, way);
  try {
    await check(clients);
  } finally {
    clients.close();
  }
};

export const newest = {
  'an acknowledgement that does not come in time is an error': using(async (clients) => {
    const socket = await clients.connect();
    await assert.rejects(socket.timeout(100).emitWithAck('silent'), /timed out/);
    assert.equal(await socket.timeout(10000).emitWithAck('echo', 'in time'), 'in time');
  }),

  'a client told to retry sends until it is acknowledged': using(async (clients) => {
    const socket = await clients.connect('/play', { retries: 3, ackTimeout: 5000 });
    const answers = await Promise.all([1, 2, 3].map((number) => socket.emitWithAck('echo', number)));
    assert.deepEqual(answers, [1, 2, 3]);
  }),

  'state set on a client is seen by everybody who asks': using(async (clients) => {
    const socket = await clients.connect('/play', { auth: { name: 'ada', nested: { a: [1] } }, query: { colour: 'blue' } });
    await ask(socket, 'mood', 'sunny');
    const me = await ask(socket, 'me');
    assert.deepEqual([me.id, me.name, me.mood, me.rooms, me.recovered], [socket.id, 'ada', 'sunny', ['all', socket.id].sort(), false]);
    assert.deepEqual(me.auth, { name: 'ada', nested: { a: [1] } });
  }),

  'what is emitted before there is a connection arrives when there is one': using(async (clients) => {
    const socket = clients.make('/play', { auth: { name: 'early', late: 100 } });
    socket.emit('echo', 'first');
    socket.volatile.emit('echo', 'never');
    socket.emit('echo', 'second');
    await hears(socket, [['echo', 'first'], ['echo', 'second']]);
    await until('connected', () => socket.connected);
  }),
};
