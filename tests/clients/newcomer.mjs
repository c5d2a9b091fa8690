// A newcomer's first day, by the manual's own text: what stands on the page `first-day` is typed as it stands there, and does what
// the page says. Ports are free ones, and curl is told where the public name leads.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import WebSocket from 'ws';
import { run } from './checks.mjs';
import { until } from './server.mjs';
import { Desk, blocks, commands, freePort, here, shows } from './typed.mjs';

const NGINX = ['/usr/sbin/nginx', '/usr/bin/nginx'].find(existsSync);
const [clients, admin, proxied] = [await freePort(), await freePort(), await freePort()];
// What is not in the newcomer's file: there the page has the default, and clients as patient.
const desk = new Desk({ ROADSTEAD_SERVER__ADMIN: `127.0.0.1:${admin}`, ROADSTEAD_SERVER__DRAIN_MS: '1000' });
const { folder } = desk;
desk.put('downloads');
await desk.type(`curl() { command curl --resolve chat.example.org:${proxied}:127.0.0.1 "$@"; }`);

const substitute = (text) => text.replaceAll(':8080', `:${clients}`)
  .replaceAll('http://chat.example.org/', `http://chat.example.org:${proxied}/`);

async function runConsole(block) {
  for (const [command, shown] of commands(block)) {
    const { output } = await desk.type(substitute(command));
    assert.ok(shows(shown, output), `$ ${command}\nprinted\n${output}\ninstead of\n${shown}`);
  }
}

async function runScript(text) {
  const { status, output } = await desk.type(substitute(text));
  assert.equal(status, 0, output);
}

const page = blocks('first-day');
const under = (heading, language) => page.filter((block) => block.heading === heading && block.language === language);
const info = async () => (await fetch(`http://127.0.0.1:${clients}/channels/lobby/info`)).json();
const log = () => desk.read('serve.log');
let player;

await run({
  async 'the page says all that a newcomer types'() {
    assert.deepEqual(page.map(({ language }) => language), ['sh', 'console', 'console', 'console', 'ws', 'js', 'console', 'console', 'console', 'sh', 'console']);
  },

  async 'a configuration is written, and a server started by it'() {
    const [block] = under('A configuration', 'sh');
    // The shell does not wait for it; what it says is not what the shell says.
    await runScript(block.text.replace(/ &$/m, ' >serve.log 2>&1 &'));
    await until('it serves', async () => fetch(`http://127.0.0.1:${admin}/readyz`).then(({ ok }) => ok, () => false));
  },

  async 'five tongues follow one channel, and hear what somebody with the key says'() {
    const heading = 'One channel, five tongues';
    const consoles = under(heading, 'console');
    const publishing = consoles.pop();
    const following = consoles.map((block) => {
      const [[command, shown]] = commands(block);
      return { shown, child: desk.start('bash', ['--noprofile', '--norc', '-c', substitute(command)]) };
    });
    const [dialogue] = under(heading, 'ws');
    const socket = new WebSocket(`ws://127.0.0.1:${clients}/ws`);
    const heard = [];
    socket.on('message', (data) => heard.push(data.toString()));
    await once(socket, 'open');
    const lines = dialogue.text.trimEnd().split('\n');
    for (const line of lines.filter((line) => line.startsWith('> '))) socket.send(line.slice(2));
    const [{ text }] = under(heading, 'js');
    player = desk.start('node', ['--input-type=module', '-e', substitute(text)], { cwd: here('.') });
    await until('all five follow', async () => (await info()).subscribers === 5);
    await until('the client of Socket.IO is told so', () => player.output === 'in lobby\n');

    await runConsole(publishing);
    for (const { shown, child } of following) {
      // A stream goes on behind what is shown of it.
      const isHeard = () => shows(`${shown}…`, child.output);
      await until(`this is heard:\n${shown}`, isHeard).catch(({ message }) => assert.fail(`${message}\ninstead of\n${child.output}`));
    }
    const expected = lines.filter((line) => line.startsWith('< ')).map((line) => line.slice(2));
    await until('/ws has said all', () => heard.length === expected.length);
    expected.forEach((shown, at) => assert.ok(shows(shown, heard[at]), `${heard[at]} instead of ${shown}`));
    await until('Socket.IO has', () => player.output === 'in lobby\nheard hello\n');
    socket.close();
    // The long poll has ended by itself.
    for (const { child } of following.filter(({ child }) => child.exitCode === null)) process.kill(-child.pid);
  },

  async 'a channel of a user is that user\'s alone'() {
    await runConsole(under('A permission', 'console')[0]);
  },

  async 'nginx stands before it as the manual configures that'() {
    const sites = substitute(blocks('proxy').filter(({ language }) => language === 'nginx').map(({ text }) => text).join('\n'))
      .replace('listen 80;', `listen 127.0.0.1:${proxied};`)
      .replace('listen 81;', `listen unix:${folder}/81;`);
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`).join('\n');
    writeFileSync(join(folder, 'nginx.conf'), `daemon off;\npid ${folder}/pid;\nerror_log stderr crit;\nevents {}\nhttp {\naccess_log off;\n${temporary}\n${sites}\n}\n`);
    const nginx = desk.start(NGINX, ['-e', 'stderr', '-c', join(folder, 'nginx.conf')]);
    const answers = () => fetch(`http://127.0.0.1:${proxied}/`).then(() => true, () => nginx.exitCode !== null);
    await until('nginx listens', answers);
    assert.equal(nginx.exitCode, null, nginx.output);
    await runConsole(under('A proxy', 'console')[0]);
    await until('who follows hears it, too', () => player.output.endsWith('heard by nginx\n'));
  },

  async 'a new version goes on where the old one was, and a client of Socket.IO stays'() {
    await runScript(under('A new version', 'sh')[0].text);
    assert.match(log(), /the new version serves/);
    await runConsole(under('A new version', 'console')[0]);
    await until('it hears what is said then', () => player.output.endsWith('heard by nginx\nheard on we go\n'));
  },

  async 'a day ends as it began'() {
    player.kill();
    const { status, output } = await desk.type('kill %1; wait %1');
    assert.equal(status, 0, output + log());
    desk.close();
  },
});
