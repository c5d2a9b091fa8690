// A new version of the server in place of the old: a client stays connected, on a WebSocket or polling, and so does the backend.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { start, until } from '../server.mjs';
import { isSettled } from './client.mjs';

const QUICK = { reconnectionDelay: 20, reconnectionDelayMax: 50, randomizationFactor: 0 };
const KEEPING = ['socketio.connection_state_recovery_ms=600000', 'limits.history_publications_max=1000'];

/** A backend: all that it says goes over one connection, and takes effect in its order. */
class Backend {
  static async of(server) {
    const { protocol } = new URL(server.url);
    const http = await import(protocol === 'https:' ? 'node:https' : 'node:http');
    return new Backend(server, http);
  }

  constructor(server, http) {
    this.url = `${server.url}/socket.io-api/emit`;
    this.http = http;
    this.agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    this.ports = new Set();
  }

  /** Says something to rooms, and has that taken. */
  async say(said) {
    const headers = { 'Content-Type': 'application/json' };
    const request = this.http.request(this.url, { method: 'POST', headers, agent: this.agent });
    request.end(JSON.stringify(said));
    const [answer] = await once(request, 'response');
    this.ports.add(answer.socket.localPort);
    answer.resume();
    await once(answer, 'end');
    assert.equal(answer.statusCode, 202);
  }

  /** Nobody has cut it. */
  check() {
    assert.equal(this.ports.size, 1);
    this.agent.destroy();
  }
}

export const upgrades = {
  'a client is with the next version who it was, and has heard everything once': async (version, way) => {
    const server = await start(...KEEPING);
    const clients = version.clients(server.url, way);
    try {
      const [socket, backend] = [await clients.connect('/', QUICK), await Backend.of(server)];
      const { id } = socket;
      assert.deepEqual(await socket.emitWithAck('join', 'lobby'), { room: 'lobby' });
      let [isOver, said] = [false, 0];
      const saying = (async () => {
        while (!isOver) {
          await backend.say({ rooms: ['lobby'], event: 'said', args: [said += 1] });
          await new Promise((resolve) => setTimeout(resolve, 10));
        }
      })();
      for (let round = 1; round <= 2; round += 1) {
        await server.upgrade();
        assert.equal(socket.id, id, `round ${round}`);
      }
      isOver = true;
      await saying;
      await until('all has come', () => socket.heard.length >= said);
      assert.deepEqual(socket.heard.map(([, number]) => number), Array.from({ length: said }, (_, at) => at + 1));
      assert.deepEqual(socket.reasons, []);
      backend.check();
      await server.stop();
    } finally {
      clients.close();
    }
  },

  'a client that stays has its rooms, the answers that it waits for, and is lost and back later': async (version, way) => {
    const server = await start(...KEEPING);
    const clients = version.clients(server.url, way);
    try {
      const [one, other] = [await clients.connect('/', QUICK), await clients.connect('/', QUICK)];
      const backend = await Backend.of(server);
      for (const room of ['lobby', 'quiet']) await one.emitWithAck('join', room);
      await other.emitWithAck('join', 'lobby');
      let [isOver, ticks, answers] = [false, 0, 0];
      // Each waits for an answer all the time, and hears what is not waited for, in its order.
      const asking = [one, other].map(async (socket) => {
        while (!isOver) {
          assert.deepEqual(await socket.timeout(40000).emitWithAck('join', 'lobby'), { room: 'lobby' });
          answers += 1;
        }
      });
      const ticking = (async () => {
        while (!isOver) await backend.say({ event: 'tick', args: [ticks += 1], volatile: true });
      })();
      for (let round = 0; round < 2; round += 1) await server.upgrade();
      isOver = true;
      await Promise.all([...asking, ticking]);
      assert.ok(answers > 0);
      await backend.say({ rooms: ['lobby'], except: ['quiet'], event: 'loud' });
      await backend.say({ event: 'done' });
      for (const socket of [one, other]) {
        await until('all has come', () => socket.heard.at(-1)?.[0] === 'done');
        const heard = socket.heard.filter(([name]) => name === 'tick').map(([, tick]) => tick);
        assert.deepEqual(heard, [...new Set(heard)].sort((a, b) => a - b));
        assert.deepEqual(socket.reasons, []);
      }
      const names = (socket) => socket.heard.map(([name]) => name).filter((name) => name !== 'tick');
      assert.deepEqual([names(one), names(other)], [['done'], ['loud', 'done']]);
      // What the version before has told it is what it comes back with.
      const { id } = one;
      one.io.engine.close();
      await until('it is back', () => one.reasons.length === 1 && isSettled(one));
      assert.deepEqual([one.recovered, one.id], [true, id]);
      await backend.say({ rooms: ['quiet'], event: 'still here' });
      await until('it hears', () => one.heard.at(-1)[0] === 'still here');
      backend.check();
      await server.stop();
    } finally {
      clients.close();
    }
  },
};
