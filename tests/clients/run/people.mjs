// Clients that write down what they hear: npm's socket.io-client.

import { io } from 'socket.io-client';
import { until } from '../server.mjs';

/** How clients may connect. */
export const ways = { websocket: ['websocket'], polling: ['polling'], upgrade: ['polling', 'websocket'] };

/** A client. `log` has every event with its arguments, in the order in which they came, and how it ended. */
export function person(url, way, { namespace = '/', ...options } = {}) {
  const socket = io(url + namespace, { forceNew: true, reconnection: false, transports: ways[way], ...options });
  const log = [];
  socket.onAny((...event) => {
    const args = event.filter((one) => typeof one !== 'function');
    log.push(plain(args));
  });
  socket.on('connect_error', ({ message, data }) => log.push(['connect_error', message, data ?? null]));
  socket.on('disconnect', (reason) => log.push(['disconnect', reason]));
  return {
    socket,
    log,
    /** Waits until it is connected. */
    async connected() {
      await until('a client is connected', () => socket.connected);
    },
    /** Waits until it has heard an event so many times. */
    async hears(name, times = 1) {
      await until(`${name} has come ${times} times; there are ${JSON.stringify(log).slice(0, 500)}`, () => log.filter(([one]) => one === name).length >= times);
    },
    /** Emits, waits for the acknowledgement, and writes it down. */
    asks(...event) {
      return new Promise((resolve) => {
        socket.emit(...event, (...answer) => {
          log.push(['answer to', event[0], ...plain(answer)]);
          resolve(answer);
        });
      });
    },
    leave() {
      socket.disconnect();
    },
  };
}

/** Several of them, who have come one after another: the program has seen each before the next one comes. */
export async function people(url, way, count, options = []) {
  const all = [];
  for (let number = 0; number < count; number += 1) {
    const one = person(url, way, options[number]);
    await one.connected();
    let isThere = false;
    one.socket.emit('there', () => { isThere = true; });
    await until(`the program has seen client ${number}`, () => isThere);
    all.push(one);
  }
  return all;
}

/** A value with text in the place of bytes. */
export function plain(value) {
  if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) return `bytes ${Buffer.from(value).toString('hex')}`;
  if (Array.isArray(value)) return value.map((one) => (one === undefined ? 'undefined' : plain(one)));
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, plain(one)]));
}
