// A Redis of a check's own, or what ROADSTEAD_TEST_REDIS names, on a socket's file in a folder of its own, gone with the checks.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { until } from '../server.mjs';

/** A running Redis: `path` of its socket, `ask(word, …)`, and `stop()`. */
export async function startRedis() {
  const folder = mkdtempSync(join(tmpdir(), 'roadstead-cluster-'));
  const path = join(folder, 'redis.sock');
  const program = process.env.ROADSTEAD_TEST_REDIS ?? 'redis-server';
  const child = spawn(program, ['--port', '0', '--save', '', '--unixsocket', path, '--dir', folder], { stdio: 'ignore' });
  process.once('exit', () => {
    child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });
  const client = new Redis(path, { retryStrategy: () => 20 });
  client.on('error', () => {});
  await until('Redis answers', async () => await client.ping().catch(() => '') === 'PONG');
  return {
    path,
    url: `unix:${path}`,
    ask: (...words) => client.call(...words),
    stop: () => client.disconnect(),
  };
}
