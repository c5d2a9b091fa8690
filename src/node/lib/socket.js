// A client in a namespace, as the program sees it. There are very many, and most do nothing: what only some need is made
// when it is asked for first. What a socket does goes to the link as frames; nothing is answered to it.
'use strict';

const { awaited, promised } = require('./awaiting.js');
const { Listeners } = require('./listeners.js');
const { Broadcast, RESERVED } = require('./broadcast.js');
const { Client, Connection, Handshake, Request } = require('./handshake.js');
const { warnOnce } = require('./refusals.js');
const { idOf } = require('./wire.js');

/** Bits of `_bits`. */
const CONNECTED = 1;
const RECOVERED = 2;
/** It is in `changed` of the link, because the program may have changed its data. */
const TOUCHED = 4;
const GONE = 8;
const UPGRADED = 16;
const WITHOUT_OWN_ROOM = 32;
const NAMED = 64;
/** From here on `_bits` is the number of its shard. */
const SHARD = 8;

class Socket extends Listeners {
  /** Who it is, is told when it has entered: see `_identify`. */
  constructor(nsp, introduction) {
    super();
    this.nsp = nsp;
    this._id = undefined;
    this.index = 0;
    this.generation = 0;
    this._introduction = introduction;
    // What is true of it, and above SHARD its shard.
    this._bits = 0;
    // When it came, in ms after the process began.
    this._came = Date.now() - BEGAN;
    // The rooms it is in but its own: nothing, one name, or an array of names.
    this._rooms = undefined;
    // What few sockets have: see `_rare`.
    this._few = undefined;
    // Who came before it and after it: see Sockets.
    this._previous = undefined;
    this._next = undefined;
  }

  /** Nothing as long as a middleware decides whether it enters at all. */
  get id() {
    if (this._id === undefined && (this._bits & NAMED) !== 0) this._id = idOf(this.shard, this.index, this.generation);
    return this._id;
  }

  get shard() { return this._bits >>> SHARD; }

  get server() { return this.nsp.server; }

  get adapter() { return this.nsp.adapter; }

  get connected() { return (this._bits & CONNECTED) !== 0; }

  get disconnected() { return (this._bits & CONNECTED) === 0; }

  get recovered() { return (this._bits & RECOVERED) !== 0; }

  /** What the program keeps for it; a program that is started again finds it as it was. */
  get data() {
    const few = this._rare();
    few.data ??= {};
    this._touch();
    return few.data;
  }

  set data(value) {
    this._rare().data = value;
    this._touch();
  }

  get handshake() {
    const few = this._rare();
    few.handshake ??= new Handshake(this._introduction, BEGAN + this._came);
    return few.handshake;
  }

  get request() {
    const few = this._rare();
    few.request ??= new Request(this.handshake);
    return few.request;
  }

  get conn() {
    const few = this._rare();
    few.conn ??= new Connection(this);
    return few.conn;
  }

  get client() {
    const few = this._rare();
    few.client ??= new Client(this);
    return few.client;
  }

  get rooms() {
    const own = this.connected && (this._bits & WITHOUT_OWN_ROOM) === 0 ? [this.id] : [];
    return new Set(own.concat(this._rooms ?? []));
  }

  emit(event, ...args) {
    if (RESERVED.has(event)) throw new Error(`"${String(event)}" is a reserved event name`);
    const flags = this._takeFlags();
    let ack = typeof args.at(-1) === 'function' ? args.pop() : undefined;
    // Who waits for one that has gone without a time is never called.
    if (ack !== undefined && ((this._bits & GONE) === 0 || flags?.timeout !== undefined)) {
      ack = awaited(this.nsp.link, this, ack, flags?.timeout);
    }
    args.unshift(event);
    if (this._few?.anyOutgoing) this._tellOutgoing(args);
    if ((this._bits & CONNECTED) !== 0) this.nsp.link.emit(this, args, flags?.volatile === true, ack);
    else if ((this._bits & GONE) === 0) this._before(() => this.nsp.link.emit(this, args, flags?.volatile === true, ack));
    return true;
  }

  emitWithAck(event, ...args) {
    return promised(this, this._few?.flags?.timeout !== undefined, event, args);
  }

  send(...args) {
    this.emit('message', ...args);
    return this;
  }

  write(...args) {
    return this.send(...args);
  }

  to(room) { return this._broadcast().to(room); }

  in(room) { return this._broadcast().in(room); }

  except(room) { return this._broadcast().except(room); }

  get broadcast() { return this._broadcast(); }

  get local() { return this._broadcast().local; }

