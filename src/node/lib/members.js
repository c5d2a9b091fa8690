// What is asked of the other members of a cluster, or of other nodes: their sockets, what is done to those, and their programs.
'use strict';

const { encode } = require('./values.js');

/** A socket of another member, as it was when it was asked for; it may be gone by now. */
class RemoteSocket {
  constructor(nsp, { id, rooms, data }) {
    Object.defineProperty(this, '_nsp', { value: nsp });
    this.id = id;
    /** Nothing of it is known. */
    this.handshake = { headers: {}, time: '', address: '', xdomain: false, secure: false, issued: 0, url: '', query: {}, auth: {} };
    this.rooms = new Set(rooms);
    this.data = data ?? {};
  }

  emit(event, ...args) { return this._only().emit(event, ...args); }

  /** As of any socket: an event that is emitted by what this gives may be acknowledged by its client until then. */
  timeout(ms) {
    const only = this._only();
    only.flags = { ...only.flags, timeout: ms, expectSingleResponse: true };
    return only;
  }

  join(rooms) { this._only().socketsJoin(rooms); }

  leave(rooms) { this._only().socketsLeave(rooms); }

  disconnect(close = false) {
    this._only().disconnectSockets(close);
    return this;
  }

  _only() { return this._nsp.in(this.id); }
}

/** Whether others may have something to do with it: a parent has no clients, and none may come to one that has gone. */
function hasOthers(nsp) {
  return nsp.link.hasMembers && nsp.number !== undefined && !nsp.isGone;
}

/** Has other members do to sockets of theirs what is done to those here. */
function commandMembers({ nsp, rooms, exceptRooms, flags, sender }, command) {
  if (!hasOthers(nsp) || flags.local) return;
  nsp.link.askMembers(nsp, JSON.stringify({ ...selection(rooms, exceptRooms, sender), ...command }));
}

/** The sockets that other members have of those that are meant. */
async function socketsOfMembers({ nsp, rooms, exceptRooms, flags, sender }) {
  if (!hasOthers(nsp) || flags.local) return [];
  const json = JSON.stringify({ op: 'fetch', ...selection(rooms, exceptRooms, sender), timeout: flags.timeout });
  const { sockets, missing } = await nsp.link.channels.asked((number) => nsp.link.askMembers(nsp, json, null, number));
  if (missing > 0) throw new Error(`timeout reached while waiting for fetchSockets response: ${missing} members have not answered`);
  return sockets.map((told) => new RemoteSocket(nsp, told));
}

/** Tells the programs of other members something. */
function sayToMembers(nsp, said) {
  if (!hasOthers(nsp)) return;
  const { json, values } = encode(said);
  nsp.link.askMembers(nsp, `{"op":"say","said":${json}}`, values);
}

/** Asks them, and gives their answers. */
async function askMembers(nsp, said) {
  if (!hasOthers(nsp)) return [];
  const { json, values } = encode(said);
  const ask = (number) => nsp.link.askMembers(nsp, `{"op":"say","said":${json}}`, values, number);
  const { answers, missing } = await nsp.link.channels.asked(ask);
  if (missing === 0) return answers;
  const text = `timeout reached: only ${answers.length} responses received out of ${answers.length + missing}`;
  throw Object.assign(new Error(text), { responses: answers });
}

function selection(rooms, exceptRooms, sender) {
  const except = exceptRooms.map(String);
  return { rooms: rooms.map(String), except: sender === undefined ? except : [...except, sender.id] };
}

module.exports = { RemoteSocket, askMembers, commandMembers, sayToMembers, socketsOfMembers };
