// What people do with each program. A script returns what is to be the same on both sides: everybody's log, and what else it saw.

import assert from 'node:assert/strict';
import { until } from '../server.mjs';
import { people, person } from './people.mjs';

/** Everybody leaves, and what they heard is returned. */
function logs(...all) {
  const heard = all.map(({ log }) => [...log]);
  all.forEach((one) => one.leave());
  return heard;
}

/** What a request is answered. */
async function answer(url, options) {
  const response = await fetch(url, options);
  const text = await response.text();
  return [response.status, response.headers.get('content-type'), text.length > 200 ? text.length : text];
}

export const scripts = {
  async 'tutorial.js'({ url, log }, way) {
    const [ann, bob] = await people(url, way, 2);
    ann.socket.emit('chat message', 'hello');
    await Promise.all([ann, bob].map((one) => one.hears('chat message')));
    bob.socket.emit('chat message', 'grüße');
    await Promise.all([ann, bob].map((one) => one.hears('chat message', 2)));
    const body = JSON.stringify({ text: 'x'.repeat(1_000_000) });
    const pages = [
      await answer(`${url}/`),
      await answer(`${url}/slowly`),
      await answer(`${url}/length`, { method: 'POST', headers: { 'content-type': 'application/json' }, body }),
      await answer(`${url}/length`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{' }).then(([status]) => status),
      await answer(`${url}/nothing`).then(([status, type]) => [status, type]),
      await answer(`${url}/socket.io/socket.io.js`),
      await answer(`${url}/socket.io/socket.io.min.js.map`).then(([status, type]) => [status, type]),
    ];
    const heard = logs(ann, bob);
    await until('both have gone', () => log.filter((line) => line.includes('disconnected')).length === 2);
    return { heard, pages, log };
  },

  async 'whiteboard.mjs'({ url }, way) {
    const [ann, bob, cat] = await people(url, way, 3);
    for (let number = 0; number < 30; number += 1) ann.socket.emit('drawing', { x0: number / 7, y0: 0.5, x1: number, y1: 1, color: 'black' });
    bob.socket.emit('drawing', { x0: 1 });
    await Promise.all([ann.hears('drawing', 1), bob.hears('drawing', 30), cat.hears('drawing', 31)]);
    // Whose lines come first is nobody's promise.
    cat.log.sort((one, other) => JSON.stringify(one).localeCompare(JSON.stringify(other)));
    return logs(ann, bob, cat);
  },

  async 'chat.js'({ url }, way) {
    const [ann, bob, cat] = await people(url, way, 3);
    ann.socket.emit('add user', 'ann');
    await Promise.all([ann.hears('login'), bob.hears('user joined'), cat.hears('user joined')]);
    bob.socket.emit('add user', 'bob');
    bob.socket.emit('add user', 'bob again');
    await Promise.all([bob.hears('login'), ann.hears('user joined'), cat.hears('user joined', 2)]);
    ann.socket.emit('typing');
    ann.socket.emit('stop typing');
    ann.socket.emit('new message', 'hi');
    await Promise.all([bob.hears('new message'), cat.hears('new message')]);
    ann.leave();
    await Promise.all([bob.hears('user left'), cat.hears('user left')]);
    // Kept from saying so: the connection is cut.
    bob.socket.io.engine.close();
    await cat.hears('user left', 2);
    return logs(ann, bob, cat);
  },

  async 'crud.ts'({ url }, way) {
    const [ann, bob] = await people(url, way, 2);
    const [made] = await ann.asks('item:create', { title: 'tea', isDone: false });
    await bob.hears('item:created');
    const id = made.data;
    assert.match(id, /^[0-9a-f-]{36}$/);
    await bob.asks('item:create', { title: '' });
    await bob.asks('item:create', null);
    await bob.asks('item:read', id);
    await bob.asks('item:update', { id, title: 'green tea', isDone: true });
    await ann.hears('item:updated');
    await ann.asks('item:update', { id: 'another', title: 'x', isDone: true });
    await ann.asks('item:list');
    await ann.asks('item:delete', id);
    await bob.hears('item:deleted');
    await bob.asks('item:delete', id);
    await bob.asks('item:read', id);
    const handshake = await fetch(`${url}/socket.io/?EIO=4&transport=polling`, { headers: { origin: 'http://localhost:4200' } });
    const cors = handshake.headers.get('access-control-allow-origin');
    return { cors, heard: JSON.parse(JSON.stringify(logs(ann, bob)).replaceAll(id, 'ID')) };
  },

  async 'todos.ts'({ url }, way) {
    const stranger = person(url, way);
    await stranger.hears('connect_error');
    const [ann, bob] = await people(url, way, 2, [{ auth: { name: 'ann' } }, { auth: { name: 'bob' } }]);
    ann.socket.emit('add', 'tea');
    await Promise.all([ann, bob].map((one) => one.hears('todos', 2)));
    bob.socket.emit('add', 'cake');
    await Promise.all([ann, bob].map((one) => one.hears('todos', 3)));
    await bob.asks('toggle', 0);
    await Promise.all([ann, bob].map((one) => one.hears('todos', 4)));
    await ann.asks('toggle', 7);
    await Promise.all([ann, bob].map((one) => one.hears('todos', 5)));
    return logs(stranger, ann, bob);
  },

  async 'private.js'({ url }, way) {
    const origin = 'http://localhost:8080';
    const handshake = await fetch(`${url}/socket.io/?EIO=4&transport=polling`, { headers: { origin } });
    const cors = handshake.headers.get('access-control-allow-origin');
    const stranger = person(url, way);
    await stranger.hears('connect_error');
    const [ann, bob] = await people(url, way, 2, [{ auth: { username: 'ann' } }, { auth: { username: 'bob' } }]);
    await Promise.all([ann.hears('user connected'), bob.hears('users')]);
    const [, { sessionID }] = ann.log.find(([name]) => name === 'session');
    const again = person(url, way, { auth: { sessionID } });
    await Promise.all([again.hears('users'), bob.hears('user connected')]);
    bob.socket.emit('private message', { content: 'psst', to: 'user1' });
    await Promise.all([ann.hears('private message'), again.hears('private message')]);
    ann.socket.emit('private message', { content: 'yes?', to: 'user2' });
    await Promise.all([bob.hears('private message'), again.hears('private message', 2)]);
    ann.leave();
    await ann.hears('disconnect');
    again.leave();
    await bob.hears('user disconnected');
    const back = person(url, way, { auth: { sessionID } });
    await Promise.all([back.hears('users'), bob.hears('user connected', 2)]);
    return { heard: logs(stranger, ann, bob, again, back), cors };
  },

  async 'order.js'({ url }, way) {
    const [ann, bob, cat] = await people(url, way, 3);
    await ann.asks('be', 'odd');
    await bob.asks('be', 'even');
    await cat.asks('be', 'odd');
    await ann.asks('mix');
    await Promise.all([ann, bob, cat].map((one) => one.hears('n52')));
    await bob.asks('chain');
    await Promise.all([ann, bob, cat].map((one) => one.hears('chained')));
    return logs(ann, bob, cat).map((log) => log.filter(([name]) => name !== 'perhaps'));
  },

  async 'values.mjs'({ url }, way) {
    const [ann] = await people(url, way, 1);
    ann.socket.on('question', (number, answer) => answer(`to ${number}`, number));
    await ann.asks('values');
    await ann.hears('message', 2);
    await ann.asks('echo', 1, 'zwei', null, undefined, { deep: [{ bytes: Buffer.from([0, 255]) }] }, Buffer.alloc(300000, 7));
    await ann.asks('echo');
    await ann.asks('ask');
    await ann.asks('reserved');
    return logs(ann);
  },

  async 'rooms.js'({ url, log }, way) {
    const [ann, bob, cat] = await people(url, way, 3, ['ann', 'bob', 'cat'].map((name) => ({ query: { name } })));
    await ann.asks('join', ['room1', 'room2']);
    await bob.asks('join', 'room1');
    await bob.asks('join', 'room1');
    await cat.asks('join', 'room2');
    await cat.asks('leave', 'room9');
    await ann.asks('who');
    await bob.asks('who');
    await ann.asks('move all');
    await Promise.all([ann.hears('moved'), bob.hears('moved')]);
    await ann.asks('who');
    await bob.asks('watched', 'once');
    await Promise.all([ann, bob, cat].map((one) => one.hears('shown')));
    ann.socket.emit('forbidden', 'this');
    await ann.hears('refused');
    await ann.asks('once');
    await ann.asks('unlisten');
    const stranger = person(url, way, { namespace: '/admin' });
    await stranger.hears('connect_error');
    const lost = person(url, way, { namespace: '/nowhere' });
    await lost.hears('connect_error');
    const boss = person(url, way, { namespace: '/admin', auth: { key: 'secret' } });
    await boss.asks('tell', 'news');
    await Promise.all([ann.hears('told'), boss.hears('told')]);
    cat.socket.emit('end me', false);
    await cat.hears('disconnect');
    await ann.asks('end others');
    await bob.hears('disconnect');
    ann.socket.emit('end me', true);
    await ann.hears('disconnect');
    await until('all have gone', () => log.filter((line) => line.startsWith('["disconnected"')).length === 3);
    return { heard: logs(ann, bob, cat, stranger, lost, boss), log };
  },

  async 'recovery.js'({ url, log }, way) {
    const [ann, bob] = await people(url, way, 2, [{ query: { name: 'ann' } }, { query: { name: 'bob' } }]);
    await bob.asks('say', 'one');
    await Promise.all([ann.hears('said'), bob.hears('said')]);
    ann.socket.io.engine.close();
    await until('the server knows', () => log.some((line) => line.startsWith('["gone"')));
    await bob.asks('say', 'two');
    await bob.asks('say', 'three');
    ann.socket.connect();
    await ann.hears('said', 3);
    await bob.asks('say', 'four');
    await ann.hears('said', 4);
    const { recovered } = ann.socket;
    ann.leave();
    await until('ann has gone', () => log.filter((line) => line.startsWith('["gone"')).length === 2);
    bob.leave();
    await until('both have gone', () => log.filter((line) => line.startsWith('["gone"')).length === 3);
    // The last argument of an event is where it stands, in each server's own words.
    const heard = [ann, bob].map((one) => one.log.map((entry) => (entry[0] === 'said' ? entry.slice(0, 2) : entry)));
    return { heard, recovered, log };
  },

  async 'dynamic.js'({ url, log }, way) {
    const gone = (count) => until(`${count} have gone`, () => log.filter((line) => line.startsWith('["out"')).length === count);
    const [root] = await people(url, way, 1);
    const [ann, bob, cat] = await people(url, way, 3, [['/room-1', 'ann'], ['/room-1', 'bob'], ['/room-2', 'cat']]
      .map(([namespace, name]) => ({ namespace, query: { name } })));
    const [dan] = await people(url, way, 1, [{ namespace: '/tenant-d', auth: { key: 'd' } }]);
    await ann.asks('join', 'a');
    await bob.asks('join', ['a', 'b']);
    ann.socket.emit('say', 'hello');
    await Promise.all([ann, bob].map((one) => one.hears('said')));
    await cat.asks('tell', 'something');
    await Promise.all([ann, bob, cat].map((one) => one.hears('told', one === ann ? 4 : 3)));
    dan.socket.emit('say', 'to tenants');
    await dan.hears('said');
    await cat.asks('look');
    const banned = person(url, way, { namespace: '/room-3', auth: { banned: true } });
    await banned.hears('connect_error');
    const lost = person(url, way, { namespace: '/room-x', auth: { some: 'thing' } });
    await lost.hears('connect_error');
    const stranger = person(url, way, { namespace: '/tenant-e', auth: { key: 'd' } });
    await stranger.hears('connect_error');
    await dan.asks('asked');
    await root.asks('spaces');
    ann.leave();
    await gone(1);
    await root.asks('spaces');
    bob.leave();
    await gone(2);
    await root.asks('spaces');
    const [eve] = await people(url, way, 1, [{ namespace: '/room-1', query: { name: 'eve' } }]);
    await eve.asks('tell', 'once more');
    await Promise.all([eve.hears('told', 3), cat.hears('told', 6)]);
    await eve.asks('late');
    await root.asks('spaces');
    const late = person(url, way, { namespace: '/room-4' });
    await late.hears('connect_error');
    const early = person(url, way, { namespace: '/room-2', query: { name: 'early' } });
    await early.connected();
    await early.asks('join', 'z');
    for (const [count, one] of [[3, eve], [4, cat], [5, early]]) {
      one.leave();
      await gone(count);
    }
    const heard = logs(root, ann, bob, cat, dan, banned, lost, stranger, eve, late, early);
    return { heard: heard.map((log_) => log_.filter(([name]) => name !== 'perhaps')), log };
  },

  async 'kept.js'({ url, log }, way) {
    const [root] = await people(url, way, 1);
    const [ann] = await people(url, way, 1, [{ namespace: '/room-1', query: { name: 'ann' } }]);
    ann.leave();
    await until('she has gone', () => log.some((line) => line.startsWith('["out"')));
    await root.asks('spaces');
    const banned = person(url, way, { namespace: '/room-3', auth: { banned: true } });
    await banned.hears('connect_error');
    await root.asks('spaces');
    const [bob] = await people(url, way, 1, [{ namespace: '/room-1', query: { name: 'bob' } }]);
    bob.socket.emit('say', 'again');
    await bob.hears('said');
    const heard = logs(root, ann, bob, banned);
    await until('both have gone', () => log.filter((line) => line.startsWith('["out"')).length === 2);
    return { heard, log };
  },

  async 'session.js'({ url }, way) {
    const cookies = await Promise.all([0, 1].map(async () => {
      const page = await fetch(`${url}/count`, { method: 'POST' });
      return page.headers.get('set-cookie').split(';')[0];
    }));
    const extraHeaders = { cookie: cookies[0] };
    const [ann, again, bob] = await people(url, way, 3, [{ extraHeaders }, { extraHeaders }, { extraHeaders: { cookie: cookies[1] } }]);
    await ann.asks('count');
    await again.asks('count');
    await bob.asks('count');
    const page = await answer(`${url}/count`, { method: 'POST', headers: extraHeaders });
    await Promise.all([ann, again].map((one) => one.hears('count')));
    await answer(`${url}/leave`, { method: 'POST', headers: extraHeaders });
    await Promise.all([ann, again].map((one) => one.hears('disconnect')));
    await bob.asks('count');
    return { heard: logs(ann, again, bob), page };
  },

  async 'surviving.mjs'({ url, log }, way) {
    const [ann, bob] = await people(url, way, 2);
    ann.socket.emit('throw', 'first');
    ann.socket.emit('echo', 'between', () => {});
    ann.socket.emit('throw later', 'second');
    bob.socket.emit('reject', 'third');
    await ann.asks('echo', 'still there');
    await bob.asks('echo', 'here as well');
    await until('all were told', () => log.length === 3);
    log.sort();
    return { heard: logs(ann, bob), log };
  },

  async 'closing.js'({ url, log, ended }, way) {
    const path = { path: '/live' };
    const [ann, bob] = await people(url, way, 2, [path, path]);
    ann.socket.emit('close');
    await Promise.all([ann, bob].map((one) => one.hears('disconnect')));
    const code = await ended;
    return { heard: logs(ann, bob), log, code };
  },
};

// In the other module system.
scripts['recovery.mjs'] = scripts['recovery.js'];
