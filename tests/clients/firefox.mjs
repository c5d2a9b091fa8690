// Headless Firefox as a client, without TLS and over TLS 1.3 and 1.2, with each way of compression. By hand:
//
//   node tests/clients/firefox.mjs      FIREFOX=/usr/bin/firefox-esr ROADSTEAD=target/debug/roadstead
//
// It needs Firefox (apt install firefox-esr), `npm ci` in this folder, openssl, and the program built. Firefox is driven by
// WebDriver BiDi, which it speaks itself: a page of the server is opened, and everything is done by a script within it.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import WebSocket from 'ws';
import { run } from './checks.mjs';
import { startWith } from './server.mjs';

const FIREFOX = process.env.FIREFOX ?? '/usr/bin/firefox-esr';
const SCRIPT = fileURLToPath(new URL('node_modules/socket.io-client/dist/socket.io.js', import.meta.url));
const TLS_12 = 3;
const TLS_13 = 4;

const folder = mkdtempSync(join(tmpdir(), 'roadstead-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
const [chain, key] = ['chain.pem', 'key.pem'].map((name) => join(folder, name));
execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
  '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-keyout', key, '-out', chain], { stdio: 'ignore' });

/** Firefox with nothing stored, that speaks TLS up to this version. */
async function firefox(version) {
  const profile = mkdtempSync(join(folder, 'profile-'));
  writeFileSync(join(profile, 'user.js'), `user_pref("security.tls.version.max", ${version});\n`
    + 'user_pref("datareporting.policy.dataSubmissionEnabled", false);\nuser_pref("network.captive-portal-service.enabled", false);\n'
    + 'user_pref("browser.safebrowsing.update.enabled", false);\nuser_pref("app.update.auto", false);\n');
  const flags = ['--headless', '--no-remote', '--profile', profile, '--remote-debugging-port', '0'];
  const child = spawn(FIREFOX, flags, { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, HOME: profile } });
  const exited = once(child, 'exit');
  let address;
  for await (const line of createInterface({ input: child.stderr })) {
    address = line.match(/WebDriver BiDi listening on (\S+)/)?.[1];
    if (address) break;
  }
  assert.ok(address, `${FIREFOX} does not speak WebDriver BiDi`);
  child.stderr.resume();
  const socket = new WebSocket(`${address}/session`);
  await once(socket, 'open');
  const waiting = new Map();
  socket.on('message', (data) => {
    const told = JSON.parse(data);
    const { resolve, reject } = waiting.get(told.id) ?? {};
    if (told.type === 'error') reject?.(new Error(`${told.error}: ${told.message}`));
    else resolve?.(told.result);
  });
  let number = 0;
  const ask = (method, params) => new Promise((resolve, reject) => {
    number += 1;
    waiting.set(number, { resolve, reject });
    socket.send(JSON.stringify({ id: number, method, params }));
  });
  // The certificate is nobody's whom Firefox knows.
  await ask('session.new', { capabilities: { alwaysMatch: { acceptInsecureCerts: true } } });
  const { contexts: [{ context }] } = await ask('browsingContext.getTree', {});
  return {
    /** Opens a page, and calls a function in it; what that returns. */
    async perform(url, work, ...given) {
      await ask('browsingContext.navigate', { context, url, wait: 'complete' });
      const told = await ask('script.callFunction', {
        functionDeclaration: `async (given) => JSON.stringify(await (${work})(...JSON.parse(given)))`,
        arguments: [{ type: 'string', value: JSON.stringify(given) }],
        awaitPromise: true,
        target: { context },
      });
      if (told.type !== 'success') throw new Error(told.exceptionDetails.text);
      return JSON.parse(told.result.value);
    },
    async stop() {
      child.kill('SIGTERM');
      await exited;
    },
  };
}

