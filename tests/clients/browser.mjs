// Headless Chromium on the demo page: two people chat, count, and see three transports at work.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { run } from './checks.mjs';
import { start, until } from './server.mjs';

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  headless: true,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});

const LANES = ['websocket', 'eventsource', 'longpoll'];

/** Opens the demo page as one person with nothing stored; `faults` keeps whatever the page complains of. */
async function person(server) {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.setDefaultTimeout(20000);
  page.faults = [];
  page.on('pageerror', (error) => page.faults.push(String(error)));
  page.on('console', (line) => line.type() === 'error' && page.faults.push(line.text()));
  await page.goto(server.url);
  await page.waitForSelector('body[data-ready="true"]');
  return page;
}

const text = (page, id) => page.locator(`#${id}`).innerText();
const number = async (page, id) => Number((await text(page, id)).replace(/\D/g, ''));

/** Runs a check with a server and two people, and shows the pages if it fails. */
async function withTwoPeople(check) {
  const server = await start();
  const people = [await person(server), await person(server)];
  try {
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

await run({
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

  'all three transports deliver, with their latency': () => withTwoPeople(async (_server, ada, bob) => {
    for (let sent = 1; sent <= 3; sent += 1) {
      await ada.click('#lanes-send');
      for (const page of [ada, bob]) {
        for (const lane of LANES) {
          await until(`${lane} shows ${sent}`, async () => await number(page, `lane-${lane}-count`) === sent);
        }
      }
    }
    for (const lane of LANES) {
      assert.equal(await ada.locator(`#lane-${lane}-state`).getAttribute('data-state'), 'live');
      const latency = Number(await text(ada, `lane-${lane}-p50`));
      assert.ok(latency > 0 && latency < 5000, `${lane} took ${latency} ms`);
      assert.match(await bob.locator(`#lane-${lane}-list li`).first().innerText(), /from elsewhere/);
    }
  }),

  'the page tells how many are connected and over how many shards': () => withTwoPeople(async (server, ada) => {
    await until('both people are counted', async () => await number(ada, 'stat-connections') >= 6);
    assert.equal(await number(ada, 'stat-shards'), 2);
    const { connections } = await (await fetch(`${server.url}/demo/stats`)).json();
    assert.ok(connections >= 7, `${connections}`);
  }),

  'dropped connections come back and recover what was missed': () => withTwoPeople(async (_server, ada, bob) => {
    await ada.click('#lanes-send');
    await until('all lanes have it', async () => await number(ada, 'lane-longpoll-count') === 1);
    await ada.click('#recovery-drop');
    await bob.click('#counter-press');
    await bob.fill('#chat-text', 'while you were away');
    await bob.click('#chat-send');
    await ada.locator('#chat-log li', { hasText: 'while you were away' }).waitFor();
    await until('the counter came back', async () => await number(ada, 'counter-value') === 1);
    await until('everything is live again', async () => {
      const states = await Promise.all(['live-state', ...LANES.map((lane) => `lane-${lane}-state`)]
        .map((id) => ada.locator(`#${id}`).getAttribute('data-state')));
      return states.every((state) => state === 'live');
    });
    const recovered = ada.locator('#recovery-log li[data-recovered="true"]');
    await until('recoveries are told', async () => await recovered.count() >= 3);
    await bob.click('#lanes-send');
    await until('all lanes hear again', async () => await number(ada, 'lane-websocket-count') === 2
      && await number(ada, 'lane-eventsource-count') === 2 && await number(ada, 'lane-longpoll-count') === 2);
    // A browser says in its console that a connection was cut; here that was the intention.
    ada.faults.length = 0;
  }),
});
