// Clients of Node.js: `ws`, `eventsource`, and fetch.

import assert from 'node:assert/strict';
import polyfill from 'event-source-polyfill';
import { EventSource } from 'eventsource';
import WebSocket from 'ws';
import { run } from './checks.mjs';
import { proxyTo } from './proxy.mjs';
import { SPEAKS_TLS, publish, start, subscribers, until } from './server.mjs';

/** A WebSocket that keeps what arrives. */
function socket(server, path) {
  const made = new WebSocket(server.url.replace('http', 'ws') + path);
  made.messages = [];
  made.on('message', (data, isBinary) => made.messages.push(isBinary ? data : data.toString()));
  made.opened = new Promise((resolve, reject) => made.once('open', resolve).once('error', reject));
  made.closed = new Promise((resolve) => made.once('close', (code) => resolve(code)));
  return made;
}

/** An event source that keeps what arrives. */
function source(url, made = new EventSource(url)) {
  made.events = [];
  made.addEventListener('message', (event) => made.events.push([event.lastEventId, event.data]));
  made.opened = new Promise((resolve) => made.addEventListener('open', resolve, { once: true }));
  return made;
}

const checks = {
  async 'ws, eventsource and fetch all receive hello'() {
    const server = await start();
    const sockets = Array.from({ length: 8 }, () => socket(server, '/channels/news'));
    const sources = Array.from({ length: 8 }, () => source(`${server.url}/channels/news`));
    const polls = Array.from({ length: 8 }, () => fetch(`${server.url}/channels/news?timeout=25`));
    await subscribers(server, 'news', 24);
    const { epoch, offset } = await publish(server, 'news', 'hello');
    await until('all have it', () => [...sockets.map((one) => one.messages), ...sources.map((one) => one.events)]
      .every((arrived) => arrived.length === 1));
    assert.ok(sockets.every(({ messages: [text] }) => text === 'hello'));
    for (const { events: [event] } of sources) assert.deepEqual(event, [`${epoch}:${offset}`, 'hello']);
    for (const poll of polls) {
      const page = await (await poll).json();
      assert.deepEqual(page.publications.map(({ data }) => data), ['hello']);
    }
    sockets.forEach((one) => one.close(1000));
    assert.deepEqual(await Promise.all(sockets.map((one) => one.closed)), Array(8).fill(1000));
    sources.forEach((one) => one.close());
    await server.stop();
  },

  async 'ws and eventsource stay open through upgrades, and hear everything once'() {
    const server = await start();
    const sockets = Array.from({ length: 20 }, () => socket(server, '/channels/news'));
    const commands = Array.from({ length: 20 }, () => socket(server, '/ws'));
    await Promise.all(commands.map((one) => one.opened));
    commands.forEach((one) => one.send('{"id":1,"subscribe":{"channel":"news"}}'));
    const sources = Array.from({ length: 4 }, () => source(`${server.url}/channels/news`));
    let cuts = 0;
    sources.forEach((one) => one.addEventListener('error', () => { cuts += 1; }));
    await subscribers(server, 'news', 44);
    const { epoch } = await publish(server, 'news', '1');
    await until('each source knows where it is', () => sources.every((one) => one.events.length === 1));
    let isOver = false;
    const [publisher] = commands;
    const publishing = (async () => {
      for (let number = 2; !isOver; number += 1) {
        publisher.send(JSON.stringify({ id: number, publish: { channel: 'news', data: String(number) } }));
        await until('it is published', () => publisher.messages.some((text) => JSON.parse(text).id === number), 40000);
      }
    })();
    for (let round = 0; round < 2; round += 1) await server.upgrade();
    isOver = true;
    await publishing;
    const last = JSON.parse(await (await fetch(`${server.url}/channels/news/history`)).text()).position;
    const count = Number(last.split(':')[1]);
    const expected = Array.from({ length: count }, (_, at) => String(at + 1));
    const pushed = (one) => one.messages.map((text) => JSON.parse(text).push).filter((push) => push);
    await until('all have heard all', () => sockets.every((one) => one.messages.length >= count)
      && commands.every((one) => pushed(one).length >= count) && sources.every((one) => one.events.length >= count), 40000);
    for (const one of sockets) assert.deepEqual(one.messages, expected);
    for (const one of commands) {
      assert.deepEqual(pushed(one).map(({ offset, data }) => [offset, data]), expected.map((data) => [Number(data), data]));
    }
    for (const { events } of sources) {
      assert.deepEqual(events, expected.map((data) => [`${epoch}:${data}`, data]));
    }
    assert.ok([...sockets, ...commands].every((one) => one.readyState === WebSocket.OPEN));
    assert.equal(cuts, 0);
    [...sockets, ...commands, ...sources].forEach((one) => one.close());
    await server.stop();
  },

  async 'an event source whose connection is cut comes back by itself and misses nothing'() {
    const server = await start('limits.event_stream_retry_ms=50');
    const proxy = await proxyTo(server.port);
    const events = source(`${proxy.url}/channels/news`);
    await subscribers(server, 'news', 1);
    const expected = [];
    for (let round = 0; round < 5; round += 1) {
      for (let number = 0; number < 4; number += 1) {
        const data = `${round}.${number}\nsecond line`;
        const { epoch, offset } = await publish(server, 'news', data);
        expected.push([`${epoch}:${offset}`, data]);
        if (number === 1) {
          await until('the first two are there', () => events.events.length >= expected.length);
          proxy.cut();
        }
      }
      await until('it came back', () => events.events.length === expected.length);
    }
    assert.deepEqual(events.events, expected);
    events.close();
    proxy.close();
    await server.stop();
  },

  async 'sources that say in the address where they were come back to it and miss nothing'() {
    const server = await start('limits.event_stream_retry_ms=50');
    const asked = [];
    // As pages do to which a header field would be one more preflight.
    const inAddress = (url, { headers: { 'Last-Event-ID': last, ...headers }, ...options }) => {
      const address = new URL(url);
      if (last) address.searchParams.set('lastEventId', last);
      asked.push(address.search);
      return fetch(address, { ...options, headers });
    };
    for (const [channel, make] of [
      ['polyfilled', (url) => new polyfill.EventSourcePolyfill(url)],
      ['fetched', (url) => new EventSource(url, { fetch: inAddress })],
    ]) {
      const proxy = await proxyTo(server.port);
      const url = `${proxy.url}/channels/${channel}`;
      const events = source(url, make(url));
      const resets = [];
      events.addEventListener('reset', (event) => resets.push(event.data));
      await subscribers(server, channel, 1);
      const expected = [];
      const say = async (data) => {
        const { epoch, offset } = await publish(server, channel, data);
        expected.push([`${epoch}:${offset}`, data]);
      };
      for (let round = 0; round < 2; round += 1) {
        await say(`${round}.heard`);
        await until('it is heard', () => events.events.length === expected.length);
        proxy.down();
        await say(`${round}.missed`);
        await say(`${round}.missed too`);
        proxy.up();
        await until('it came back', () => events.events.length === expected.length);
      }
      assert.deepEqual(events.events, expected, channel);
      assert.deepEqual(resets, [], channel);
      events.close();
      proxy.close();
    }
    assert.ok(asked.some((query) => query.startsWith('?lastEventId=')), asked.join(' '));
    await server.stop();
  },

  async 'an event source of several channels comes back to each and misses nothing'() {
    const server = await start('limits.event_stream_retry_ms=50');
    const proxy = await proxyTo(server.port);
    const channels = ['red', 'green', 'a/b'];
    const query = channels.map((channel) => `channel=${encodeURIComponent(channel)}`).join('&');
    const events = source(`${proxy.url}/events?${query}`);
    const resets = [];
    events.addEventListener('reset', (event) => resets.push(event.data));
    for (const channel of channels) await subscribers(server, encodeURIComponent(channel), 1);
    let expected = 0;
    for (let round = 0; round < 6; round += 1) {
      for (let number = 0; number < 6; number += 1) {
        await publish(server, encodeURIComponent(channels[(round + number) % 3]), `${round}.${number}`);
        expected += 1;
        if (number === 2) {
          await until('the first ones are there', () => events.events.length >= expected);
          proxy.cut();
        }
      }
      await until('it came back', () => events.events.length === expected);
    }
    for (const channel of channels) {
      const told = events.events.map(([, data]) => JSON.parse(data)).filter((one) => one.channel === channel);
      assert.deepEqual(told.map(({ offset }) => offset), Array.from({ length: 12 }, (_, index) => index + 1));
    }
    const [last] = events.events.at(-1);
    assert.equal(last.split(',').length, 3);
    assert.deepEqual(resets, []);
    events.close();
    proxy.close();
    await server.stop();
  },

  async 'commands on /ws resume where the last push was'() {
    const server = await start();
    const first = socket(server, '/ws');
    await first.opened;
    const reply = (one, id) => until(`command ${id} is answered`, () => one.messages.some((text) => JSON.parse(text).id === id));
    const pushes = (one) => one.messages.map((text) => JSON.parse(text).push).filter(Boolean);
    first.send(JSON.stringify({ id: 1, subscribe: { channel: 'a' } }));
    await reply(first, 1);
    await publish(server, 'a', 'one');
    await until('one is there', () => pushes(first).length === 1);
    const [{ epoch, offset }] = pushes(first);
    first.terminate();
    await publish(server, 'a', 'two');
    await publish(server, 'a', 'three');
    const second = socket(server, '/ws');
    await second.opened;
    second.send(JSON.stringify({ id: 2, subscribe: { channel: 'a', since: `${epoch}:${offset}` } }));
    await until('both are there', () => pushes(second).length === 2);
    const { subscribed } = JSON.parse(second.messages[0]);
    assert.deepEqual([subscribed.recovered, subscribed.missed], [true, 2]);
    assert.deepEqual(pushes(second).map(({ data }) => data), ['two', 'three']);
    second.send(JSON.stringify({ id: 3, publish: { channel: 'a', data: { four: 4 } } }));
    await until('four is there', () => pushes(second).length === 3);
    assert.deepEqual(pushes(second)[2].data, { four: 4 });
    second.close();
    await server.stop();
  },

  async 'bytes, long messages, fragments and pings survive the way there and back'() {
    const server = await start();
    const echo = socket(server, '/echo');
    await echo.opened;
    const bytes = Buffer.from(Array.from({ length: 300000 }, (_, index) => index % 251));
    echo.send(bytes);
    echo.send('gr', { fin: false });
    echo.ping('?');
    echo.send('ün', { fin: true });
    echo.send('');
    const pong = await new Promise((resolve) => echo.once('pong', resolve));
    assert.equal(pong.toString(), '?');
    await until('all came back', () => echo.messages.length === 3);
    assert.ok(bytes.equals(echo.messages[0]));
    assert.deepEqual(echo.messages.slice(1), ['grün', '']);
    echo.close(4321, 'done');
    assert.equal(await echo.closed, 4321);

    const follower = socket(server, '/channels/bytes');
    await subscribers(server, 'bytes', 1);
    await publish(server, 'bytes', bytes.subarray(0, 1000), { 'Content-Type': 'application/octet-stream' });
    await until('the bytes are there', () => follower.messages.length === 1);
    assert.ok(bytes.subarray(0, 1000).equals(follower.messages[0]));
    follower.terminate();
    await server.stop();
  },

  async 'two hundred sockets, a hundred streams and a hundred polls hear everything on both shards'() {
    const server = await start();
    const sockets = Array.from({ length: 200 }, () => socket(server, '/channels/crowd'));
    const sources = Array.from({ length: 100 }, () => source(`${server.url}/channels/crowd`));
    await subscribers(server, 'crowd', 300);
    const first = await publish(server, 'crowd', '1');
    const poll = async () => {
      const heard = ['1'];
      let position = `${first.epoch}:${first.offset}`;
      while (heard.length < 10) {
        const page = await (await fetch(`${server.url}/channels/crowd?since=${position}`)).json();
        assert.equal(page.recovered, true);
        heard.push(...page.publications.map(({ data }) => data));
        position = page.position;
      }
      return heard;
    };
    const polls = Array.from({ length: 100 }, poll);
    for (let number = 2; number <= 10; number += 1) await publish(server, 'crowd', String(number));
    const expected = Array.from({ length: 10 }, (_, index) => String(index + 1));
    for (const heard of await Promise.all(polls)) assert.deepEqual(heard, expected);
    await until('all have it', () => sockets.every(({ messages }) => messages.length === 10)
      && sources.every(({ events }) => events.length === 10));
    for (const { messages } of sockets) assert.deepEqual(messages, expected);
    for (const { events } of sources) assert.deepEqual(events.map(([, data]) => data), expected);
    const { shards } = await (await fetch(`${server.admin}/shards`)).json();
    assert.equal(shards.length, 2);
    assert.ok(shards.every(({ subscriptions }) => subscriptions > 30), JSON.stringify(shards.map((one) => one.subscriptions)));
    sockets.forEach((one) => one.terminate());
    sources.forEach((one) => one.close());
    await server.stop();
  },

  async 'a drain closes sockets with 1001, ends streams and answers polls'() {
    const server = await start('server.drain_ms=300');
    const sockets = Array.from({ length: 20 }, () => socket(server, '/channels/d'));
    const streams = Array.from({ length: 20 }, async () => {
      const answer = await fetch(`${server.url}/channels/d`, { headers: { Accept: 'text/event-stream' } });
      return answer.text();
    });
    const polls = Array.from({ length: 20 }, () => fetch(`${server.url}/channels/d?timeout=25`));
    await subscribers(server, 'd', 60);
    const stopped = server.stop();
    assert.deepEqual(await Promise.all(sockets.map((one) => one.closed)), Array(20).fill(1001));
    // The opening says when to come back and where the stream stands; the end says when to come back, jittered.
    for (const text of await Promise.all(streams)) assert.match(text, /^retry: \d+\n\nid: \d+:\d+\n\nretry: \d+\n\n$/);
    for (const poll of polls) assert.equal((await (await poll).json()).recovered, true);
    await stopped;
  },

  async 'ws compresses with every setting of its own, and reads what is compressed for it'() {
    for (const mode of ['shared', 'dedicated']) {
      const server = await start(`websocket.compression=${mode}`, 'websocket.compression_bytes_min=0');
      const offers = [
        {}, { serverNoContextTakeover: true, clientNoContextTakeover: true }, { serverMaxWindowBits: 9 },
        { serverMaxWindowBits: 12, clientMaxWindowBits: 10 }, { clientMaxWindowBits: 9 },
      ];
      const texts = [...Array(40).keys()].map((number) => JSON.stringify(
        Array.from({ length: 2 ** (number % 10) }, (_, index) => ({ index, number, price: number * index * 31 })),
      ));
      for (const offer of offers) {
        const made = new WebSocket(`${server.url.replace('http', 'ws')}/echo`, { perMessageDeflate: { threshold: 0, ...offer } });
        await new Promise((resolve, reject) => made.once('open', resolve).once('error', reject));
        assert.ok(made.extensions.startsWith('permessage-deflate'), JSON.stringify(offer));
        const heard = [];
        made.on('message', (data) => heard.push(data.toString()));
        for (const text of texts) made.send(text);
        for (const text of texts) {
          const half = text.length >> 1;
          made.send(text.slice(0, half), { fin: false });
          made.ping();
          made.send(text.slice(half), { fin: true });
        }
        await until('all came back', () => heard.length === 2 * texts.length);
        assert.deepEqual(heard, [...texts, ...texts], JSON.stringify(offer));
        made.close(1000);
        assert.equal(await new Promise((resolve) => made.once('close', resolve)), 1000);
      }
      await server.stop();
    }
  },

  async 'ws gets a publication compressed, beside one that gets it as it is'() {
    const server = await start('websocket.compression=shared');
    const made = [true, false].map((perMessageDeflate) => new WebSocket(
      `${server.url.replace('http', 'ws')}/channels/news`, { perMessageDeflate },
    ));
    const heard = made.map(() => []);
    made.forEach((one, index) => one.on('message', (data) => heard[index].push(data.toString())));
    await subscribers(server, 'news', 2);
    const texts = [...Array(20).keys()].map((number) => `${number} `.repeat(200));
    for (const text of texts) await publish(server, 'news', text);
    await until('both have all', () => heard.every((texts) => texts.length === 20));
    assert.deepEqual(heard, [texts, texts]);
    const read = made.map((one) => one._socket.bytesRead);
    assert.ok(read[0] < read[1] / 4, `${read}`);
    made.forEach((one) => one.terminate());
    await server.stop();
  },
};

// Over TLS a client comes back.
if (SPEAKS_TLS) delete checks['ws and eventsource stay open through upgrades, and hear everything once'];

await run(checks);
