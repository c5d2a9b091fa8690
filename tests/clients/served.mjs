// Commands of the manual that start servers: each block is typed as it stands there, in a folder of its own, with free ports in
// place of the page's. What goes on until it is ended goes on in the background once it listens, or follows.

import assert from 'node:assert/strict';
import { run } from './checks.mjs';
import { until } from './server.mjs';
import { Desk, blocks, freePort, listens } from './typed.mjs';

const OURS = '(run by tests/clients/served.mjs)';
const PAGES = ['permissions', 'compression', 'nodes', 'storage', 'tls'];

/** The lines of a script, those that a backslash goes on in put together. */
const lines = (text) => text.replaceAll(/\\\n\s*/g, ' ').split('\n').filter((line) => line.trim());

async function served(block) {
  const ports = new Map([['8080', await freePort()], ['6379', await freePort()]]);
  for (const [, port] of block.text.matchAll(/:(\d{4})\b/g)) if (!ports.has(port)) ports.set(port, await freePort());
  const desk = new Desk({
    ROADSTEAD_SERVER__LISTEN: `127.0.0.1:${ports.get('8080')}`, ROADSTEAD_SERVER__ADMIN: '127.0.0.1:0', ROADSTEAD_SERVER__SHARDS: '2',
  });
  const substitute = (text) => [...ports].reduce((text, [from, to]) => text.replaceAll(new RegExp(`(:|--port )${from}\\b`, 'g'), `$1${to}`), text)
    .replaceAll('/var/lib/roadstead', `${desk.folder}/store`);
  await desk.type(`curl() { command curl -sS --fail-with-body --max-time 20 "$@"; }
    redis-cli() { command redis-cli -p ${ports.get('6379')} "$@"; }`);
  const redis = async () => {
    await desk.type(`redis-server --port ${ports.get('6379')} --save '' >redis.log 2>&1 &`);
    await until('Redis listens', () => listens(ports.get('6379')));
  };
  if (block.text.includes('redis-cli')) await redis();

  const followers = [];
  for (const [number, line] of lines(substitute(block.text)).entries()) {
    const command = line.replace(/ &$/, '');
    const log = `log-${number}`;
    if (command.startsWith('redis-server')) await redis();
    else if (/^roadstead( --|$)/.test(command)) {
      await desk.type(`${command} >${log} 2>&1 &`);
      await until(`it serves: ${command}\n`, () => desk.read(log).includes('\ntry:\n'));
    } else if (/^curl -N /.test(command)) {
      await desk.type(`${command} >${log} 2>&1 &`);
      const [url] = command.match(/http[^ ']*/);
      await until('it follows', async () => (await (await fetch(`${url}/info`)).json()).subscribers > 0);
      followers.push(log);
    } else {
      const { status, output } = await desk.type(command);
      assert.equal(status, 0, `${command}\n${output}`);
    }
  }
  for (const log of followers) await until('it is heard', () => desk.read(log).includes('data: hello'));
  desk.close();
}

const checks = {};
for (const page of PAGES) {
  for (const block of blocks(page).filter(({ note }) => note === OURS)) {
    checks[`${page}, ${block.heading}: ${lines(block.text)[0].slice(0, 60)}`] = () => served(block);
  }
}
assert.ok(Object.keys(checks).length >= PAGES.length, `${Object.keys(checks)}`);
await run(checks);
