// A new version of the server in place of the old: a client comes back to it as who it was.

import assert from 'node:assert/strict';
import { start, until } from '../server.mjs';
import { isSettled } from './client.mjs';

const QUICK = { reconnectionDelay: 20, reconnectionDelayMax: 50, randomizationFactor: 0 };

/** Says something to a room, again and again where the answer does not come. */
async function say(server, room, ...args) {
  const body = JSON.stringify({ rooms: [room], event: 'said', args });
  const headers = { 'Content-Type': 'application/json' };
  await until('it is said', async () => {
    const answer = await fetch(`${server.url}/socket.io-api/emit`, { method: 'POST', headers, body }).catch(() => {});
    return answer?.status === 202;
  }, 40000);
}

export const upgrades = {
  'a client comes back to the next version as who it was, and has heard everything once': async (version, way) => {
    const server = await start('socketio.connection_state_recovery_ms=600000', 'limits.history_publications_max=1000');
    const clients = version.clients(server.url, way);
    try {
      const socket = await clients.connect('/', QUICK);
      const { id } = socket;
      assert.deepEqual(await socket.emitWithAck('join', 'lobby'), { room: 'lobby' });
      let isOver = false;
      const saying = (async () => {
        for (let number = 0; !isOver; number += 1) {
          await say(server, 'lobby', number);
          await new Promise((resolve) => setTimeout(resolve, 10));
        }
        await say(server, 'lobby', 'last');
      })();
      for (let round = 1; round <= 2; round += 1) {
        await server.upgrade();
        await until('it is back', () => socket.reasons.length >= round && isSettled(socket));
        assert.deepEqual([socket.recovered, socket.id], [true, id], `round ${round}`);
      }
      isOver = true;
      await saying;
      await until('all has come', () => socket.heard.at(-1)?.[1] === 'last');
      const history = await (await fetch(`${server.url}/channels/lobby/history?limit=1000`)).json();
      const heard = socket.heard.map((args) => args.slice(0, -1));
      // One whose answer was lost was said again.
      assert.deepEqual(heard, history.publications.map((one) => one.data).slice(0, heard.length));
      await server.stop();
    } finally {
      clients.close();
    }
  },
};
