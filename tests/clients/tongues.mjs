// What clients of one tongue say to those of another: Socket.IO, WebSockets, event streams, polls and posts.

import assert from 'node:assert/strict';
import { EventSource } from 'eventsource';
import { io } from 'socket.io-client';
import WebSocket from 'ws';
import { run } from './checks.mjs';
import { start, subscribers, until } from './server.mjs';

const JSON_TYPE = { 'Content-Type': 'application/json' };
/** Half a surrogate pair. */
const HALF = '\ud83d';

/** A Socket.IO client that keeps what it hears. */
async function player(server, namespace = '/') {
  const made = io(server.url + namespace, { forceNew: true, transports: ['websocket'] });
  made.heard = [];
  made.onAny((...args) => made.heard.push(args));
  await new Promise((resolve, reject) => made.once('connect', resolve).once('connect_error', reject));
  return made;
}

/** Asks for an acknowledgement. */
const ask = (player, ...args) => player.timeout(5000).emitWithAck(...args);

/** A WebSocket that keeps what arrives: texts, and bytes as Buffers. */
async function socket(server, path, protocols) {
  const made = new WebSocket(server.url.replace('http', 'ws') + path, protocols);
  made.messages = [];
  made.on('message', (data, isBinary) => made.messages.push(isBinary ? data : data.toString()));
  await new Promise((resolve, reject) => made.once('open', resolve).once('error', reject));
  return made;
}

/** Speaks Socket.IO by hand, as no client does. */
async function byHand(server) {
  const made = await socket(server, '/socket.io/?EIO=4&transport=websocket');
  made.send('40');
  await until('it is let in', () => made.messages.some((text) => String(text).startsWith('40')));
  return made;
}

/** Sends a command to /ws; its reply. */
async function command(commands, text) {
  const { id } = JSON.parse(text);
  commands.send(text);
  const reply = () => commands.messages.map((one) => JSON.parse(one)).find((one) => one.id === id);
  await until(`command ${id} is answered`, () => reply() !== undefined);
  return reply();
}

/** The JSON a channel keeps, as texts. */
async function kept(server, channel) {
  const text = await (await fetch(`${server.url}/channels/${channel}/history`)).text();
  return { text, page: JSON.parse(text) };
}

