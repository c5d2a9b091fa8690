// Roadstead as a member of a cluster of servers in JavaScript: npm's socket.io with @socket.io/redis-adapter over both clients
// of Redis that it takes, and its emitter. Two servers of each kind, with clients of all.
//
// The first argument keeps only the checks whose name contains it. With ADAPTER=sharded they are members over sharded pub/sub.

import assert from 'node:assert/strict';
import { Emitter } from '@socket.io/redis-emitter';
import { Redis } from 'ioredis';
import { run } from '../checks.mjs';
import { start as startProgram, subscribers, until } from '../server.mjs';
import { current, fresh } from '../socketio/client.mjs';
import { start as startFixture } from '../socketio/fixture.mjs';
import { startNode } from './node.mjs';
import { startRedis } from './redis.mjs';

const isSharded = process.env.ADAPTER === 'sharded';
const adapter = isSharded ? 'sharded-redis-adapter' : 'redis-adapter';
const redis = await startRedis();
const nodes = [await startNode(redis.path, 'ioredis', isSharded), await startNode(redis.path, 'redis', isSharded)];
const place = `${isSharded ? 'sharded' : 'cluster'}=${redis.url}`;
const ours = [await startFixture('shards=2', place), await startFixture('shards=1', place)];
const [node, otherNode] = nodes;
const [road, otherRoad] = ours;
const emitterClient = new Redis(redis.path);
const emitter = new Emitter(emitterClient).of('/play');
const servers = [...nodes, ...ours];

/** Where requests about a namespace are heard. */
const requests = (namespace) => (isSharded ? `socket.io#${namespace}#` : `socket.io-request#${namespace}#`);

/** Waits until so many members hear requests about a namespace. */
const members = (namespace, count) => until(`${count} members are in ${namespace}`, async () => {
  const [, heard] = await redis.ask('PUBSUB', isSharded ? 'SHARDNUMSUB' : 'NUMSUB', requests(namespace));
  return Number(heard) === count;
});

/** Waits until so many members hear what is said to a room, where each room has a channel. */
const heardIn = (namespace, room, count = servers.length) => isSharded && until(`${count} members hear of the room`, async () => {
  const [, heard] = await redis.ask('PUBSUB', 'SHARDNUMSUB', `socket.io#${namespace}#${room}#`);
  return Number(heard) === count;
});

/** Somebody who hears requests and answers nothing. */
async function mute(namespace) {
  const client = new Redis(redis.path);
  await (isSharded ? client.ssubscribe(requests(namespace)) : client.subscribe(requests(namespace)));
  return client;
}
await members('/play', servers.length);

/** A client of each server, all in one room; ended with `close()`. */
async function everywhere(room, name = 'anybody') {
  const all = servers.map(({ url }) => current.clients(url, 'websocket'));
  const clients = await Promise.all(all.map((clients) => clients.connect('/play', { auth: { name } })));
  if (room) await Promise.all(clients.map((client) => client.emitWithAck('join', room)));
  if (room) await heardIn('/play', room);
  const close = () => all.forEach((clients) => clients.close());
  return { clients, close };
}

/** Waits until each client has heard so many events, then checks that these are they: `told` gives those of one. */
async function heard(clients, told) {
  await until('all have heard it', () => clients.every((client, at) => client.heard.length >= told(at).length));
  clients.forEach((client, at) => assert.deepEqual(client.heard, told(at), `client of server ${at}`));
}

/** Does something with clients of all servers in a room of their own. */
async function together(act, name) {
  const room = fresh('room');
  const { clients, close } = await everywhere(room, name);
  try {
    await act({ room, clients, close });
  } finally {
    close();
  }
}

/** An event that an application may send, with every kind of value. */
const VALUES = [
  { z: 1.5, when: new Date(1), no: undefined, none: null, a: [undefined, NaN, 'ä\u2028'] },
  Buffer.from([0, 255, 7]),
  { deep: { bytes: new Uint8Array([1, 2, 3]), big: 2 ** 53, more: 2 ** 40, less: -(2 ** 33), tiny: 1e-9 } },
  'text', 0, -1, true,
];

/** What one server asks, by one of ours: through a client of it. */
const say = (client, saying) => client.emitWithAck('say', { self: true, ...saying });

