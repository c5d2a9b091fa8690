// Starts the program for a check, and ends it: that of `cargo build`, or the one ROADSTEAD names. Ports are always
// free ones.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const PROGRAM = process.env.ROADSTEAD ?? fileURLToPath(new URL('../../target/debug/roadstead', import.meta.url));

/** With ROADSTEAD_TEST_TLS=1 every server here speaks TLS, with the certificate that `tests/clients/tls` has made. */
export const SPEAKS_TLS = process.env.ROADSTEAD_TEST_TLS === '1';

/** What makes a server speak it, if all do. */
export const TLS = SPEAKS_TLS
  ? ['--tls-cert', process.env.ROADSTEAD_TEST_TLS_CERT, '--tls-key', process.env.ROADSTEAD_TEST_TLS_KEY] : [];

const running = new Set();
process.once('exit', () => running.forEach((child) => child.kill('SIGKILL')));

/** A running server: `url`, `port`, `admin`, and `stop()`, which fails unless the server ends with code 0. */
export async function start(...settings) {
  const set = settings.flatMap((setting) => ['--set', setting]);
  const flags = ['--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0', '--shards', '2', '--set', 'server.drain_ms=100', ...TLS, ...set];
  return launch(PROGRAM, flags);
}

/** The same with any flags. */
export async function startWith(flags) {
  const own = ['--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0', '--shards', '2', '--set', 'server.drain_ms=100'];
  const tls = flags.includes('--tls-cert') ? [] : TLS;
  return launch(PROGRAM, [...own, ...tls, ...flags]);
}

/** Starts a program that says where it listens as roadstead does: lines `listening URL` and `admin URL`, then `try:`. */
export async function launch(program, flags) {
  // What tests are told in the environment is no setting of a server.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('ROADSTEAD_TEST_')));
  const child = spawn(program, flags, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  child.stderr.on('data', (text) => { log += text; });
  const exited = once(child, 'exit');
  running.add(child);
  exited.then(() => running.delete(child));

  const banner = [];
  for await (const line of createInterface({ input: child.stdout })) {
    banner.push(line);
    if (line === 'try:') break;
  }
  child.stdout.resume();
  const word = (name) => {
    const line = banner.find((line) => line.trim().startsWith(name));
    if (!line) throw new Error(`the server did not start:\n${banner.join('\n')}\n${log}`);
    return line.trim().split(/\s+/)[1];
  };
  const url = word('listening');
  return {
    url,
    admin: word('admin'),
    port: Number(new URL(url).port),
    /** Has what stands in the program's file now take the server's place, and waits until it serves. */
    async upgrade() {
      const count = () => log.split('the new version serves').length;
      const before = count();
      child.kill('SIGUSR2');
      await until('the new version serves', () => count() > before, 40000);
    },
    /** Asks the server to drain, and checks that it ended well. */
    async stop() {
      child.kill('SIGTERM');
      const [code] = await exited;
      if (code !== 0 || log.includes('panicked')) throw new Error(`the server ended with ${code}:\n${log}`);
    },
  };
}

/** Publishes; the answer. */
export async function publish(server, channel, body, headers = {}) {
  const answer = await fetch(`${server.url}/channels/${channel}`, { method: 'POST', body, headers });
  if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);
  return answer.json();
}

/** Waits until a channel has so many subscribers. */
export async function subscribers(server, channel, count) {
  await until(`${channel} has ${count} subscribers`, async () => {
    const info = await (await fetch(`${server.url}/channels/${channel}/info`)).json();
    return info.subscribers === count;
  });
}

/** Asks again and again until it is so. */
export async function until(what, isSo, ms = 15000) {
  const end = Date.now() + ms;
  while (!await isSo()) {
    if (Date.now() > end) throw new Error(`waited ${ms} ms in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
