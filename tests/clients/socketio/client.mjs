// Both versions of socket.io-client, and what checks want of a connected client.

import assert from 'node:assert/strict';
import * as currentModule from 'socket.io-client';
import * as oldestModule from 'socket.io-client-oldest';
import { until } from '../server.mjs';

const WAYS = { websocket: ['websocket'], polling: ['polling'], upgrade: ['polling', 'websocket'] };

/** A version of the client: `clients(url, way)` gives what makes clients of it. */
function version(name, { io }) {
  return { name, clients: (url, way) => new Clients(io, url, way) };
}

export const oldest = version('4.0.0', oldestModule);
export const current = version('4.8.4', currentModule);

let rooms = 0;

/** A name no other check uses. */
export function fresh(name) {
  rooms += 1;
  return `${name}-${rooms}`;
}

/** Makes clients of one version that reach one server in one way. Ended with `close()`. */
class Clients {
  constructor(io, url, way) {
    this.io = io;
    this.url = url;
    this.way = way;
    this.made = [];
  }

  /** A client that is not connected yet; `heard` keeps what it hears, as arrays that begin with the event's name. */
  make(namespace = '/play', options = {}) {
    const socket = this.io(this.url + namespace, { transports: WAYS[this.way], forceNew: true, ...options });
    this.made.push(socket);
    socket.heard = [];
    socket.reasons = [];
    socket.onAny((...args) => args[0] !== 'here' && socket.heard.push(args));
    socket.on('disconnect', (reason) => socket.reasons.push(reason));
    socket.connected_ = new Promise((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('connect_error', reject);
    });
    // Most checks await it; one that does not wants no complaint about it.
    socket.connected_.catch(() => {});
    return socket;
  }

  /** A client that is connected and, if it changes its transport, has done so. */
  async connect(namespace, options) {
    const socket = this.make(namespace, options);
    await socket.connected_;
    await until('the last transport is in use', () => isSettled(socket));
    return socket;
  }

  /** A client that is told whom the server lost and why: events `gone` with `{ name, reason }`. */
  async observer() {
    const socket = await this.connect('/play', { auth: { name: 'observer' } });
    await join(socket, 'observers');
    socket.gone = (name) => until(`${name} is gone`, () => goneOf(socket, name).length > 0)
      .then(() => goneOf(socket, name)[0].reason);
    return socket;
  }

  close() {
    this.made.forEach((socket) => socket.disconnect());
  }
}

const goneOf = (socket, name) => socket.heard.filter(([event, gone]) => event === 'gone' && gone.name === name)
  .map(([, gone]) => gone);

/** Whether a client is connected over the last of the transports it knows, and has done changing to it. */
export function isSettled(socket) {
  const { engine, opts } = socket.io;
  return socket.connected && engine.transport.name === opts.transports.at(-1) && !engine.upgrading;
}

/** Emits an event; the arguments of its acknowledgement, one by itself or several as an array. */
export function ask(socket, event, ...args) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${event} is not acknowledged`)), 15000);
    socket.emit(event, ...args, (...answer) => {
      clearTimeout(timer);
      resolve(answer.length > 1 ? answer : answer[0]);
    });
  });
}

/**
 * Enters a room, and waits until the client hears itself there; all its rooms. A room may be another shard's, and who
 * has asked to enter it is not yet told what somebody else says the moment after.
 */
export async function join(socket, room) {
  const rooms = await ask(socket, 'join', room);
  await settle(socket, room);
  return rooms;
}

/**
 * Waits until a client that is in a room has heard there what it says now. What it had said to the room before is then
 * on its way to everybody; an acknowledgement alone does not tell that.
 */
export async function settle(socket, room) {
  const word = fresh('word');
  const heard = new Promise((resolve) => {
    const listener = (said) => {
      if (said !== word) return;
      socket.off('here', listener);
      resolve();
    };
    socket.on('here', listener);
  });
  await ask(socket, 'say', { to: [room], self: true, event: 'here', args: [word] });
  await heard;
}

/** Waits until a client has heard exactly these events, in this order. */
export async function hears(socket, expected) {
  await until('the events are there', () => socket.heard.length >= expected.length).catch(() => {});
  assert.deepEqual(socket.heard, expected);
}

/** Waits for the reason of a client's disconnection. */
export async function reason(socket) {
  await until('the client is disconnected', () => socket.reasons.length > 0);
  return socket.reasons[0];
}

/** Waits for an event of a client. */
export function next(socket, event) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${event} does not come`)), 15000);
    socket.once(event, (...args) => {
      clearTimeout(timer);
      resolve(args);
    });
  });
}
