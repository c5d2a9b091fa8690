// Who is in which room. There is one program, and every join is its own, so it knows. Each socket is in the room of its own id
// without standing in a table.
'use strict';

const { EventEmitter } = require('node:events');

/** What npm's adapters offer to be read: `rooms`, `sids`, and the four events of rooms. */
class Adapter extends EventEmitter {
  constructor(nsp) {
    super();
    this.nsp = nsp;
    this._members = new Map();
    this.rooms = new Rooms(this);
    this.sids = new Memberships(nsp);
  }

  socketRooms(id) {
    return this.nsp.sockets.get(id)?.rooms;
  }

  async sockets(rooms) {
    return new Set(this.chosen([...rooms], []).map((socket) => socket.id));
  }

  async serverCount() {
    return 1;
  }

  /** A socket has entered a room that is not its own. */
  enter(room, socket) {
    let members = this._members.get(room);
    if (members === undefined) {
      members = new Set();
      this._members.set(room, members);
      this.emit('create-room', room);
    }
    members.add(socket);
    if (this.listenerCount('join-room') > 0) this.emit('join-room', room, socket.id);
  }

  /** A socket has left a room that is not its own. */
  depart(room, socket) {
    const members = this._members.get(room);
    if (!members?.delete(socket)) return;
    if (this.listenerCount('leave-room') > 0) this.emit('leave-room', room, socket.id);
    if (members.size === 0) {
      this._members.delete(room);
      this.emit('delete-room', room);
    }
  }

  /** The sockets in any of `rooms`, or all if there are none, that are in none of `except` and are not `sender`. */
  chosen(rooms, except, sender) {
    this.nsp.mustBeKept('what looks at sockets');
    const out = new Set();
    if (sender !== undefined) out.add(sender);
    for (const room of except) for (const socket of this.socketsIn(room)) out.add(socket);
    if (rooms.length === 0) return this.nsp.sockets.now().filter((socket) => !out.has(socket));
    const chosen = [];
    for (const room of rooms) {
      for (const socket of this.socketsIn(room)) {
        if (out.has(socket)) continue;
        out.add(socket);
        chosen.push(socket);
      }
    }
    return chosen;
  }

  /** The sockets in a room. */
  socketsIn(room) {
    const members = this._members.get(room);
    if (!this._isOwn(room)) return members ?? [];
    const own = this.nsp.sockets.get(room);
    return members === undefined ? [own] : [own, ...members];
  }

  /** Whether the room is that of a socket's own id. */
  _isOwn(room) {
    return this.nsp.sockets.get(room)?.rooms.has(room) === true;
  }
}

/** All rooms with their members, to be read as a Map is. */
class Rooms {
  constructor(adapter) {
    this._adapter = adapter;
  }

  get size() {
    return [...this.keys()].length;
  }

  has(room) {
    return this._adapter._members.has(room) || this._adapter._isOwn(room);
  }

  get(room) {
    return this.has(room) ? new Set([...this._adapter.socketsIn(room)].map((socket) => socket.id)) : undefined;
  }

  * keys() {
    const { nsp, _members } = this._adapter;
    for (const id of nsp.sockets.keys()) if (!_members.has(id) && this._adapter._isOwn(id)) yield id;
    yield* _members.keys();
  }

  * entries() {
    for (const room of this.keys()) yield [room, this.get(room)];
  }

  * values() {
    for (const room of this.keys()) yield this.get(room);
  }

  forEach(call, self) {
    for (const [room, members] of this) call.call(self, members, room, this);
  }

  [Symbol.iterator]() {
    return this.entries();
  }
}

/** All sockets with their rooms, to be read as a Map is. */
class Memberships {
  constructor(nsp) {
    this._nsp = nsp;
  }

  get size() {
    return this._nsp.sockets.size;
  }

  has(id) {
    return this._nsp.sockets.has(id);
  }

  get(id) {
    return this._nsp.sockets.get(id)?.rooms;
  }

  keys() {
    return this._nsp.sockets.keys();
  }

  * entries() {
    for (const [id, socket] of this._nsp.sockets) yield [id, socket.rooms];
  }

  * values() {
    for (const socket of this._nsp.sockets.values()) yield socket.rooms;
  }

  forEach(call, self) {
    for (const [id, rooms] of this) call.call(self, rooms, id, this);
  }

  [Symbol.iterator]() {
    return this.entries();
  }
}

module.exports = { Adapter };
