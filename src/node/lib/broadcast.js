// An emit to many, and what else can be said to many: which they are is gathered in copies, so that each can be used again.
'use strict';

const { commandMembers, socketsOfMembers } = require('./members.js');

/** Names that are not for events. */
const RESERVED = new Set(['connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener']);

class Broadcast {
  /** `sender` is a socket that is left out, or undefined. */
  constructor(nsp, rooms = [], exceptRooms = [], flags = {}, sender = undefined) {
    this.nsp = nsp;
    this.rooms = rooms;
    this.exceptRooms = exceptRooms;
    this.flags = flags;
    this.sender = sender;
  }

  to(room) {
    return new Broadcast(this.nsp, added(this.rooms, room), this.exceptRooms, this.flags, this.sender);
  }

  in(room) {
    return this.to(room);
  }

  except(room) {
    return new Broadcast(this.nsp, this.rooms, added(this.exceptRooms, room), this.flags, this.sender);
  }

  /** Roadstead decides by the size of a message whether it compresses it. */
  compress() {
    return this;
  }

  get volatile() {
    return new Broadcast(this.nsp, this.rooms, this.exceptRooms, { ...this.flags, volatile: true }, this.sender);
  }

  /** Not to other members of a cluster. */
  get local() {
    return new Broadcast(this.nsp, this.rooms, this.exceptRooms, { ...this.flags, local: true }, this.sender);
  }

  timeout(ms) {
    return new Broadcast(this.nsp, this.rooms, this.exceptRooms, { ...this.flags, timeout: ms }, this.sender);
  }

  emit(event, ...args) {
    if (RESERVED.has(event)) throw new Error(`"${String(event)}" is a reserved event name`);
    const ack = typeof args.at(-1) === 'function' ? args.pop() : undefined;
    const { children, isGone } = this.nsp;
    if (children !== undefined || isGone) {
      if (ack !== undefined) this._answerNobody(ack);
      else for (const nsp of children ?? []) new Broadcast(nsp, this.rooms, this.exceptRooms, this.flags).emit(event, ...args);
      return true;
    }
    args.unshift(event);
    if (this.nsp.outgoingListeners > 0) {
      for (const socket of this._sockets()) if (socket._few?.anyOutgoing) socket._tellOutgoing(args);
    }
    this.nsp.link.broadcast(this, args, ack && this._awaited(ack));
    return true;
  }

  emitWithAck(event, ...args) {
    return new Promise((resolve, reject) => {
      args.push((error, responses) => {
        if (error) reject(Object.assign(error, { responses }));
        else resolve(responses);
      });
      this.emit(event, ...args);
    });
  }

  send(...args) {
    this.emit('message', ...args);
    return this;
  }

  write(...args) {
    return this.send(...args);
  }

  async allSockets() {
    return new Set((await this.fetchSockets()).map((socket) => socket.id));
  }

  /** Those of this program come first, then those of other members of a cluster, or of other nodes. */
  async fetchSockets() {
    const own = this._sockets();
    return [...own, ...await socketsOfMembers(this)];
  }

  socketsJoin(rooms) {
    for (const socket of this._sockets()) socket.join(rooms);
    commandMembers(this, { op: 'join', to: [].concat(rooms).map(String) });
  }

  socketsLeave(rooms) {
    for (const socket of this._sockets()) for (const room of [].concat(rooms)) socket.leave(room);
    commandMembers(this, { op: 'leave', to: [].concat(rooms).map(String) });
  }

  disconnectSockets(close = false) {
    for (const socket of this._sockets()) socket.disconnect(close);
    commandMembers(this, { op: 'disconnect', close });
  }

  /** Those who are meant, in the order in which Socket.IO's own adapter finds them. */
  _sockets() {
    return this.nsp.adapter.chosen(this.rooms, this.exceptRooms, this.sender);
  }

  /** Where nobody is, nobody acknowledges. */
  _answerNobody(ack) {
    process.nextTick(() => ack.call(this, null, this.flags.expectSingleResponse ? null : []));
  }

  /** Acknowledgements that are waited for: their number. Without a time, Socket.IO waits for a millisecond. */
  _awaited(ack) {
    const { link } = this.nsp;
    const { timeout, expectSingleResponse } = this.flags;
    const responses = [];
    const told = () => (expectSingleResponse ? responses[0] ?? null : responses);
    const timer = setTimeout(() => {
      link.forget(number);
      ack.call(this, new Error('operation has timed out'), told());
    }, timeout);
    const number = link.await((args, missing) => {
      if (missing === undefined) {
        responses.push(args[0]);
      } else if (missing === 0) {
        clearTimeout(timer);
        ack.call(this, null, told());
      }
    }, timeout ?? 1, true);
    return number;
  }
}

function added(rooms, more) {
  if (rooms.length === 0 && !Array.isArray(more)) return [more];
  const all = new Set(rooms);
  for (const room of [].concat(more)) all.add(room);
  return [...all];
}

module.exports = { Broadcast, RESERVED };