  get volatile() {
    this._flags().volatile = true;
    return this;
  }

  timeout(ms) {
    this._flags().timeout = ms;
    return this;
  }

  /** Roadstead decides by the size of a message whether it compresses it. */
  compress() {
    return this;
  }

  join(rooms) {
    if ((this._bits & GONE) !== 0) return;
    const joined = (Array.isArray(rooms) ? rooms : [rooms]).filter((room) => this._enter(room));
    if (joined.length > 0 && this.connected) this.nsp.link.join(this, joined);
  }

  leave(room) {
    if (!this._depart(room)) return;
    if (this.connected) this.nsp.link.leave(this, [room]);
  }

  leaveAll() {
    const rooms = [...this.rooms];
    for (const room of rooms) this._depart(room);
    if (rooms.length > 0 && this.connected) this.nsp.link.leave(this, rooms);
  }

  disconnect(close = false) {
    if (!this.connected) return this;
    this.nsp.link.disconnect(this, close);
    this._close('server namespace disconnect');
    return this;
  }

  use(middleware) {
    const few = this._rare();
    (few.middleware ??= []).push(middleware);
    return this;
  }

  onAny(listener) {
    const few = this._rare();
    (few.any ??= []).push(listener);
    return this;
  }

  prependAny(listener) {
    const few = this._rare();
    (few.any ??= []).unshift(listener);
    return this;
  }

  offAny(listener) {
    if (this._few?.any) without(this._few.any, listener);
    return this;
  }

  listenersAny() {
    return this._rare().any ??= [];
  }

  onAnyOutgoing(listener) {
    this._outgoing().push(listener);
    return this;
  }

  prependAnyOutgoing(listener) {
    this._outgoing().unshift(listener);
    return this;
  }

  offAnyOutgoing(listener) {
    if (this._few?.anyOutgoing) without(this._few.anyOutgoing, listener);
    return this;
  }

  listenersAnyOutgoing() {
    return this._outgoing();
  }

  // The rest is for this module alone.

  /** What few sockets have: data, handshake, request, conn, client, flags, middleware, any, anyOutgoing, early, waiting, dataHash. */
  _rare() {
    this._few ??= {};
    return this._few;
  }

  _flags() {
    const few = this._rare();
    few.flags ??= {};
    return few.flags;
  }

  _takeFlags() {
    const flags = this._few?.flags;
    if (flags !== undefined) this._few.flags = undefined;
    return flags;
  }

  _broadcast() {
    return new Broadcast(this.nsp, [], [], this._takeFlags() ?? {}, this);
  }

  _outgoing() {
    const few = this._rare();
    if (few.anyOutgoing === undefined) {
      few.anyOutgoing = [];
      this.nsp.outgoingListeners += 1;
    }
    return few.anyOutgoing;
  }

  _tellOutgoing(event) {
    for (const listener of this._few.anyOutgoing.slice()) listener.apply(this, event);
  }

  /** What it does before it is connected is done when it is, in that order. */
  _before(act) {
    const few = this._rare();
    (few.early ??= []).push(act);
  }

  _enter(room) {
    if (room === this.id) {
      this._bits &= ~WITHOUT_OWN_ROOM;
      return true;
    }
    const rooms = this._rooms;
    if (rooms === undefined) {
      this._rooms = room;
    } else if (Array.isArray(rooms)) {
      if (rooms.includes(room)) return false;
      rooms.push(room);
    } else {
      if (rooms === room) return false;
      this._rooms = [rooms, room];
    }
    if (this.connected) this.nsp.adapter.enter(room, this);
    return true;
  }

  _depart(room) {
    if (room === this.id) {
      this._bits |= WITHOUT_OWN_ROOM;
      return true;
    }
    const rooms = this._rooms;
    if (Array.isArray(rooms)) {
      const place = rooms.indexOf(room);
      if (place === -1) return false;
      rooms.splice(place, 1);
      if (rooms.length === 0) this._rooms = undefined;
    } else {
      if (rooms === undefined || rooms !== room) return false;
      this._rooms = undefined;
    }
    if (this.connected) this.nsp.adapter.depart(room, this);
    return true;
  }

  /** Another member of a cluster has put it into rooms, or has taken it out of them. */
  _moved(rooms, isOut) {
    for (const room of rooms) {
      if (isOut) this._depart(room);
      else this._enter(room);
    }
  }

  /** Roadstead has given it a name. */
  _identify(shard, index, generation) {
    this._bits |= NAMED | (shard << SHARD);
    this.index = index;
    this.generation = generation;
  }