/** Within the page: everything a browser does with the server. What it found. */
async function work() {
  const base = location.origin.replace('http', 'ws');
  const within = (promise, what) => Promise.race([promise,
    new Promise((_, reject) => setTimeout(() => reject(new Error(`waited in vain for ${what}`)), 20000))]);
  const post = async (channel, body) => {
    const answer = await fetch(`/channels/${channel}`, { method: 'POST', body });
    if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
    return answer.json();
  };
  const open = async (path) => {
    const socket = new WebSocket(base + path);
    socket.binaryType = 'arraybuffer';
    const heard = [];
    const waiting = [];
    socket.onmessage = ({ data }) => (waiting.shift() ?? heard.push.bind(heard))(data);
    socket.next = () => within(heard.length ? Promise.resolve(heard.shift())
      : new Promise((resolve) => { waiting.push(resolve); }), `a message on ${path}`);
    await within(new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onerror = () => reject(new Error(`${path} is refused`));
    }), path);
    return socket;
  };
  const message = (number) => JSON.stringify({ number, items: Array.from({ length: 30 }, (_, n) => ({ n, price: number * 7 + n })) });

  const follower = await open('/channels/followed');
  for (let number = 0; number < 40; number += 1) await post('followed', message(number));
  for (let number = 0; number < 40; number += 1) {
    const heard = await follower.next();
    if (heard !== message(number)) throw new Error(`${heard} instead of message ${number}`);
  }
  const echo = await open('/echo');
  const texts = ['', 'x', 'grüße '.repeat(300), message(1), 'y'.repeat(70_000), Array.from({ length: 200 }, (_, n) => message(n)).join()];
  for (const text of texts) {
    echo.send(text);
    if (await echo.next() !== text) throw new Error(`a text of ${text.length} does not come back`);
  }
  const bytes = new Uint8Array(100_000).map((_, n) => (n * n) >> 3);
  echo.send(bytes);
  const back = new Uint8Array(await echo.next());
  if (back.length !== bytes.length || back.some((byte, at) => byte !== bytes[at])) throw new Error('bytes do not come back');

  const stream = new EventSource('/channels/streamed');
  await within(new Promise((resolve) => { stream.onopen = resolve; }), 'an event stream');
  const event = new Promise((resolve) => { stream.onmessage = ({ data }) => resolve(data); });
  await post('streamed', message(3));
  if (await within(event, 'an event') !== message(3)) throw new Error('the event is another');
  stream.close();
  const { epoch, offset } = await post('polled', 'before');
  const poll = fetch(`/channels/polled?timeout=20&since=${epoch}:${offset}`).then((answer) => answer.json());
  await post('polled', message(5));
  const { publications } = await within(poll, 'the answer to a poll');
  if (publications[0].data !== message(5)) throw new Error(JSON.stringify(publications));

  (0, eval)(await (await fetch('/socket.io/socket.io.js')).text());
  const players = ['websocket', 'polling'].map((first) => window.io({ transports: [first, 'websocket'], forceNew: true }));
  await within(Promise.all(players.map((player) => new Promise((resolve) => { player.on('connect', resolve); }))), 'Socket.IO');
  const told = players.map((player) => new Promise((resolve) => { player.on('news', resolve); }));
  players[0].emit('news', message(4));
  for (const heard of await within(Promise.all(told), 'an event of Socket.IO')) {
    if (heard !== message(4)) throw new Error('the event of Socket.IO is another');
  }
  players.forEach((player) => player.disconnect());
  const found = { extensions: [follower.extensions, echo.extensions], scheme: location.protocol };
  follower.close();
  echo.close();
  return found;
}

const MODES = ['off', 'shared', 'dedicated', 'channel'];

/** All ways of compression, with one Firefox; none where the version is 0. */
async function everything(version, modes) {
  const browser = await firefox(version || TLS_13);
  try {
    for (const mode of modes) {
      const tls = version ? ['--tls-cert', chain, '--tls-key', key] : [];
      const server = await startWith([...tls, '--set', `websocket.compression=${mode}`, '--set', `socketio.client_script=${SCRIPT}`]);
      const url = `http${version ? 's' : ''}://localhost:${server.port}/hello`;
      const found = await browser.perform(url, work);
      // Firefox tells a page the extension's name alone.
      const agreed = mode === 'off' ? '' : 'permessage-deflate';
      assert.deepEqual(found, { extensions: [agreed, agreed], scheme: `http${version ? 's' : ''}:` });
      await server.stop();
    }
  } finally {
    await browser.stop();
  }
}

await run({
  'everything, with each way of compression': () => everything(0, MODES),
  'everything over TLS 1.3': () => everything(TLS_13, MODES),
  'everything over TLS 1.2': () => everything(TLS_12, ['shared']),
});
