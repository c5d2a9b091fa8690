// Connection state recovery: a client that was away shortly is the one it was, and gets what it missed.

import assert from 'node:assert/strict';
import { proxyTo } from '../proxy.mjs';
import { until } from '../server.mjs';
import { ask, fresh, isSettled, join, settle } from './client.mjs';
import { start } from './fixture.mjs';

const QUICK = { reconnectionDelay: 20, reconnectionDelayMax: 50, randomizationFactor: 0 };

/** Gives a check a server of its own, two networks, and two clients, one behind the bad one; and ends them. */
const recovering = (settings, check) => async (version, way) => {
  const server = await start('shards=4', ...settings);
  const proxy = await proxyTo(server.port);
  const [near, far] = [version.clients(server.url, way), version.clients(proxy.url, way)];
  try {
    const socket = await far.connect('/play', { ...QUICK, auth: { name: 'ada' } });
    const other = await near.connect('/play', { auth: { name: 'bob' } });
    await check({ proxy, socket, other, far, near });
    await server.stop();
  } finally {
    near.close();
    far.close();
    proxy.close();
  }
};

/** What a client heard, without the offset that comes behind the arguments. */
const heard = (socket) => socket.heard.map((args) => args.slice(0, -1));

async function hears(socket, expected) {
  await until('the events are there', () => socket.heard.length >= expected.length).catch(() => {});
  // What is said to a room, to everybody and to one client goes different ways, and may overtake each other.
  const byText = (events) => events.map((event) => JSON.stringify(event)).sort();
  assert.deepEqual(byText(heard(socket)), byText(expected));
  const rounds = (events) => events.filter(([name]) => name === 'text' || name === 'missed');
  assert.deepEqual(rounds(heard(socket)), rounds(expected), 'what is said to one room keeps its order');
  const offsets = new Set(socket.heard.map((args) => args.at(-1)));
  assert.equal(offsets.size, socket.heard.length, 'each has an offset of its own');
}

/**
 * Cuts the client off, lets `meanwhile` happen, and gives it its network back. A client that is cut off while it changes
 * its transport notices it only by the heartbeat, so each time it has to have done so.
 */
async function away({ proxy, socket }, meanwhile) {
  proxy.down();
  await until('it is cut off', () => !socket.connected);
  await meanwhile();
  proxy.up();
  await until('it is back', () => isSettled(socket));
}

export const recovery = {
  'a client that was away has its id, rooms and state, and what it missed': recovering(['maxDisconnectionDuration=60000'], async (all) => {
    const { socket, other } = all;
    const [room, foreign] = [fresh('room'), fresh('room')];
    await join(socket, room);
    await join(other, room);
    await join(other, foreign);
    await ask(socket, 'mood', 'sunny');
    socket.emit('echo', 'an offset to come back with');
    const expected = [['echo', 'an offset to come back with']];
    await hears(socket, expected);
    const { id } = socket;
    for (let round = 0; round < 3; round += 1) {
      await away(all, async () => {
        await ask(other, 'say', { to: [room], event: 'text', args: [round, { a: 'grün' }] });
        await ask(other, 'say', { to: [foreign], event: 'not for ada' });
        await ask(other, 'say', { to: [id], event: 'bytes', args: [Buffer.from([1, 2, round])] });
        await ask(other, 'say', { to: [room], except: [id], event: 'not for ada either' });
        await ask(other, 'say', { to: [room], volatile: true, event: 'who is not here does not get it' });
        await ask(other, 'say', { event: 'for everybody', args: [round] });
        // A volatile event that is still on its way when the client is back would find it there.
        await settle(other, room);
      });
      expected.push(['text', round, { a: 'grün' }], ['bytes', Buffer.from([1, 2, round])], ['for everybody', round]);
      await hears(socket, expected);
      assert.equal(socket.recovered, true);
      assert.equal(socket.id, id);
      const me = await ask(socket, 'me');
      assert.deepEqual([me.recovered, me.name, me.mood, me.rooms], [true, 'ada', 'sunny', ['all', id, room].sort()]);
    }
    await ask(other, 'say', { to: [room], event: 'live again' });
    await hears(socket, [...expected, ['live again']]);
  }),

  'a client comes back on whatever shard takes it': recovering(['maxDisconnectionDuration=60000'], async (all) => {
    const { socket, other } = all;
    const room = fresh('room');
    await join(socket, room);
    socket.emit('echo', -1);
    const expected = [['echo', -1]];
    await hears(socket, expected);
    const shards = new Set();
    for (let round = 0; round < 12; round += 1) {
      await away(all, () => ask(other, 'say', { to: [room], event: 'missed', args: [round] }));
      expected.push(['missed', round]);
      await hears(socket, expected);
      assert.equal(socket.recovered, true);
      // The id of a session begins with the number of the shard that took its first request.
      shards.add(socket.io.engine.id.slice(0, 3));
    }
    if (!process.env.SOCKETIO_FIXTURE) assert.ok(shards.size > 1, 'twelve connections over four shards');
  }),

  // How long it is away counts from when the server has noticed. A poll that has not reached the server when the network
  // goes tells it nothing; then the heartbeat does.
  'a client that is away for too long begins anew': recovering(['maxDisconnectionDuration=200', 'pingInterval=1000', 'pingTimeout=5000'], async (all) => {
    const { socket, other } = all;
    const room = fresh('room');
    await join(socket, room);
    socket.emit('echo', 'an offset');
    await hears(socket, [['echo', 'an offset']]);
    const { id } = socket;
    await away(all, async () => {
      await ask(other, 'say', { to: [room], event: 'missed' });
      await until('the server has noticed', async () => (await ask(other, 'sockets', 'all')).length === 1);
      await new Promise((resolve) => setTimeout(resolve, 700));
    });
    assert.equal(socket.recovered, false);
    assert.notEqual(socket.id, id);
    const me = await ask(socket, 'me');
    assert.deepEqual([me.recovered, me.mood, me.rooms], [false, null, ['all', socket.id].sort()]);
    await hears(socket, [['echo', 'an offset']]);
  }),

  'a client that leaves of its own accord is not recovered': recovering(['maxDisconnectionDuration=60000'], async ({ socket, other }) => {
    socket.emit('echo', 'an offset');
    await hears(socket, [['echo', 'an offset']]);
    const { id } = socket;
    socket.disconnect();
    await until('it is gone', async () => (await ask(other, 'sockets', 'all')).length === 1);
    socket.connect();
    await until('it is back', () => socket.connected);
    assert.equal(socket.recovered, false);
    assert.notEqual(socket.id, id);
  }),

  'who comes back with a name nobody was given begins anew': recovering(['maxDisconnectionDuration=60000'], async ({ near }) => {
    for (const auth of [{ pid: 'made up', offset: 'made up' }, { pid: '', offset: '' }, { pid: 7, offset: {} }, { pid: '__proto__', offset: '0' }]) {
      const socket = await near.connect('/play', { auth });
      assert.equal(socket.recovered, false);
      assert.equal(await ask(socket, 'echo', 'here'), 'here');
    }
  }),
};
