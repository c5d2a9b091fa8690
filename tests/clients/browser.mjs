// Headless Chromium on the demo pages: two people chat, count, see five tongues at work, meet in rooms, and play on Socket.IO's
// stock client, which comes from npm. And the manual, which a phone shows without scrolling sideways.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from './checks.mjs';
import { assertContrast, assertFits, assertKeyboard, assertNothingForeign, browser, open } from './page.mjs';
import { proxyTo } from './proxy.mjs';
import { SPEAKS_TLS, publish, start, subscribers, until } from './server.mjs';

const LANES = ['websocket', 'commands', 'socketio', 'eventsource', 'longpoll'];

const FRONT = { path: '/', ready: 'body[data-ready="true"]' };
const CHAT = { path: '/demo/chat', ready: '#state[data-state="live"]' };
const LOBBY = { path: '/demo/lobby', ready: '#state[data-state="live"]' };
const SCRIPT = fileURLToPath(new URL('node_modules/socket.io-client/dist/socket.io.js', import.meta.url));

/** Opens a page as one person with nothing stored; `faults` keeps whatever the page complains of. */
async function person(server, { path, ready } = FRONT) {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.setDefaultTimeout(20000);
  page.faults = [];
  page.on('pageerror', (error) => page.faults.push(String(error)));
  page.on('console', (line) => line.type() === 'error' && page.faults.push(line.text()));
  await page.goto(new URL(path, server.url).href);
  await page.waitForSelector(ready);
  return page;
}

const text = (page, id) => page.locator(`#${id}`).innerText();
const number = async (page, id) => Number((await text(page, id)).replace(/\D/g, ''));

/** Runs a check with a server and two people on a page, and shows their pages if it fails. */
async function withTwoPeople(check, where = FRONT) {
  const server = await start(`socketio.client_script=${SCRIPT}`, 'socketio.connection_state_recovery_ms=60000');
  const people = [];
  try {
    people.push(await person(server, where), await person(server, where));
    await check(server, ...people);
    for (const page of people) assert.deepEqual(page.faults, []);
  } catch (error) {
    const folder = await mkdtemp(join(tmpdir(), 'roadstead-'));
    await Promise.all(people.map((page, index) => page.screenshot({ path: join(folder, `${index}.png`) })));
    error.stack += `\nwhat the pages complained of: ${JSON.stringify(people.map((page) => page.faults))}`
      + `\nscreenshots are in ${folder}`;
    throw error;
  } finally {
    await Promise.all(people.map((page) => page.context().close()));
    await server.stop();
  }
}

