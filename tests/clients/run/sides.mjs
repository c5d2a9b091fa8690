// A program on two sides: with npm's socket.io on Node.js alone, and unchanged under `roadstead run`.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const ROADSTEAD = process.env.ROADSTEAD ?? fileURLToPath(new URL('../../../target/debug/roadstead', import.meta.url));

const running = new Set();
process.once('exit', () => running.forEach((child) => child.kill('SIGKILL')));

export const sides = {
  npm: (program, args) => [process.execPath, [program, ...args]],
  roadstead: (program, args) => [ROADSTEAD, ['run', '--shards', '2', '--admin', '127.0.0.1:0', '--set', 'server.drain_ms=100', program, '--', ...args]],
};

/** The path of a program beside this file. */
export function programOf(name) {
  return fileURLToPath(new URL(`programs/${name}`, import.meta.url));
}

/**
 * Starts a program, which says `listening PORT`, on a side. `url` is where it is reached, `log` are its lines that begin with
 * `log`, `output()` is what else it writes, and `stop()` ends it and checks that it ended well.
 */
export async function start(side, name, { env = {} } = {}) {
  const [command, args] = sides[side](programOf(name), ['0']);
  const loads = name.endsWith('.ts') ? { NODE_OPTIONS: `--import=${import.meta.resolve('tsx')}` } : {};
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...loads, ...env } });
  const exited = once(child, 'exit');
  running.add(child);
  exited.then(() => running.delete(child));
  const log = [];
  let text = '';
  child.stderr.on('data', (piece) => { text += piece; });
  const port = await new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line.startsWith('log ')) log.push(line.slice(4));
      else if (line.startsWith('listening ') && /^\d+$/.test(line.slice(10))) resolve(Number(line.slice(10)));
      else text += `${line}\n`;
    });
    exited.then(([code]) => reject(new Error(`${side} of ${name} ended with ${code}:\n${text}`)));
  });
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    log,
    child,
    /** With which code it ends of itself. */
    ended: exited.then(([code]) => code),
    output: () => text,
    async stop() {
      child.kill('SIGTERM');
      const [code] = await exited;
      if (side === 'roadstead' && code !== 0) throw new Error(`the server ended with ${code}:\n${text}`);
    },
  };
}
