// Programs written for Socket.IO, once with npm's package and once under `roadstead run`: with the same clients doing the same,
// everybody hears the same. The first argument keeps only the checks whose name contains it.

import assert from 'node:assert/strict';
import { run } from '../checks.mjs';
import { frameChecks } from './frames.mjs';
import { own } from './own.mjs';
import { ways } from './people.mjs';
import { scripts } from './scripts.mjs';
import { start } from './sides.mjs';

/** What a script sees on a side. */
async function seen(side, name, way) {
  const program = await start(side, name);
  try {
    return structuredClone(await scripts[name](program, way));
  } catch (error) {
    throw new Error(`${side}: ${error.message}\n${program.output()}${program.log.join('\n')}`, { cause: error });
  } finally {
    await program.stop();
  }
}

const checks = {};
for (const name of Object.keys(scripts)) {
  for (const way of Object.keys(ways)) {
    // A poll that npm's server cuts off is an error to its client; here it is answered first.
    if (name === 'closing.js' && way === 'polling') continue;
    checks[`${name} does under roadstead what it does with npm's socket.io (${way})`] = async () => {
      const [expected, found] = await Promise.all(['npm', 'roadstead'].map((side) => seen(side, name, way)));
      assert.deepEqual(found, expected);
    };
  }
}
Object.assign(checks, own, frameChecks);
const wanted = process.argv[2] ?? '';
await run(Object.fromEntries(Object.entries(checks).filter(([name]) => name.includes(wanted))));