const checks = {
  'an event of a server in JavaScript reaches the clients of all once': () => together(async ({ room, clients }) => {
    node.play.emit('to-all', 1);
    otherNode.play.to(room).emit('to-room', 2);
    otherNode.play.to('nobody-is-here').emit('to-nobody', 2);
    node.play.to(room).to('nobody-is-here').emit('to-rooms', 3);
    node.play.to(room).except(room).emit('to-none', 4);
    node.play.to(room).emit('last', 5);
    otherNode.play.to(room).emit('last of the other', 6);
    await until('all have heard all', () => clients.every(({ heard }) => heard.length >= 5));
    for (const { heard } of clients) {
      const sorted = heard.map(([name]) => name).sort();
      assert.deepEqual(sorted, ['last', 'last of the other', 'to-all', 'to-room', 'to-rooms']);
    }
  }),
  'all kinds of values arrive at our clients as at those of servers in JavaScript': () => together(async ({ room, clients }) => {
    node.play.to(room).emit('values', ...VALUES);
    await until('all have heard it', () => clients.every(({ heard }) => heard.length === 1));
    const [ofNode] = clients[1].heard;
    assert.ok(Buffer.isBuffer(ofNode[2]));
    clients.forEach(({ heard }) => assert.deepEqual(heard[0], ofNode));
  }),
  'an event of ours reaches the clients of all once, by whatever way it is sent': () => together(async ({ room, clients }) => {
    const [, , ofRoad, ofOtherRoad] = clients;
    await say(ofRoad, { event: 'all', args: [1] });
    await say(ofRoad, { to: [room], event: 'room', args: [{ a: [1.5, null] }, 'ä'] });
    await say(ofRoad, { to: [room, 'nobody-is-here'], event: 'rooms', args: [] });
    await say(ofRoad, { to: [room], except: [room], event: 'none', args: [] });
    await say(ofRoad, { to: [room], event: 'bytes', args: [Buffer.from([1, 0, 255])] });
    await say(ofRoad, { to: [room], event: 'last', args: [] });
    const told = [['all', 1], ['room', { a: [1.5, null] }, 'ä'], ['rooms'], ['bytes', Buffer.from([1, 0, 255])], ['last']];
    await heard(clients, () => told);
    // Not to whoever says it.
    await ofOtherRoad.emitWithAck('say', { to: [room], event: 'others' });
    await say(ofOtherRoad, { to: [room], event: 'end' });
    const others = [...told, ['others'], ['end']];
    await heard(clients, (at) => (at === 3 ? [...told, ['end']] : others));
  }),
  'an event to the id of a socket reaches it on whatever server it is': () => together(async ({ clients }) => {
    for (const { id } of clients) node.play.to(id).emit('from node', id);
    await heard(clients, (at) => [['from node', clients[at].id]]);
    for (const { id } of clients) await say(clients[2], { to: [id], event: 'from us', args: [id] });
    await heard(clients, (at) => [['from node', clients[at].id], ['from us', clients[at].id]]);
  }),
  'emitters reach our clients': () => together(async ({ room, clients }) => {
    emitter.to(room).emit('emitted', ...VALUES);
    emitter.to(clients[2].id).emit('to one');
    emitter.to(room).except(clients[2].id).emit('to others');
    await until('all have heard it', () => clients.every(({ heard }) => heard.length >= 2));
    const [first] = clients[0].heard;
    clients.forEach(({ heard }, at) => {
      assert.deepEqual(heard[0], first);
      assert.deepEqual(heard.map(([name]) => name), ['emitted', at === 2 ? 'to one' : 'to others']);
    });
    // Whoever cannot take it at once does not get it.
    await until('all have heard what is volatile', () => {
      emitter.to(room).volatile.emit('volatile');
      return clients.every(({ heard }) => heard.at(-1)[0] === 'volatile');
    });
  }),
  'emitters move and disconnect our clients, and tell our application': () => together(async ({ room, clients }) => {
    const other = fresh('room');
    const areIn = async (name, count) => (await node.play.in(name).fetchSockets()).length === count;
    emitter.in(room).socketsJoin(other);
    await until('all are in it', () => areIn(other, servers.length));
    emitter.in(other).socketsLeave(room);
    await until('nobody is in it', () => areIn(room, 0));
    emitter.serverSideEmit('hello', 'from an emitter', room);
    emitter.to(room).emit('to nobody');
    emitter.to(other).emit('to all');
    await until('all have heard it', () => clients.every(({ heard }, at) => heard.length >= (at < 2 ? 1 : 2)));
    clients.forEach(({ heard }, at) => {
      const said = at < 2 ? [] : [['server said', 'from an emitter', room]];
      assert.deepEqual(heard.sort(), [...said, ['to all']]);
    });
    emitter.in(other).disconnectSockets(true);
    await until('all are gone', () => clients.every((client) => !client.connected));
  }),
  'servers in JavaScript are told of our sockets and rooms, and wait for nobody': () => together(async ({ room, clients }) => {
    const ids = clients.map(({ id }) => id).sort();
    for (const { play } of nodes) {
      const began = Date.now();
      const found = await play.in(room).fetchSockets();
      assert.deepEqual(found.map(({ id }) => id).sort(), ids);
      for (const { id, rooms, data, handshake } of found) {
        for (const name of [id, room]) assert.ok(rooms.has?.(name) ?? rooms.includes(name), name);
        assert.equal(data.name, 'fetched');
        assert.equal(typeof handshake.headers, 'object');
      }
      assert.deepEqual((await play.except(room).fetchSockets()).length, 0);
      // Over sharded pub/sub nobody asks that.
      const rooms = isSharded ? new Set([room, ...ids]) : await play.adapter.allRooms();
      for (const name of [room, ...ids]) assert.ok(rooms.has(name), name);
      assert.ok(Date.now() - began < 4000, 'nobody is waited for until the time is over');
    }
  }, 'fetched'),
  'servers in JavaScript move and disconnect our clients': () => together(async ({ room, clients }) => {
    const other = fresh('room');
    // Such a server does to its own sockets what it asks when it hears it from Redis, and not before.
    const areIn = async (name, count) => (await node.play.in(name).fetchSockets()).length === count;
    node.play.in(room).socketsJoin([other, `${other}-more`]);
    await until('all are in it', () => areIn(`${other}-more`, servers.length));
    node.play.in(other).socketsLeave(room);
    await until('nobody is in it', () => areIn(room, 0));
    await heardIn('/play', other);
    node.play.to(room).emit('to nobody');
    node.play.to(other).emit('to all');
    await heard(clients, () => [['to all']]);
    otherNode.play.in(`${other}-more`).disconnectSockets(true);
    await until('all are gone', () => clients.every((client) => !client.connected));
  }),
  'ours move and disconnect the clients of servers in JavaScript': () => together(async ({ room, clients }) => {
    const [other, ofRoad] = [fresh('room'), clients[2]];
    await ofRoad.emitWithAck('pull', room, other);
    await ofRoad.emitWithAck('push', other, room);
    await heardIn('/play', other);
    await say(ofRoad, { to: [room], event: 'to nobody' });
    await say(ofRoad, { to: [other], event: 'to all' });
    await heard(clients, () => [['to all']]);
    ofRoad.emit('kick', other, true, () => {});
    await until('all are gone', () => clients.every((client) => !client.connected));
  }),
  'applications tell each other, and a server in JavaScript that asks is answered': () => together(async ({ clients }) => {
    const told = [[], []];
    nodes.forEach(({ play }, at) => play.on('hello', (...said) => told[at].push(said)));
    node.play.serverSideEmit('hello', 'from node', { a: 1 });
    await until('all applications have heard it', () => told[1].length === 1
      && clients.slice(2).every(({ heard }) => heard.length === 1));
    clients.slice(2).forEach(({ heard }) => assert.deepEqual(heard, [['server said', 'from node', { a: 1 }]]));
    await clients[2].emitWithAck('tell', 'hello', 'from us');
    await until('all others have heard it', () => told.every((said) => said.at(-1)?.[0] === 'from us'));
    assert.deepEqual(told, [[['from us']], [['from node', { a: 1 }], ['from us']]]);
    otherNode.play.on('question', (number, answer) => answer(number + 1));
    const answers = await node.play.serverSideEmitWithAck('question', 7);
    assert.deepEqual(answers, [8, 8, 8]);
    otherNode.play.on('nobody knows', (answer) => answer('I do'));
    const nobody = await node.play.serverSideEmitWithAck('nobody knows');
    assert.deepEqual(nobody.sort(), ['I do', null, null]);
    nodes.forEach(({ play }) => ['hello', 'question', 'nobody knows'].forEach((name) => play.removeAllListeners(name)));
  }),
  'ours ask all others for their sockets, and their applications': () => together(async ({ room, clients }) => {
    const ofRoad = clients[2];
    const [found, missing] = await ofRoad.emitWithAck('all sockets', room, 10000);
    const byId = (a, b) => (a.id < b.id ? -1 : 1);
    const wanted = clients.map(({ id }) => ({ id, rooms: [room], name: 'fetched' })).sort(byId);
    for (const socket of found) socket.rooms = socket.rooms.filter((name) => name !== 'all');
    // What is public of a socket of ours is what its application has said of it.
    assert.deepEqual([found.sort(byId), missing], [wanted, 0]);
    nodes.forEach(({ play }) => play.on('question', (number, answer) => answer(number + 1)));
    assert.deepEqual(await ofRoad.emitWithAck('ask members', 'question', 7), [[8, 8, 8], 0]);
    nodes.forEach(({ play }) => play.removeAllListeners('question'));
    // A server in JavaScript says nothing to what nobody listens for.
    assert.deepEqual(await ofRoad.emitWithAck('ask members', 'nobody knows', 7), [[null], 2]);
  }, 'fetched'),
  'ours move a socket of any server, and tell it something': () => together(async ({ room, clients }) => {
    const other = fresh('room');
    for (const { id } of clients) await clients[3].emitWithAck('one of all', room, id, other);
    await heard(clients, () => [['for you', other]]);
    // It is told of what it hears in a room that it was put into.
    await until('all are in it', async () => (await node.play.in(other).fetchSockets()).length === clients.length);
    await heardIn('/play', other);
    node.play.to(other).emit('to all');
    await heard(clients, () => [['for you', other], ['to all']]);
  }),
  'clients of all acknowledge an event of ours': () => together(async ({ room, clients }) => {
    clients.forEach((client, at) => client.on('asked', (number, done) => done({ at, number, bytes: Buffer.from([at]) })));
    for (const asker of [clients[2], clients[3]]) {
      const began = Date.now();
      const [said, unanswered, missing] = await asker.emitWithAck('ask all clients', room, 'asked', 20000);
      assert.ok(Date.now() - began < 15000, 'nobody is waited for until the time is over');
      said.sort(([a], [b]) => a.at - b.at);
      assert.deepEqual(said, clients.map((_, at) => [{ at, number: 7, bytes: Buffer.from([at]) }]));
      assert.deepEqual([unanswered, missing], [0, 0]);
    }
    assert.deepEqual(await clients[2].emitWithAck('ask all clients', 'nobody-is-here', 'asked', 20000), [[], 0, 0]);
    clients.slice(1, 3).forEach((client) => client.removeAllListeners('asked'));
    const [said, unanswered, missing] = await clients[3].emitWithAck('ask all clients', room, 'asked', 6000);
    assert.deepEqual([said.map(([{ at }]) => at).sort(), unanswered, missing], [[0, 3], 2, 0]);
  }),
  'a member that says nothing is waited for as long as was said, and counted': () => together(async ({ room, clients }) => {
    const silent = await mute('/play');
    await members('/play', servers.length + 1);
    clients.forEach((client) => client.on('asked', (number, done) => done(number)));
    try {
      const [found, missing] = await clients[2].emitWithAck('all sockets', room, 6000);
      assert.deepEqual([found.length, missing], [clients.length, 1]);
      const asked = await clients[2].emitWithAck('ask all clients', room, 'asked', 6000);
      assert.deepEqual(asked, [clients.map(() => [7]), 0, 1]);
    } finally {
      silent.disconnect();
      await members('/play', servers.length);
    }
  }),
  'clients of all acknowledge an event of a server in JavaScript': () => together(async ({ room, clients }) => {
    clients.forEach((client, at) => client.on('asked', (number, done) => done({ at, number, bytes: Buffer.from([at]) })));
    const began = Date.now();
    const answers = await node.play.to(room).timeout(10000).emitWithAck('asked', 7);
    assert.ok(Date.now() - began < 8000, 'nobody is waited for until the time is over');
    answers.sort((a, b) => a.at - b.at);
    assert.deepEqual(answers, clients.map((_, at) => ({ at, number: 7, bytes: Buffer.from([at]) })));
    assert.deepEqual(await node.play.to('nobody-is-here').timeout(10000).emitWithAck('asked'), []);
  }),
  'who does not acknowledge is not waited for longer than was said': () => together(async ({ room, clients }) => {
    clients.slice(0, 3).forEach((client) => client.on('asked', (done) => done('yes')));
    const failed = await new Promise((resolve) => {
      node.play.to(room).timeout(6000).emit('asked', (error, answers) => resolve({ error, answers }));
    });
    assert.ok(failed.error);
    assert.deepEqual(failed.answers, ['yes', 'yes', 'yes']);
  }),
  'the program itself publishes to the clients of servers in JavaScript, over HTTP as well': async () => {
    const program = await startProgram(`socketio.cluster=${adapter}`, `socketio.cluster_url=${redis.url}`);
    await members('/', nodes.length + ours.length + 1);
    const [ofNode, ofProgram] = [current.clients(node.url, 'websocket'), current.clients(program.url, 'websocket')];
    try {
      const client = await ofNode.connect('/');
      const room = fresh('room');
      await client.emitWithAck('join', room);
      const post = async (path, body) => {
        const headers = { 'Content-Type': 'application/json' };
        const answer = await fetch(program.url + path, { method: 'POST', headers, body: JSON.stringify(body) });
        assert.ok(answer.ok, await answer.text());
      };
      await post(`/channels/${room}`, ['event', 1]);
      await post(`/channels/${room}`, { no: 'event' });
      await post('/socket.io-api/emit', { rooms: [room], event: 'emitted', args: [2] });
      await post('/socket.io-api/emit', { rooms: [client.id], event: 'to one' });
      await post('/socket.io-api/emit', { rooms: [room], event: 'local', local: true });
      const publisher = await ofProgram.connect('/');
      const list = async () => (await fetch(`${program.url}/socket.io-api/sockets`)).json();
      const all = await list();
      const ids = [client.id, publisher.id].sort();
      assert.deepEqual([all.sockets.map(({ id }) => id).sort(), all.complete], [ids, true]);
      assert.deepEqual(all.sockets.find(({ id }) => id === client.id).rooms, [room]);
      const silent = await mute('/');
      const some = await list();
      assert.deepEqual([some.sockets.length, some.complete, some.missing_members], [2, false, 1]);
      silent.disconnect();
      await publisher.emitWithAck('publish', room, 'published', 3);
      await until('it has heard all', () => client.heard.length >= 5);
      const told = client.heard.map((event) => JSON.stringify(event)).sort();
      assert.deepEqual(told, ['["emitted",2]', '["event",1]', '["message",{"no":"event"}]', '["published",3]', '["to one"]']);
      // And what comes from there is published here, for those who follow.
      const stream = new AbortController();
      const answer = await fetch(`${program.url}/channels/${room}`, { headers: { Accept: 'text/event-stream' }, signal: stream.signal });
      await subscribers(program, room, 1);
      await heardIn('/', room, 2);
      node.io.to(room).emit('followed', 4);
      let text = '';
      for await (const bytes of answer.body) {
        text += Buffer.from(bytes).toString();
        if (text.includes('followed')) break;
      }
      stream.abort();
      assert.match(text, /data: \["followed",4\]/);
    } finally {
      ofNode.close();
      ofProgram.close();
    }
    await program.stop();
  },
  'two of ours that a broker joins as well tell nobody twice': async () => {
    const settings = [`broker.url=${redis.url}`, `socketio.cluster=${adapter}`];
    const pair = await Promise.all([startProgram(...settings), startProgram(...settings)]);
    await members('/', nodes.length + ours.length + 2);
    const isJoined = async ({ admin }) => {
      const metrics = await (await fetch(`${admin}/metrics`)).text();
      return metrics.match(/^roadstead_broker_up\{.*\} 1$/gm)?.length === 2;
    };
    for (const one of pair) await until('the broker joins both shards', () => isJoined(one));
    const all = [...pair, node].map(({ url }) => current.clients(url, 'websocket'));
    try {
      const clients = await Promise.all(all.map((clients) => clients.connect('/')));
      const room = fresh('room');
      await Promise.all(clients.map((client) => client.emitWithAck('join', room)));
      await heardIn('/', room, 3);
      await clients[0].emitWithAck('publish', room, 'of the first', 1);
      await clients[1].emitWithAck('publish', room, 'of the second', 2);
      const emitted = JSON.stringify({ rooms: [clients[0].id, clients[1].id], event: 'by id' });
      const headers = { 'Content-Type': 'application/json' };
      await fetch(`${pair[1].url}/socket.io-api/emit`, { method: 'POST', headers, body: emitted });
      await until('all have heard it', () => clients.every(({ heard }, at) => heard.length >= (at === 2 ? 2 : 3)));
      node.io.to(room).emit('of node', 3);
      node.io.to(room).emit('end');
      await until('all have heard all', () => clients.every(({ heard }) => heard.at(-1)?.[0] === 'end'));
      const names = clients.map(({ heard }) => heard.map(([name]) => name).sort());
      assert.deepEqual(names[2], ['end', 'of node', 'of the first', 'of the second']);
      const ofPair = ['by id', ...names[2]].sort();
      assert.deepEqual(names.slice(0, 2), [ofPair, ofPair]);
    } finally {
      all.forEach((clients) => clients.close());
    }
    await Promise.all(pair.map((server) => server.stop()));
  },
  'two of ours that a broker alone joins ask each other': async () => {
    const settings = [`broker=${redis.url}`];
    const pair = [await startFixture('shards=2', ...settings), await startFixture('shards=1', ...settings)];
    await until('both hear what is asked', async () => {
      const [, heard] = await redis.ask('PUBSUB', 'NUMSUB', 'rs:io-request#/play#');
      return Number(heard) === pair.length;
    });
    const all = pair.map(({ url }) => current.clients(url, 'websocket'));
    try {
      const room = fresh('room');
      const clients = await Promise.all(all.map((some) => some.connect('/play', { auth: { name: 'joined' } })));
      await Promise.all(clients.map((client) => client.emitWithAck('join', room)));
      const [one, other] = clients;
      const ids = clients.map(({ id }) => id).sort();
      for (const client of clients) {
        const [found, missing] = await client.emitWithAck('all sockets', room, 10000);
        assert.deepEqual([found.map(({ id }) => id).sort(), missing], [ids, 0]);
        assert.ok(found.every(({ name }) => name === 'joined'));
      }
      clients.forEach((client, at) => client.on('asked', (number, done) => done({ at, bytes: Buffer.from([at]) })));
      const [said, unanswered, missing] = await one.emitWithAck('ask all clients', room, 'asked', 20000);
      said.sort(([a], [b]) => a.at - b.at);
      assert.deepEqual([said, unanswered, missing], [clients.map((_, at) => [{ at, bytes: Buffer.from([at]) }]), 0, 0]);
      assert.deepEqual(await other.emitWithAck('ask members', 'question', 7), [[8], 0]);
      // The second has one shard, so that one shard of the first hears it that tells of it.
      await other.emitWithAck('tell', 'hello', 'from the second');
      await say(one, { to: [other.id], event: 'by id' });
      await until('it has heard both', () => other.heard.filter(([name]) => name !== 'asked').length === 2);
      const heardOf = (client) => client.heard.filter(([name]) => name !== 'asked').sort();
      assert.deepEqual(heardOf(other), [['by id'], ['server said', 'from the second']]);
      const moved = fresh('room');
      await other.emitWithAck('pull', room, moved);
      await until('both are in it', async () => (await one.emitWithAck('all sockets', moved, 10000))[0].length === 2);
      await say(one, { to: [moved], event: 'moved' });
      await until('both have heard it', () => clients.every(({ heard }) => heard.at(-1)?.[0] === 'moved'));
      assert.equal(other.heard.filter(([name]) => name === 'moved').length, 1);
      one.emit('kick', moved, true, () => {});
      await until('both are gone', () => clients.every((client) => !client.connected));
    } finally {
      all.forEach((some) => some.close());
    }
    await Promise.all(pair.map((server) => server.stop()));
  },
  'a server that ends is a member no more': async () => {
    await ours[1].stop();
    await members('/play', servers.length - 1);
    const began = Date.now();
    await node.play.fetchSockets();
    assert.ok(Date.now() - began < 4000);
  },
  'the servers end well': async () => {
    await ours[0].stop();
    await Promise.all(nodes.map((server) => server.stop()));
    emitterClient.disconnect();
    redis.stop();
  },
};
const wanted = process.argv[2] ?? '';
// Emitters speak with members of the other kind alone.
const is = (name) => name.includes(wanted) && !(isSharded && name.startsWith('emitters'));
await run(Object.fromEntries(Object.entries(checks).filter(([name]) => is(name))));