const checks = {
  'what one person says another one reads': () => withTwoPeople(async (server, ada, bob) => {
    await ada.fill('#chat-name', 'Ada');
    await ada.fill('#chat-text', 'Hello <b>Bob</b> & grüße');
    await ada.click('#chat-send');
    for (const page of [ada, bob]) {
      const line = page.locator('#chat-log li').last();
      await line.waitFor();
      assert.equal(await line.locator('b').innerText(), 'Ada');
      assert.equal(await line.locator('span').innerText(), 'Hello <b>Bob</b> & grüße');
    }
    await bob.fill('#chat-text', 'Hello Ada');
    await bob.press('#chat-text', 'Enter');
    await ada.locator('#chat-log li', { hasText: 'Hello Ada' }).waitFor();
    const late = await person(server);
    assert.equal(await late.locator('#chat-log li').count(), 2, 'who comes later reads what was said');
    await late.context().close();
  }),

  'everybody sees the same counter': () => withTwoPeople(async (_server, ada, bob) => {
    for (const [page, count] of [[ada, 1], [bob, 2], [ada, 3], [ada, 4]]) {
      await page.click('#counter-press');
      for (const other of [ada, bob]) {
        await until(`the counter shows ${count}`, async () => await number(other, 'counter-value') === count);
      }
    }
  }),

  'all five tongues deliver, and tell of quantiles once they have measured enough': () => withTwoPeople(async (_server, ada, bob) => {
    for (let sent = 1; sent <= 3; sent += 1) {
      await ada.click('#lanes-one');
      for (const page of [ada, bob]) {
        for (const lane of LANES) {
          await until(`${lane} shows ${sent}`, async () => await number(page, `lane-${lane}-count`) === sent);
        }
      }
    }
    for (const lane of LANES) {
      assert.equal(await text(ada, `lane-${lane}-p50`), '–', 'three say nothing');
      assert.match(await text(ada, `lane-${lane}-note`), /^3 measured, p50 from 10 on$/);
      assert.match(await bob.locator(`#lane-${lane}-list li`).first().innerText(), /not ours/);
    }
    await ada.click('#lanes-hundred');
    for (const lane of LANES) {
      await until(`${lane} shows all`, async () => await number(ada, `lane-${lane}-count`) === 103);
      assert.equal(await ada.locator(`#lane-${lane}-state`).getAttribute('data-state'), 'live');
      const [p50, p99] = [Number(await text(ada, `lane-${lane}-p50`)), Number(await text(ada, `lane-${lane}-p99`))];
      assert.ok(p50 > 0 && p50 <= p99 && p99 < 5000, `${lane} took ${p50} and ${p99} ms`);
      assert.match(await ada.locator(`#lane-${lane}-bars`).getAttribute('aria-label'), /^103 measured/);
    }
  }),

  'the page tells how many are connected and over how many shards': () => withTwoPeople(async (server, ada) => {
    await until('both people are counted', async () => await number(ada, 'stat-connections') >= 6);
    assert.equal(await number(ada, 'stat-shards'), 2);
    const { connections } = await (await fetch(`${server.url}/demo/stats`)).json();
    assert.ok(connections >= 7, `${connections}`);
  }),

  'who comes back after a cut is given what was missed, by every tongue that has positions': () => withTwoPeople(async (_server, ada, bob) => {
    await ada.click('#cut');
    await bob.click('#counter-press');
    await bob.fill('#chat-text', 'while you were away');
    await bob.click('#chat-send');
    await ada.locator('#chat-log li', { hasText: 'while you were away' }).waitFor();
    await until('the counter came back', async () => await number(ada, 'counter-value') === 1);
    const row = async (lane, name) => Number(await ada.locator(`#cut-${lane}`).getAttribute(`data-${name}`));
    await until('the network is back', async () => /back/.test(await text(ada, 'cut-state')));
    for (const lane of LANES) {
      await until(`${lane} is live again`, async () => await ada.locator(`#lane-${lane}-state`).getAttribute('data-state') === 'live');
      assert.equal(await row(lane, 'sent'), 10);
      const expected = lane === 'websocket' ? 0 : 10;
      await until(`${lane} was given ${expected}`, async () => await row(lane, 'came') === expected);
    }
    await bob.click('#lanes-one');
    for (const lane of LANES) {
      const expected = lane === 'websocket' ? 1 : 11;
      await until(`${lane} hears again`, async () => await number(ada, `lane-${lane}-count`) === expected);
    }
    // A browser says in its console that a connection was cut; here that was the intention.
    ada.faults.length = 0;
  }),

  'what is not kept any more is told as gone, and not as missing': async () => {
    // Ten are sent while the network is cut.
    const server = await start('limits.history_publications_max=4');
    const page = await person(server);
    await page.click('#cut');
    await until('the network is back', async () => /back/.test(await text(page, 'cut-state')));
    for (const lane of ['commands', 'eventsource', 'longpoll']) {
      await until(`${lane} was given what is kept`, async () => await page.locator(`#cut-${lane}`).getAttribute('data-came') === '4');
      await page.locator(`#cut-${lane}`, { hasText: '4 of 10' }).waitFor();
      await page.locator(`#cut-${lane}`, { hasText: 'more was missed than is kept' }).waitFor();
    }
    // The next time is another one.
    await page.click('#lanes-one');
    await until('it is heard', async () => await number(page, 'lane-longpoll-count') >= 5);
    await page.click('#cut');
    await page.locator('#cut-longpoll', { hasText: 'it says the position it had' }).waitFor();
    await page.context().close();
    await server.stop();
  },

  'who is in a room is seen by all, for as long as they are there': () => withTwoPeople(async (_server, ada, bob) => {
    const members = (page, room) => page.locator(`#room-${room} li`).allInnerTexts();
    await ada.fill('#chat-name', 'Ada <b>');
    await bob.fill('#chat-name', 'Bob');
    await ada.click('#room-harbour button');
    await until('Bob sees Ada', async () => String(await members(bob, 'harbour')) === 'Ada <b>');
    await bob.click('#room-harbour button');
    for (const page of [ada, bob]) await page.locator('#room-harbour', { hasText: '2 here' }).waitFor();
    assert.deepEqual((await members(bob, 'harbour')).sort(), ['Ada <b>', 'Bob (you)']);
    await ada.click('#room-pier button');
    for (const page of [ada, bob]) {
      await page.locator('#room-harbour', { hasText: '1 here' }).waitFor();
      await page.locator('#room-pier', { hasText: '1 here' }).waitFor();
    }
    await bob.click('#cut');
    await ada.locator('#room-harbour', { hasText: '0 here' }).waitFor();
    await ada.locator('#room-harbour', { hasText: '1 here' }).waitFor();
    await ada.goto('about:blank');
    await bob.locator('#room-pier', { hasText: '0 here' }).waitFor();
    bob.faults.length = 0;
  }),

  'a crowd comes, costs little, hears one message, and goes': async () => {
    const server = await start('limits.connections_max=600');
    const page = await person(server);
    const told = async () => (await fetch(`${server.url}/demo/crowd`)).json();
    assert.equal(await text(page, 'crowd-toggle'), 'Open 300 connections', 'half of what the server holds');
    await page.click('#crowd-toggle');
    await until('all are there', async () => (await told()).phase === 'open', 40000);
    await subscribers(server, 'demo-crowd', 300);
    await until('the first message has come', async () => (await told()).delivered?.number === 1);
    await until('it is shown', async () => /^[\d.]+ ms$/.test(await text(page, 'crowd-last')));
    assert.equal(await text(page, 'crowd-open'), '300');
    assert.match(await text(page, 'crowd-user'), /B$/);
    await page.click('#crowd-say');
    await until('the second has', async () => (await told()).delivered?.number === 2);
    const { to, first_us: first, p50_us: half, last_us: last } = (await told()).delivered;
    assert.ok(to === 300 && first <= half && half <= last && last < 5e6, `${to} ${first} ${half} ${last}`);
    await page.click('#crowd-toggle');
    await until('they have gone', async () => (await told()).phase === 'closed');
    await subscribers(server, 'demo-crowd', 0);
    await page.locator('#crowd-toggle', { hasText: 'Open 300 connections' }).waitFor();
    assert.deepEqual(page.faults, []);
    await page.context().close();
    await server.stop();
  },

  'the front page is looked at in light and dark, on a screen and on a phone: nothing is cut off, nothing jumps': async () => {
    const server = await start();
    for (const colorScheme of ['light', 'dark']) {
      for (const viewport of [{ width: 1280, height: 900 }, { width: 375, height: 740 }]) {
        const page = await open(`${server.url}/`, { colorScheme, viewport });
        await page.waitForSelector(FRONT.ready);
        const places = () => page.evaluate(() => [...document.querySelectorAll('section, .lane, button')]
          .map((node) => Math.round(node.getBoundingClientRect().top + scrollY)));
        const before = await places();
        for (let sent = 0; sent < 12; sent += 1) await page.click('#lanes-one');
        await page.click('#room-tower button');
        await page.click('#counter-press');
        await page.locator('#room-tower', { hasText: '(you)' }).waitFor();
        await until('all have come', async () => await number(page, 'lane-longpoll-count') >= 12);
        assert.deepEqual(await places(), before, 'something has jumped');
        const clipped = await page.evaluate(() => [...document.querySelectorAll('main *')].filter((node) => {
          const style = getComputedStyle(node);
          const isCut = (overflow, whole, shown) => overflow !== 'visible' && whole > shown + 1;
          const isCutBelow = style.overflowY === 'hidden' && node.scrollHeight > node.clientHeight + 1;
          return isCutBelow || isCut(style.overflowX, node.scrollWidth, node.clientWidth);
        }).map((node) => `${node.id || node.className || node.tagName}: ${node.textContent.slice(0, 40)}`));
        assert.deepEqual(clipped, []);
        await assertFits(page);
        await assertContrast(page);
        await assertKeyboard(page);
        assertNothingForeign(page, new URL(server.url).origin);
        assert.deepEqual(page.faults, []);
        await page.goto('about:blank');
        await page.context().close();
      }
    }
    await server.stop();
  },

  'the chat on the stock client and the front page talk to each other': () => withTwoPeople(async (server, ada, bob) => {
    const front = await person(server);
    await ada.fill('#chat-name', 'Ada');
    await ada.fill('#chat-text', 'Hello <b>Bob</b>');
    await bob.locator('#chat-typing', { hasText: 'Ada is typing' }).waitFor();
    await ada.click('#chat-send');
    for (const page of [ada, bob, front]) {
      await page.locator('#chat-log li', { hasText: 'Hello <b>Bob</b>' }).waitFor();
    }
    await front.fill('#chat-text', 'from the front');
    await front.click('#chat-send');
    for (const page of [ada, bob]) await page.locator('#chat-log li', { hasText: 'from the front' }).waitFor();
    const late = await person(server, CHAT);
    await until('what was said is there', async () => await late.locator('#chat-log li').count() === 2);
    await until('three are counted', async () => await text(late, 'chat-count') === '3');
    for (const page of [front, late]) {
      assert.deepEqual(page.faults, []);
      await page.context().close();
    }
  }, CHAT),

  'two people meet at a table of the lobby and play': () => withTwoPeople(async (_server, ada, bob) => {
    await ada.click('#table-red button');
    await bob.locator('#table-red', { hasText: '1 of 2' }).waitFor();
    await bob.click('#table-red button');
    await ada.click('[data-hand=rock]');
    await bob.locator('#game-line', { hasText: 'The other one has chosen' }).waitFor();
    await bob.click('[data-hand=paper]');
    await bob.locator('#game-line', { hasText: 'you win' }).waitFor();
    await ada.locator('#game-line', { hasText: 'you lose' }).waitFor();
    await bob.click('#table-red button');
    await ada.locator('#game-line', { hasText: 'has left' }).waitFor();
  }, LOBBY),

  'the page of the tutorial works with another URL, from another origin': () => withTwoPeople(async (server, ada, bob) => {
    const url = server.url.replace('127.0.0.1', 'localhost');
    const pages = createServer((_request, response) => {
      response.setHeader('Content-Type', 'text/html').end(tutorial(url));
    }).listen(0, '127.0.0.1');
    await once(pages, 'listening');
    for (const page of [ada, bob]) await page.goto(`http://localhost:${pages.address().port}/`);
    await bob.waitForFunction('socket.connected');
    await ada.fill('#input', 'hi');
    await ada.click('button');
    for (const page of [ada, bob]) await page.locator('#messages li', { hasText: 'hi' }).waitFor();
    pages.close();
  }),

  'the event source of a browser follows more channels than it has connections, and misses nothing when it is cut': async () => {
    const server = await start('limits.event_stream_retry_ms=50');
    const proxy = await proxyTo(server.port);
    const pages = createServer((_request, response) => {
      response.setHeader('Content-Type', 'text/html').end('<!DOCTYPE html><title>A page</title>');
    }).listen(0, '127.0.0.1');
    await once(pages, 'listening');
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(`http://localhost:${pages.address().port}/`);
    const channels = Array.from({ length: 8 }, (_, number) => `c/${number}`);
    const query = channels.map((channel) => `channel=${encodeURIComponent(channel)}`).join('&');
    await page.evaluate((url) => {
      Object.assign(self, { events: [], resets: [], source: new EventSource(url) });
      self.source.addEventListener('message', ({ lastEventId, data }) => self.events.push([lastEventId, data]));
      self.source.addEventListener('reset', ({ data }) => self.resets.push(data));
    }, `${proxy.url}/events?${query}`);
    for (const channel of channels) await subscribers(server, encodeURIComponent(channel), 1);
    const told = () => page.evaluate('events');
    let expected = 0;
    for (let round = 0; round < 4; round += 1) {
      for (const [place, channel] of channels.entries()) {
        await publish(server, encodeURIComponent(channel), `${round}.${place}`);
        expected += 1;
        if (place === 3) {
          await until('the first ones are there', async () => (await told()).length >= expected);
          proxy.cut();
        }
      }
      await until('it came back', async () => (await told()).length === expected);
    }
    const events = await told();
    for (const channel of channels) {
      const offsets = events.map(([, data]) => JSON.parse(data)).filter((one) => one.channel === channel);
      assert.deepEqual(offsets.map(({ offset }) => offset), [1, 2, 3, 4]);
    }
    assert.equal(events.at(-1)[0].split(',').length, channels.length);
    assert.deepEqual(await page.evaluate('resets'), []);
    await context.close();
    pages.close();
    proxy.close();
    await server.stop();
  },

  'every page of the manual fits a phone, in light and dark, and asks for nothing but itself': async () => {
    const server = await start();
    for (const colorScheme of ['light', 'dark']) {
      const context = await browser.newContext({ viewport: { width: 375, height: 740 }, colorScheme });
      const page = await context.newPage();
      const faults = [];
      page.on('console', (line) => line.type() === 'error' && faults.push(line.text()));
      page.on('request', (request) => {
        const { origin, pathname } = new URL(request.url());
        if (request.url().startsWith('data:')) return;
        if (origin !== new URL(server.url).origin || !pathname.startsWith('/manual')) faults.push(request.url());
      });
      await page.goto(`${server.url}/manual`);
      const links = await page.locator('main dt a').evaluateAll((all) => all.map((link) => link.href));
      assert.ok(links.length >= 10, `${links}`);
      for (const link of [`${server.url}/manual/`, ...links]) {
        assert.equal((await page.goto(link)).status(), 200, link);
        const [wide, seen] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
        assert.ok(wide <= seen, `${link} is ${wide} wide`);
        const [ink, ground] = await page.evaluate(() => ['color', 'backgroundColor'].map((name) => {
          const style = getComputedStyle(name === 'color' ? document.querySelector('main p') : document.querySelector('main'));
          const [red, green, blue] = style[name].match(/[\d.]+/g).map(Number);
          return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
        }));
        assert.ok(Math.abs(ink - ground) > 90, `${link} can be read in ${colorScheme}`);
      }
      assert.deepEqual(faults, []);
      await context.close();
    }
    await server.stop();
  },

  'a page whose client is missing says how to get it': async () => {
    const server = await start('socketio.client_script=/dev/null');
    const page = await person(server, { path: LOBBY.path, ready: '#notice:not(:empty)' });
    assert.match(await text(page, 'notice'), /`npm install socket\.io-client`/);
    await page.context().close();
    await server.stop();
  },
};
// The connections of a crowd speak no TLS, and a server of which all do offers none.
if (SPEAKS_TLS) delete checks['a crowd comes, costs little, hears one message, and goes'];
await run(checks);

/** The page that Socket.IO's tutorial arrives at, but for its style. */
function tutorial(url) {
  return `<!DOCTYPE html>
<html>
  <head><title>Socket.IO chat</title></head>
  <body>
    <ul id="messages"></ul>
    <form id="form" action=""><input id="input" autocomplete="off" /><button>Send</button></form>
    <script src="${url}/socket.io/socket.io.js"></script>
    <script>
      var socket = io('${url}');
      var messages = document.getElementById('messages');
      var form = document.getElementById('form');
      var input = document.getElementById('input');
      form.addEventListener('submit', function(e) {
        e.preventDefault();
        if (input.value) {
          socket.emit('chat message', input.value);
          input.value = '';
        }
      });
      socket.on('chat message', function(msg) {
        var item = document.createElement('li');
        item.textContent = msg;
        messages.appendChild(item);
        window.scrollTo(0, document.body.scrollHeight);
      });
    </script>
  </body>
</html>`;
}