  /** It has entered its namespace. */
  _connect({ rooms, data }, isRecovered) {
    this._bits |= isRecovered ? CONNECTED | RECOVERED : CONNECTED;
    const early = [].concat(this._rooms ?? []);
    for (const room of early) this.nsp.adapter.enter(room, this);
    for (const room of rooms ?? []) if (room !== this.id) this._enter(room);
    if (data !== undefined) {
      const few = this._rare();
      few.data = data;
      few.dataHash = hashOf(JSON.stringify(data));
    } else if (this._few?.data !== undefined) {
      this._touch();
    }
    this._doEarly(early);
  }

  /** Does what it wanted to do before it was connected. */
  _doEarly(rooms = [].concat(this._rooms ?? [])) {
    if (rooms.length > 0) this.nsp.link.join(this, rooms);
    const acts = this._few?.early;
    if (acts === undefined) return;
    this._few.early = undefined;
    for (const act of acts) act();
  }

  /** Handles what arrived before it was connected. */
  _catchUp() {
    const events = this._few?.waiting;
    if (events === undefined) return;
    this._few.waiting = undefined;
    for (const event of events) this._handle(event);
  }

  /** It leaves, or was made to. */
  _close(reason, description) {
    if (!this.connected) {
      this._bits |= GONE;
      return;
    }
    this._tell('disconnecting', reason, description);
    const rooms = [].concat(this._rooms ?? []);
    this._rooms = undefined;
    for (const room of rooms) this.nsp.adapter.depart(room, this);
    if (this._few?.anyOutgoing) this.nsp.outgoingListeners -= 1;
    this.nsp.removed(this);
    this._bits = (this._bits & ~CONNECTED) | GONE;
    this._few?.conn?.closed(reason);
    this._tell('disconnect', reason, description);
  }

  _upgrade() {
    this._bits |= UPGRADED;
    this._few?.conn?.becameWebSocket();
  }

  get _isUpgraded() { return (this._bits & UPGRADED) !== 0; }

  /** The program may be about to change its data. Before it is connected, that is told when it is. */
  _touch() {
    if ((this._bits & (CONNECTED | TOUCHED)) !== CONNECTED) return;
    this._bits |= TOUCHED;
    this.nsp.link.touched(this);
  }

  /** Its data as JSON if that is not what was said the last time, else undefined. */
  _changedData() {
    this._bits &= ~TOUCHED;
    const few = this._few;
    if (!this.connected || few?.data === undefined) return undefined;
    let json;
    try {
      json = JSON.stringify(few.data);
    } catch (error) {
      warnOnce('socket.data', `is not kept over a restart of the program: ${error.message}`);
    }
    if (json === undefined) return undefined;
    if (json.length > DATA_MAX) {
      warnOnce('socket.data', `of more than ${DATA_MAX} characters is not kept over a restart of the program`);
      return undefined;
    }
    const hash = hashOf(json);
    if (few.dataHash === hash || (json === '{}' && few.dataHash === undefined)) return undefined;
    few.dataHash = hash;
    return json;
  }

  /** An event has arrived: its name, its arguments, and the acknowledgement, if one is wanted. */
  _handle(event) {
    const few = this._few;
    if ((this._bits & CONNECTED) === 0) {
      // A middleware still thinks about a socket that was there before the program was.
      if ((this._bits & GONE) === 0) (this._rare().waiting ??= []).push(event);
      return;
    }
    if (few?.any) for (const listener of few.any.slice()) listener.apply(this, event);
    if (few?.middleware === undefined) this._dispatch(event);
    else this._pass(few.middleware.slice(), 0, event);
  }

  _pass(middleware, place, event) {
    if (place === middleware.length) {
      process.nextTick(() => this._dispatch(event));
      return;
    }
    middleware[place](event, (error) => {
      if (error) process.nextTick(() => this._tell('error', error));
      else this._pass(middleware, place + 1, event);
    });
  }

  _dispatch(event) {
    if ((this._bits & CONNECTED) === 0) return;
    this._tellEvent(event);
    this.nsp.handle(this, event);
  }
}

const BEGAN = Date.now();

/** What is kept of a socket's data over a restart, in characters of JSON: less than the 64 KiB of the link in any language. */
const DATA_MAX = 20_000;

/** FNV-1a over the code units: whether a text is another one than before. */
function hashOf(text) {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  return hash;
}

function without(listeners, listener) {
  if (listener === undefined) listeners.length = 0;
  const place = listeners.indexOf(listener);
  if (place !== -1) listeners.splice(place, 1);
}

module.exports = { Socket };
