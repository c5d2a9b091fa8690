// Headless Chromium on the pages of the examples `sold` and `links`: two people see each other's doings at once, and a server
// that is started again has kept them.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { run } from './checks.mjs';

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  headless: true,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** Starts an example on a port, with a folder, and waits until it answers. */
async function start(name, port, folder) {
  const program = fileURLToPath(new URL(`../../target/debug/examples/${name}`, import.meta.url));
  const child = spawn(program, [`127.0.0.1:${port}`, folder], { stdio: ['ignore', 'inherit', 'inherit'] });
  const exited = once(child, 'exit');
  const url = `http://127.0.0.1:${port}/`;
  for (;;) {
    try {
      assert.equal((await fetch(url)).status, 200);
      break;
    } catch (error) {
      if (child.exitCode !== null) throw error;
      await new Promise((resolve) => { setTimeout(resolve, 50); });
    }
  }
  return {
    url,
    async stop() {
      child.kill('SIGTERM');
      const [code] = await exited;
      assert.equal(code, 0);
    },
  };
}

/** Two people on the page of an example, which is started again between two acts. */
async function twice(name, first, second) {
  const [folder, port] = [await mkdtemp(join(tmpdir(), 'roadstead-example-')), await freePort()];
  try {
    for (const act of [first, second]) {
      const server = await start(name, port, folder);
      const pages = await Promise.all([0, 1].map(async () => {
        const page = await (await browser.newContext()).newPage();
        page.setDefaultTimeout(20000);
        await page.goto(server.url);
        return page;
      }));
      try {
        await act(...pages);
      } finally {
        await Promise.all(pages.map((page) => page.context().close()));
        await server.stop();
      }
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const sees = (page, id, text) => page.waitForFunction(
  ([where, what]) => document.getElementById(where)?.textContent.includes(what), [id, text],
);

await run({
  async 'what is sold is counted by all, and counted on after a restart'() {
    await twice('sold', async (ann, bob) => {
      await sees(ann, 'sold', '0');
      await ann.click('#buy');
      await sees(bob, 'sold', '1');
      await bob.click('#buy');
      await sees(bob, 'told', 'yours is number 2');
      await sees(ann, 'sold', '2');
    }, async (ann, bob) => {
      await sees(ann, 'sold', '2');
      await ann.click('#buy');
      await sees(bob, 'sold', '3');
    });
  },

  async 'a link that one keeps is seen by the other, and is there after a restart'() {
    const keep = async (page, text) => {
      await page.waitForSelector('body[data-ready="true"]');
      await page.fill('#text', text);
      await page.click('button');
      await sees(page, 'told', 'kept as');
      return (await page.locator('#told').innerText()).replace('kept as ', '');
    };
    let name;
    await twice('links', async (ann, bob) => {
      await bob.waitForSelector('body[data-ready="true"]');
      name = await keep(ann, 'a text of two lines\nand this is the second');
      await bob.waitForSelector(`#l-${name}`);
      assert.match(await bob.locator(`#l-${name}`).innerText(), /a text of two lines/);
    }, async (ann, bob) => {
      await ann.click(`#l-${name} a`);
      await ann.waitForFunction(() => document.body.innerText.includes('and this is the second'));
      const other = await keep(bob, 'https://example.com/');
      assert.notEqual(other, name);
    });
  },
});
