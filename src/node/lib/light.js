// The light form of a socket: made for one event and thrown away. It is good for as long as the client is connected, if somebody
// keeps it, and knows nothing but who it is.
'use strict';

const { awaited, promised } = require('./awaiting.js');
const { Broadcast, RESERVED } = require('./broadcast.js');
const { unsupported } = require('./refusals.js');
const { idOf } = require('./wire.js');

class LightSocket {
  constructor(nsp, shard, index, generation) {
    this.nsp = nsp;
    this.shard = shard;
    this.index = index;
    this.generation = generation;
    this._flags = undefined;
  }

  get id() {
    return idOf(this.shard, this.index, this.generation);
  }

  get server() {
    return this.nsp.server;
  }

  emit(event, ...args) {
    if (RESERVED.has(event)) throw new Error(`"${String(event)}" is a reserved event name`);
    const flags = this._flags;
    this._flags = undefined;
    const ack = typeof args.at(-1) === 'function' ? awaited(this.nsp.link, this, args.pop(), flags?.timeout) : undefined;
    args.unshift(event);
    this.nsp.link.emit(this, args, flags?.volatile === true, ack);
    return true;
  }

  emitWithAck(event, ...args) {
    return promised(this, this._flags?.timeout !== undefined, event, args);
  }

  get volatile() {
    this._flags = { ...this._flags, volatile: true };
    return this;
  }

  timeout(ms) {
    this._flags = { ...this._flags, timeout: ms };
    return this;
  }

  to(room) {
    return this.broadcast.to(room);
  }

  in(room) {
    return this.broadcast.to(room);
  }

  except(room) {
    return this.broadcast.except(room);
  }

  get broadcast() {
    const flags = this._flags ?? {};
    this._flags = undefined;
    return new Broadcast(this.nsp, [], [], flags, this);
  }

  join(rooms) {
    this.nsp.link.join(this, [].concat(rooms));
  }

  leave(rooms) {
    this.nsp.link.leave(this, [].concat(rooms));
  }

  disconnect(close = false) {
    this.nsp.link.disconnect(this, close);
    return this;
  }

  get data() {
    throw notKept('socket.data');
  }

  get rooms() {
    throw notKept('socket.rooms');
  }

  get handshake() {
    throw notKept('socket.handshake');
  }

  on() {
    throw notKept('socket.on');
  }
}

function notKept(name) {
  return unsupported(`${name} of a socket in the light form`, 'nothing is kept for it; use io.on("connection", (socket) => …) where you need it');
}

module.exports = { LightSocket, notKept };
