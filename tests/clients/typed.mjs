// Types what stands in the manual: its blocks, a shell that runs them, and what is shown of their output.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { until } from './server.mjs';

export const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const PROGRAM = process.env.ROADSTEAD ?? here('../../target/debug/roadstead');
/** What the shell prints behind the output of a command, before its status. */
const END = 'the command has ended:';

/** The fenced blocks of a page: their language, what stands behind that, their heading and text. */
export function blocks(page) {
  const found = [];
  let [heading, open] = ['', null];
  for (const line of readFileSync(here(`../../src/manual/${page}.md`), 'utf8').split('\n')) {
    if (line.startsWith('```')) {
      const [language, ...note] = line.slice(3).split(' ');
      if (open) found.push(open);
      open = open ? null : { heading, language, note: note.join(' '), text: '' };
    } else if (open) open.text += `${line}\n`;
    else if (line.startsWith('#')) heading = line.replace(/^#+ /, '');
  }
  return found;
}

/** Whether a text is what a pattern shows, in which `…` stands for anything. */
export function shows(pattern, text) {
  const parts = pattern.split('…').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${parts.join('[^]*')}$`).test(text);
}

/** The commands of a console, each with what stands below it. */
export function commands({ text }) {
  return text.split(/^\$ /m).slice(1).map((one) => {
    const [command, ...shown] = one.trimEnd().split('\n');
    return [command, shown.join('\n')];
  });
}

export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** Whether somebody listens there. */
export const listens = (port) => new Promise((resolve) => {
  const socket = connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true); }).on('error', () => resolve(false));
});

const [folders, children] = [new Set(), new Set()];
process.once('exit', () => {
  for (const child of children) try { process.kill(-child.pid, 'SIGKILL'); } catch { /* it has ended */ }
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** A folder of its own with the program in `bin`, and one shell in it. */
export class Desk {
  constructor(environment = {}) {
    this.folder = mkdtempSync(join(tmpdir(), 'roadstead-typed-'));
    folders.add(this.folder);
    this.put('bin');
    const path = `${join(this.folder, 'bin')}:${process.env.PATH}:${here('../manual/bin')}`;
    this.environment = { PATH: path, ...environment };
    this.shell = this.start('bash', ['--noprofile', '--norc']);
  }

  /** A copy of the program in a folder below: what is done to it is done to no other. */
  put(name) {
    mkdirSync(join(this.folder, name));
    copyFileSync(PROGRAM, join(this.folder, name, 'roadstead'));
  }

  /** A process whose output is kept; it ends with this one, and so does what it has started. */
  start(program, args, options = {}) {
    const child = spawn(program, args, { cwd: this.folder, env: this.environment, detached: true, ...options });
    child.output = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => { child.output += text; });
    children.add(child);
    once(child, 'exit').then(() => children.delete(child), () => children.delete(child));
    return child;
  }

  /** Types a command, and waits for its end: its status and what it printed. */
  async type(command) {
    const from = this.shell.output.length;
    this.shell.stdin.write(`{ ${command}\n} 2>&1 </dev/null; echo; echo '${END}' $?\n`);
    const ended = () => this.shell.output.slice(from).match(new RegExp(`([^]*)\n${END} (\\d+)\n`));
    await until(`this has ended: ${command}`, ended, 40000);
    return { status: Number(ended()[2]), output: ended()[1].trim() };
  }

  /** What has been written to a file there. */
  read(name) {
    return readFileSync(join(this.folder, name), 'utf8');
  }

  /** Ends everything in it. */
  close() {
    try { process.kill(-this.shell.pid, 'SIGKILL'); } catch { /* it has ended */ }
  }
}
