// What every version of the client does over every transport.

import assert from 'node:assert/strict';
import { ask, fresh, hears, join, next, reason, settle } from './client.mjs';
import { until } from '../server.mjs';

/** Gives a check clients, and ends them. */
const using = (check) => async (clients) => {
  try {
    await check(clients);
  } finally {
    clients.close();
  }
};

const bytes = (length) => Buffer.from(Array.from({ length }, (_, index) => index * 7 % 256));

/** Values of JSON at which codecs err. */
const VALUES = [null, true, false, 0, -0.5, 1e21, 2 ** 53 - 1, '', 'grüße 😀', '\u2028\u2029\x1e\x00\x7f', '"\\/', [],
  [[[]]], {}, { '': { a: [1, { b: null }] } }, { toString: 1, constructor: 2, hasOwnProperty: 3 }, 'x'.repeat(100000)];

export const basics = {
  'the example of the documentation works': using(async (clients) => {
    const socket = await clients.connect('/', { auth: { token: 'abc' } });
    assert.match(socket.id, /^[\w-]{16,}$/);
    assert.notEqual(socket.id, socket.io.engine.id);
    await hears(socket, [['auth', { token: 'abc' }]]);
    socket.emit('message', 1, '2', { 3: [true] });
    assert.deepEqual(await next(socket, 'message-back'), [1, '2', { 3: [true] }]);
    assert.deepEqual(await ask(socket, 'message-with-ack', 1, '2', { 3: [false] }), [1, '2', { 3: [false] }]);
  }),

  'a client that sends no auth has an empty one': using(async (clients) => {
    await hears(await clients.connect('/custom'), [['auth', {}]]);
  }),

  'every kind of value comes back as it went': using(async (clients) => {
    const socket = await clients.connect();
    for (const value of VALUES) assert.deepEqual(await ask(socket, 'echo', value), value);
    assert.deepEqual(await ask(socket, 'echo', ...VALUES), VALUES);
    socket.emit('echo', ...VALUES);
    await hears(socket, [['echo', ...VALUES]]);
  }),

  'bytes come back wherever they stand': using(async (clients) => {
    const socket = await clients.connect();
    for (const value of [
      bytes(4), bytes(0), bytes(300000), { a: [bytes(1), { b: bytes(2) }] }, Array.from({ length: 10 }, (_, count) => bytes(count)),
    ]) {
      assert.deepEqual(await ask(socket, 'echo', value), value);
      socket.emit('echo', 'before', value, 'behind');
      assert.deepEqual(await next(socket, 'echo'), ['before', value, 'behind']);
    }
    assert.deepEqual(await ask(socket, 'bytes', 100000), Buffer.alloc(100000, 0xa5));
    const words = Uint8Array.from([1, 2, 3]);
    assert.deepEqual(await ask(socket, 'echo', words), Buffer.from(words));
  }),

  'the server asks and the client answers, or does not': using(async (clients) => {
    const socket = await clients.connect();
    socket.once('question', (...args) => args.pop()(...args, 'and', bytes(3)));
    assert.deepEqual(await ask(socket, 'ask', 10000, 1, bytes(2)), ['answered', 1, bytes(2), 'and', bytes(3)]);
    socket.once('question', (ack) => ack());
    assert.equal(await ask(socket, 'ask', 10000), 'answered');
    let late;
    socket.once('question', (ack) => { late = ack; });
    assert.equal(await ask(socket, 'ask', 100), 'timeout');
    late('too late');
    assert.equal(await ask(socket, 'echo', 'still here'), 'still here');
  }),

  'a thousand events each way keep their order': using(async (clients) => {
    const socket = await clients.connect();
    socket.emit('count-to', 1000);
    const answers = Array.from({ length: 1000 }, (_, index) => ask(socket, 'echo', index, index % 100 ? '' : bytes(3)));
    const expected = Array.from({ length: 1000 }, (_, index) => index);
    assert.deepEqual((await Promise.all(answers)).map(([index]) => index), expected);
    await hears(socket, expected.map((index) => ['number', index + 1]));
  }),

  'nothing is lost or changes its place while the transport changes': using(async (clients) => {
    const socket = clients.make();
    const expected = [];
    const answers = [];
    for (let number = 0; number < 200; number += 1) {
      expected.push(['echo', number]);
      socket.emit('echo', number);
      answers.push(ask(socket, 'echo', number, number % 10 ? '' : bytes(5)));
      if (number % 4 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    assert.deepEqual((await Promise.all(answers)).map(([number]) => number), expected.map(([, number]) => number));
    await hears(socket, expected);
  }),

  'a room has who joined it, until they leave': using(async (clients) => {
    const [ada, bob, eve] = await Promise.all(['ada', 'bob', 'eve'].map((name) => clients.connect('/play', { auth: { name } })));
    const [room, other] = [fresh('room'), fresh('room')];
    assert.deepEqual(await join(ada, room), ['all', room, ada.id].sort());
    await join(bob, room);
    await join(bob, other);
    await join(eve, other);
    const members = async (name) => (await ask(ada, 'sockets', name)).map((one) => one.name).sort();
    assert.deepEqual(await members(room), ['ada', 'bob']);
    assert.deepEqual(await members(other), ['bob', 'eve']);
    await ask(ada, 'say', { to: [room], event: 'one' });
    await ask(ada, 'say', { to: [room, other], event: 'two', args: [bytes(3), { a: 1 }] });
    await ask(ada, 'say', { to: [room, other], except: [room], event: 'three' });
    await ask(ada, 'say', { to: [room], self: true, event: 'four' });
    // Each is on its way for a while, and judged by the rooms its receivers are in when it comes.
    const two = ['two', bytes(3), { a: 1 }];
    await hears(eve, [two, ['three']]);
    await hears(bob, [['one'], two, ['four']]);
    await ask(ada, 'say', { to: [eve.id], event: 'five', args: ['for eve alone'] });
    assert.deepEqual(await ask(bob, 'leave', room), ['all', other, bob.id].sort());
    await ask(ada, 'say', { to: [room], self: true, event: 'six' });
    await hears(ada, [['four'], ['six']]);
    await hears(eve, [two, ['three'], ['five', 'for eve alone']]);
    await settle(bob, other);
    await hears(bob, [['one'], two, ['four']]);
    assert.deepEqual(await members(room), ['ada']);
  }),

  'whole rooms are joined, left and disconnected': using(async (clients) => {
    const [ada, bob, eve] = await Promise.all(['ada', 'bob', 'eve'].map((name) => clients.connect('/play', { auth: { name } })));
    const [room, lobby] = [fresh('room'), fresh('room')];
    await Promise.all([ada, bob].map((one) => join(one, lobby)));
    const members = async (name) => (await ask(eve, 'sockets', name)).map((one) => one.name).sort();
    await ask(eve, 'pull', lobby, room);
    await until('both have joined', async () => (await members(room)).length === 2);
    await ask(eve, 'push', ada.id, room);
    await until('one has left', async () => (await members(room)).join() === 'bob');
    await ask(eve, 'kick', room, false);
    assert.equal(await reason(bob), 'io server disconnect');
    assert.equal(bob.active ?? false, false, 'the client does not come back by itself');
    assert.deepEqual(await members(room), []);
    assert.deepEqual(await members(lobby), ['ada']);
  }),

  'volatile events reach whoever can take them': using(async (clients) => {
    const [ada, bob] = [await clients.connect(), await clients.connect()];
    const room = fresh('room');
    await join(bob, room);
    await until('a volatile one is there', async () => {
      await ask(ada, 'say', { to: [room], volatile: true, event: 'shaky', args: [1] });
      return bob.heard.length > 0;
    });
    assert.deepEqual(bob.heard[0], ['shaky', 1]);
    ada.volatile.emit('echo', 'maybe');
    assert.equal(await ask(ada, 'echo', 'surely'), 'surely');
  }),

  'namespaces share a connection and nothing else': using(async (clients) => {
    const play = await clients.connect('/play', { auth: { name: 'one' } });
    const others = Object.fromEntries(['/', '/custom', '/dynamic-7', '/dynamic-x', '/nowhere'].map((namespace) => [
      namespace, play.io.socket(namespace),
    ]));
    const errors = {};
    for (const [namespace, socket] of Object.entries(others)) {
      socket.heard = [];
      socket.onAny((...args) => socket.heard.push(args));
      socket.on('connect_error', (error) => { errors[namespace] = error.message; });
    }
    await until('the answers are there', () => Object.keys(errors).length === 2
      && ['/', '/custom', '/dynamic-7'].every((namespace) => others[namespace].heard.length === 1));
    assert.deepEqual(errors, { '/dynamic-x': 'Invalid namespace', '/nowhere': 'Invalid namespace' });
    assert.deepEqual(others['/dynamic-7'].heard, [['welcome', '/dynamic-7']]);
    const ids = new Set([play, others['/'], others['/custom'], others['/dynamic-7']].map((socket) => socket.id));
    assert.equal(ids.size, 4);
    others['/'].emit('message', 'a');
    await until('the answer is there', () => others['/'].heard.length === 2);
    others['/'].disconnect();
    assert.equal(await ask(play, 'echo', 'still here'), 'still here');
    assert.deepEqual([play.heard, others['/custom'].heard.length], [[], 1]);
  }),

  'a dynamic namespace has its own members': using(async (clients) => {
    const number = fresh('').slice(1);
    const here = [await clients.connect(`/dynamic-${number}`), await clients.connect(`/dynamic-${number}`)];
    const there = await clients.connect('/dynamic-999999');
    here[0].emit('say', 'hi');
    const name = `/dynamic-${number}`;
    for (const socket of here) await hears(socket, [['welcome', name], ['said', name, 'hi']]);
    assert.deepEqual(there.heard, [['welcome', '/dynamic-999999']]);
  }),

  'a middleware refuses with its reason, and lets in who asks better': using(async (clients) => {
    const socket = clients.make('/play', { auth: { refuse: 'because', name: 'none' } });
    const error = await socket.connected_.then(() => assert.fail('let in'), (refusal) => refusal);
    assert.ok(error instanceof Error);
    assert.deepEqual([error.message, error.data], ['refused', { code: 401, why: 'because' }]);
    assert.equal(socket.connected, false);
    socket.auth = { name: 'some', late: 50 };
    const connected = next(socket, 'connect');
    socket.connect();
    await connected;
    assert.equal((await ask(socket, 'me')).name, 'some');
  }),

  'a client that leaves a namespace or the connection is gone for a reason': using(async (clients) => {
    const observer = await clients.observer();
    const [one, two] = [fresh('one'), fresh('two')];
    const leaving = await clients.connect('/play', { auth: { name: one } });
    leaving.disconnect();
    assert.equal(await reason(leaving), 'io client disconnect');
    assert.equal(await observer.gone(one), 'client namespace disconnect');
    const closing = await clients.connect('/play', { auth: { name: two }, reconnection: false });
    closing.io.engine.close();
    assert.match(await reason(closing), /^(forced close|transport close)$/);
    assert.equal(await observer.gone(two), 'transport close');
  }),

  'the server sends a client away from a namespace or altogether': using(async (clients) => {
    const observer = await clients.observer();
    const [one, two] = [fresh('one'), fresh('two')];
    const kicked = await clients.connect('/play', { auth: { name: one } });
    const beside = kicked.io.socket('/custom');
    await next(beside, 'connect');
    kicked.emit('bye', false);
    assert.equal(await reason(kicked), 'io server disconnect');
    assert.equal(await observer.gone(one), 'server namespace disconnect');
    assert.equal(beside.connected, true);
    beside.disconnect();
    const thrown = await clients.connect('/play', { auth: { name: two }, reconnection: false });
    thrown.emit('bye', true);
    // The client handles the packet a tick after the end of the transport, if both come at once.
    assert.match(await reason(thrown), /^(io server disconnect|transport close)$/);
    assert.equal(await observer.gone(two), 'server namespace disconnect');
    await until('the transport is closed', () => thrown.io.engine?.readyState === 'closed');
  }),
};
