// The stock client of Socket.IO, npm's current one and the oldest of its major version, against the fixture in
// tests/socketio: by WebSocket only, by polling only, and changing from one to the other.
//
// SOCKETIO_FIXTURE may name another program than the one `cargo test` has built; the first argument keeps only the
// checks whose name contains it.

import { run } from '../checks.mjs';
import { crowds } from './crowds.mjs';
import { current, oldest } from './client.mjs';
import { start } from './fixture.mjs';
import { losses } from './losses.mjs';
import { newest } from './newest.mjs';
import { recovery } from './recovery.mjs';
import { basics } from './basics.mjs';
import { upgrades } from './upgrades.mjs';

const server = await start('shards=4');
const checks = {};
for (const version of [oldest, current]) {
  for (const way of ['websocket', 'polling', 'upgrade']) {
    for (const [name, check] of Object.entries(basics)) {
      checks[`${name} (${version.name}, ${way})`] = () => check(version.clients(server.url, way));
    }
  }
}
for (const way of ['websocket', 'polling', 'upgrade']) {
  for (const group of [newest, losses, recovery, upgrades]) {
    for (const [name, check] of Object.entries(group)) checks[`${name} (${way})`] = () => check(current, way, server);
  }
}
Object.assign(checks, crowds);
checks['the server for all these ends well'] = () => server.stop();
const wanted = process.argv[2] ?? '';
await run(Object.fromEntries(Object.entries(checks).filter(([name]) => name.includes(wanted))));
