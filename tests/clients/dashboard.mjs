// Headless Chromium on the dashboard: what it shows under load, in light and dark and on a phone, and to whom.

import assert from 'node:assert/strict';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import WebSocket from 'ws';
import { run } from './checks.mjs';
import { assertContrast, assertFits, assertKeyboard, assertNothingForeign, open } from './page.mjs';
import { start, until } from './server.mjs';

const READY = 'body[data-ready="true"]';
const text = (page, id) => page.locator(`#${id}`).innerText();

/** A server that some follow, somebody publishes to, and is refused something. */
async function busy(check, ...settings) {
  const server = await start(...settings);
  const pages = [];
  const show = async (options) => {
    const page = await open(`${server.admin}/dashboard`, options);
    pages.push(page);
    return page;
  };
  const sockets = Array.from({ length: 20 }, () => new WebSocket(`${server.url.replace('http', 'ws')}/channels/prices`));
  await Promise.all(sockets.map((socket) => new Promise((resolve) => { socket.onopen = resolve; })));
  const publish = (body) => fetch(`${server.url}/channels/prices`, { method: 'POST', body });
  try {
    await check(server, show, publish);
    for (const page of pages) assert.deepEqual(page.faults, []);
  } catch (error) {
    const folder = await mkdtemp(join(tmpdir(), 'roadstead-'));
    await Promise.all(pages.map((page, at) => page.screenshot({ path: join(folder, `${at}.png`), fullPage: true })));
    error.stack += `\nwhat the pages complained of: ${JSON.stringify(pages.map((page) => page.faults))}\nscreenshots are in ${folder}`;
    throw error;
  } finally {
    await Promise.all(pages.map((page) => page.context().close()));
    for (const socket of sockets) socket.terminate();
    await server.stop();
  }
}

await run({
  'the dashboard shows load, the busiest channel, and what was refused with its setting': () => busy(async (server, show, publish) => {
    const page = await show();
    await page.waitForSelector(READY);
    await until('all connections are counted', async () => Number((await text(page, 'now-connections')).replace(/\D/g, '')) >= 21);
    await publish('x'.repeat(2000));
    await until('the channel is the busiest', async () => {
      await publish('1');
      return (await page.locator('#busiest tr').first().innerText()).startsWith('prices');
    });
    await until('the refusal is told', async () => (await text(page, 'troubles')).includes('requests too large'));
    assert.match(await text(page, 'troubles'), /limits\.body_bytes_max = 1024/);
    assert.match(await text(page, 'events'), /1 requests too large/);
    assert.equal(await page.locator('#shards tr').count(), 2);
    assert.ok(await page.locator('#tls').isHidden() && await page.locator('#presence').isHidden(), 'nobody speaks TLS or is present');
    const line = await page.locator('#chart-connections path.line').getAttribute('d');
    assert.match(line, /^M[\d. ]+L/);
    assertNothingForeign(page, server.admin);
  }, 'limits.body_bytes_max=1024', 'limits.publication_bytes_max=1024'),

  'it is readable in light and dark, wide and on a phone': () => busy(async (_server, show, publish) => {
    await publish('x');
    for (const colorScheme of ['light', 'dark']) {
      for (const width of [1280, 390]) {
        const page = await show({ colorScheme, viewport: { width, height: 800 } });
        await page.waitForSelector(READY);
        await assertContrast(page);
        await assertFits(page);
      }
    }
  }),

  'it is used by keyboard alone': () => busy(async (_server, show) => {
    const page = await show();
    await page.waitForSelector(READY);
    await assertKeyboard(page);
    await page.focus('#span-hour');
    await page.keyboard.press('Enter');
    assert.equal(await page.getAttribute('#span-hour', 'aria-pressed'), 'true');
    assert.equal(await page.locator('figure .axis').first().innerText(), '1 h ago\nnow');
  }),

  'where operators need a key the page asks for it and says nothing before': () => busy(async (server, show) => {
    const page = await show();
    await page.waitForSelector('#key-form:not([hidden])');
    assert.equal(await text(page, 'now-connections'), '–');
    await assertContrast(page);
    await page.fill('#key', 'wrong');
    await page.keyboard.press('Enter');
    await until('the page says what is wrong', async () => (await text(page, 'key-notice')).includes('server.admin_keys'));
    await page.fill('#key', 'k');
    await page.keyboard.press('Enter');
    await page.waitForSelector(READY);
    assert.ok(await page.locator('#key-form').isHidden());
    assert.ok(page.requests.every((url) => !url.includes('wrong')), 'no key stands in an address');
    // A browser tells its console of each refusal.
    page.faults.length = 0;
    assert.equal((await fetch(`${server.admin}/dashboard/live`)).status, 401);
  }, 'server.admin_keys=["k"]'),
});