await run({
  async 'JSON passes through as it came, beside bytes and without'() {
    const server = await start();
    const [ada, bob] = [await player(server), await player(server)];
    await ask(ada, 'join', 'r');
    await ask(bob, 'join', 'r');
    const bytes = Buffer.from([0xff, 1]);
    const odd = { half: HALF, large: 1e20, small: 1e-300, deep: JSON.parse('['.repeat(50) + ']'.repeat(50)) };
    assert.deepEqual(await ask(ada, 'publish', 'r', 'plain', odd), { room: 'r' });
    assert.deepEqual(await ask(ada, 'publish', 'r', 'bytes', odd, bytes), { room: 'r' });
    ada.emit('publish', 'r', 'unasked', odd, bytes);
    await until('all three are there', () => bob.heard.length === 3);
    assert.deepEqual(bob.heard, [['plain', odd], ['bytes', odd, bytes], ['unasked', odd, bytes]]);
    const args = String.raw`[1e20,-0,1e400,"\ud83d",{"a": [ 1.50 ],"a":2}]`;
    const emitted = await fetch(`${server.url}/socket.io-api/emit`, {
      method: 'POST', headers: JSON_TYPE, body: `{"rooms":"r","event":"emitted","args":${args}}`,
    });
    assert.equal(emitted.status, 202);
    const batch = await fetch(`${server.url}/publish`, {
      method: 'POST', headers: JSON_TYPE,
      body: `{"publications":[{"channel":"odd","data":${args}},{"channel":"odd","data":${'['.repeat(65)}${']'.repeat(65)}},`
        + String.raw`{"channel":"odd","data":"\ud83d"},{"channel":"odd","data":[]}]}`,
    });
    const { results } = await batch.json();
    assert.deepEqual(results.map(({ error }) => error?.code), [undefined, 'json_too_deep', 'json_not_utf8', undefined]);
    const commands = await socket(server, '/ws');
    assert.ok((await command(commands, `{"id":1,"publish":{"channel":"odd","data":${args}}}`)).published);
    const tooDeep = `{"id":2,"publish":{"channel":"odd","data":${'['.repeat(65)}${']'.repeat(65)}}}`;
    assert.equal((await command(commands, tooDeep)).error.code, 'json_too_deep');
    const half = String.raw`{"id":3,"publish":{"channel":"odd","data":"\ud83d"}}`;
    assert.equal((await command(commands, half)).error.code, 'json_not_utf8');
    await until('the emit is there', () => bob.heard.length === 4);
    assert.deepEqual(bob.heard[3], ['emitted', 1e20, -0, Infinity, HALF, { a: 2 }]);
    await server.stop();
  },

  async 'text stays text and binary stays binary, whatever the bytes are'() {
    const server = await start();
    const [player_, follower, speaker] = [await player(server), await socket(server, '/channels/r'), await socket(server, '/channels/r')];
    const commands = await socket(server, '/ws');
    await ask(player_, 'join', 'r');
    assert.ok((await command(commands, '{"id":1,"subscribe":{"channel":"r"}}')).subscribed);
    const stream = new EventSource(`${server.url}/channels/r`);
    const events = [];
    for (const name of ['message', 'base64', 'news']) {
      stream.addEventListener(name, ({ type, data }) => events.push([type, data]));
    }
    await new Promise((resolve) => stream.addEventListener('open', resolve, { once: true }));
    await subscribers(server, 'r', 5);
    const bytes = Buffer.from('["e",1]');
    speaker.send(bytes);
    speaker.send('["e",1]');
    const post = (path, body, type) => fetch(`${server.url}${path}`, { method: 'POST', body, headers: type && { 'Content-Type': type } });
    await until('the first two are there', () => follower.messages.length === 2);
    await post('/channels/r', '{"a": 1}', 'application/json');
    await post('/channels/r', '{"a": 2}', 'application/x-www-form-urlencoded');
    await post('/channels/r', 'three', 'application/octet-stream');
    await post('/channels/r?event=news', 'four', 'text/plain');
    const pushes = () => commands.messages.map((text) => JSON.parse(text).push).filter(Boolean);
    await until('all is there', () => [follower.messages, player_.heard, events, pushes()].every((list) => list.length === 6));
    assert.deepEqual(follower.messages, [bytes, '["e",1]', '{"a": 1}', '{"a": 2}', Buffer.from('three'), 'four']);
    assert.deepEqual(player_.heard, [
      ['message', bytes], ['e', 1], ['message', { a: 1 }], ['message', { a: 2 }], ['message', Buffer.from('three')], ['news', 'four'],
    ]);
    assert.deepEqual(events, [
      ['base64', bytes.toString('base64')], ['message', '["e",1]'], ['message', '{"a": 1}'], ['message', '{"a": 2}'],
      ['base64', Buffer.from('three').toString('base64')], ['news', 'four'],
    ]);
    assert.deepEqual(pushes().map(({ data, data_base64, content_type, event }) => [data ?? { data_base64 }, content_type, event]), [
      [{ data_base64: bytes.toString('base64') }, undefined, undefined],
      ['["e",1]', undefined, undefined],
      [{ a: 1 }, 'application/json', undefined],
      ['{"a": 2}', undefined, undefined],
      [{ data_base64: Buffer.from('three').toString('base64') }, 'application/octet-stream', undefined],
      ['four', 'text/plain', 'news'],
    ]);
    stream.close();
    await server.stop();
  },

  async 'a client that asks for a subprotocol gets the first that is spoken'() {
    const server = await start('server.subprotocols=chat');
    assert.equal((await socket(server, '/ws', ['x', 'roadstead.json'])).protocol, 'roadstead.json');
    assert.equal((await socket(server, '/channels/a', ['chat', 'roadstead.raw'])).protocol, 'chat');
    assert.equal((await socket(server, '/channels/a', ['bearer.abc', 'roadstead.raw'])).protocol, 'roadstead.raw');
    assert.equal((await socket(server, '/channels/a')).protocol, '');
    await assert.rejects(socket(server, '/channels/a', ['x']), /no subprotocol/);
    await server.stop();
  },

  async 'an event whose name is a number is relayed as it came, and its acknowledgement says so'() {
    const server = await start();
    const [ada, bob] = [await player(server), await player(server)];
    assert.deepEqual(await ask(ada, 1, 2), { relayed: true });
    await until('it is there', () => bob.heard.length === 1);
    assert.deepEqual(bob.heard, [[1, 2]]);
    await server.stop();
  },

  async 'who asks for b64 gets bytes as text, over a WebSocket as well'() {
    const server = await start();
    const bytes = Buffer.from([0xff, 1]);
    const ada = await player(server);
    const hand = await socket(server, '/socket.io/?EIO=4&transport=websocket&b64=1');
    hand.send('40');
    await until('it is let in', () => hand.messages.some((text) => String(text).startsWith('40')));
    hand.messages.length = 0;
    await ask(ada, 'e', bytes);
    await until('all is there', () => hand.messages.length === 2);
    assert.deepEqual(hand.messages, ['451-["e",{"_placeholder":true,"num":0}]', 'b/wE=']);
    await server.stop();
  },

  async 'who is refused and did not ask is told all the same'() {
    const server = await start('socketio.relay=false');
    const ada = await player(server);
    ada.emit('chat', 'hi');
    ada.emit('publish', '', 'e');
    await until('both are refused', () => ada.heard.length === 2);
    assert.deepEqual(ada.heard.map(([name, event, { error }]) => [name, event, error.code]), [
      ['refused', 'chat', 'event_unheard'], ['refused', 'publish', 'channel_name_invalid'],
    ]);
    await server.stop();
  },

  async 'bytes are where the client of JavaScript would look for them, whoever wrote the placeholder'() {
    const server = await start();
    const [bob, hand] = [await player(server), await byHand(server)];
    const bytes = Buffer.from([0xff, 1]);
    const [b64, look] = ['{"base64":"/wE="}', '{"_placeholder":1,"num":0,"x":1}'];
    const cases = [
      ['{"num":0,"_placeholder":true}', [bytes], b64],
      [`{"_placeholder":true,"num":0},${look}`, [bytes, JSON.parse(look)], `${b64},${look}`],
      ['{"_placeholder":true,"num":0,"x":[1]}', [bytes], b64],
      ['{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}', [bytes, bytes], `${b64},${b64}`],
      ['1', [1], '1'],
    ];
    for (const [args, heard, text] of cases) {
      hand.send(`451-["e",${args}]`);
      hand.send(bytes);
      await until(`${args} is there`, () => bob.heard.length === 1);
      assert.deepEqual(bob.heard.pop(), ['e', ...heard]);
      const { page } = await kept(server, '%2F');
      const { data } = page.publications.at(-1);
      assert.equal(typeof data === 'string' ? data : JSON.stringify(data), `["e",${text}]`);
    }
    assert.equal(hand.readyState, WebSocket.OPEN);
    await server.stop();
  },
});
