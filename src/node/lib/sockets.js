// The sockets of a namespace, to be read as a Map of ids is, in the order in which they came. Nothing is kept for it but two
// fields of each socket: an id says where its socket stands.
'use strict';

const { whereIs } = require('./wire.js');

class Sockets {
  constructor(link) {
    Object.defineProperty(this, '_link', { value: link });
    this.size = 0;
    this._first = undefined;
    this._last = undefined;
  }

  get(id) {
    const where = whereIs(id);
    if (where === undefined) return undefined;
    const socket = this._link.tables[where.shard]?.[where.index];
    return socket?.connected && socket.generation === where.generation && socket.nsp.sockets === this ? socket : undefined;
  }

  has(id) {
    return this.get(id) !== undefined;
  }

  * values() {
    for (const socket of this.now()) if (socket.connected) yield socket;
  }

  * keys() {
    for (const socket of this.values()) yield socket.id;
  }

  * entries() {
    for (const socket of this.values()) yield [socket.id, socket];
  }

  forEach(call, self) {
    for (const [id, socket] of this) call.call(self, socket, id, this);
  }

  [Symbol.iterator]() {
    return this.entries();
  }

  /** All that are there at this moment. */
  now() {
    const sockets = new Array(this.size);
    let place = 0;
    for (let socket = this._first; socket !== undefined; socket = socket._next) {
      sockets[place] = socket;
      place += 1;
    }
    return sockets;
  }

  /** A socket has entered. */
  add(socket) {
    socket._previous = this._last;
    if (this._last === undefined) this._first = socket;
    else this._last._next = socket;
    this._last = socket;
    this.size += 1;
  }

  /** A socket that had entered has left. */
  remove(socket) {
    const { _previous: previous, _next: next } = socket;
    if (previous === undefined) this._first = next;
    else previous._next = next;
    if (next === undefined) this._last = previous;
    else next._previous = previous;
    socket._previous = undefined;
    socket._next = undefined;
    this.size -= 1;
  }
}

module.exports = { Sockets };
