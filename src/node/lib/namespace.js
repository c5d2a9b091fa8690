// A namespace: who is in it, who may enter, and what is said to all of it.
'use strict';

const { EventEmitter } = require('node:events');
const { Adapter } = require('./adapter.js');
const { Broadcast } = require('./broadcast.js');
const { LightSocket, notKept } = require('./light.js');
const { askMembers, sayToMembers } = require('./members.js');
const { Socket } = require('./socket.js');
const { Sockets } = require('./sockets.js');

const RESERVED = new Set(['connect', 'connection', 'new_namespace']);

class Namespace extends EventEmitter {
  constructor(server, name, number, link) {
    super();
    this.server = server;
    this.name = name;
    this.number = number;
    this.link = link;
    /** Those who are connected, by their ids, in the order in which they came. */
    this.sockets = new Sockets(link);
    this.adapter = new Adapter(this);
    /** How many sockets have listeners to what is sent to them. */
    this.outgoingListeners = 0;
    /** What has made it, if clients have. */
    this.parent = undefined;
    /** Nobody is in it, and nobody is told anything by it any more. */
    this.isGone = false;
    this._fns = [];
    this._handlers = undefined;
    this._lightCount = 0;
    /** How many are asked about, or have been let in and have not come. */
    this._entering = 0;
  }

  use(middleware) {
    this._fns.push(middleware);
    if (this._fns.length === 1) this.link.changed(this);
    return this;
  }

  /**
   * Calls `handler(socket, ...args)` for an event of any client. Nothing is kept for a client of a namespace that has such
   * handlers and no listener to `connection`.
   */
  onEvent(name, handler) {
    this._handlers ??= new Map();
    const handlers = this._handlers.get(name);
    if (handlers) handlers.push(handler);
    else this._handlers.set(name, [handler]);
    return this;
  }

  emit(event, ...args) {
    return new Broadcast(this).emit(event, ...args);
  }

  emitWithAck(event, ...args) {
    return new Broadcast(this).emitWithAck(event, ...args);
  }

  send(...args) {
    this.emit('message', ...args);
    return this;
  }

  write(...args) {
    return this.send(...args);
  }

  to(room) { return new Broadcast(this).to(room); }

  in(room) { return new Broadcast(this).to(room); }

  except(room) { return new Broadcast(this).except(room); }

  timeout(ms) { return new Broadcast(this).timeout(ms); }

  compress() { return new Broadcast(this); }

  get volatile() { return new Broadcast(this).volatile; }

  get local() { return new Broadcast(this).local; }

  allSockets() { return new Broadcast(this).allSockets(); }

  fetchSockets() { return new Broadcast(this).fetchSockets(); }

  socketsJoin(rooms) { new Broadcast(this).socketsJoin(rooms); }

  socketsLeave(rooms) { new Broadcast(this).socketsLeave(rooms); }

  disconnectSockets(close = false) { new Broadcast(this).disconnectSockets(close); }

  /** Tells the programs of the other members of a cluster, or of other nodes: they hear it as an event of the namespace. */
  serverSideEmit(event, ...args) {
    if (RESERVED.has(event)) throw new Error(`"${String(event)}" is a reserved event name`);
    const ack = typeof args.at(-1) === 'function' ? args.pop() : undefined;
    if (ack === undefined) {
      sayToMembers(this, [event, ...args]);
    } else {
      askMembers(this, [event, ...args]).then(
        (answers) => ack(null, answers),
        (error) => ack(error, error.responses ?? []),
      );
    }
    return true;
  }

  serverSideEmitWithAck(event, ...args) {
    return new Promise((resolve, reject) => {
      this.serverSideEmit(event, ...args, (error, answers) => {
        if (error) reject(Object.assign(error, { responses: answers }));
        else resolve(answers);
      });
    });
  }

  // The rest is for this module alone.

  /** Clients are counted and no more: there are handlers of events and no listener to `connection`. */
  get isLight() {
    return this._handlers !== undefined && this.listenerCount('connection') === 0 && this.listenerCount('connect') === 0;
  }

  get hasMiddleware() {
    return this._fns.length > 0 || this.server.engine.hasMiddleware;
  }

  /** How many clients are in it. */
  get count() {
    return this.sockets.size + this._lightCount;
  }

  mustBeKept(name) {
    if (this._lightCount > 0) throw notKept(name);
  }

  /** A socket that has not entered yet. */
  make(introduction) {
    return new Socket(this, introduction);
  }

  light(shard, index, generation) {
    return new LightSocket(this, shard, index, generation);
  }

  /** Somebody wants to enter: `decide` is told the error of the middleware that refused it, or nothing. */
  ask(socket, decide) {
    const fns = this._fns.slice();
    let decided = false;
    const end = (error) => {
      if (decided) return;
      decided = true;
      process.nextTick(decide, error);
    };
    const run = (place) => {
      if (place === fns.length) {
        end();
        return;
      }
      fns[place](socket, (error) => {
        if (error) end(error);
        else run(place + 1);
      });
    };
    this.server.engine.pass(socket, (error) => (error ? end(error) : run(0)));
  }

  /** Somebody has entered. */
  add(socket, told, isRecovered) {
    socket._connect(told, isRecovered);
    this.sockets.add(socket);
    super.emit('connect', socket);
    super.emit('connection', socket);
    socket._catchUp();
  }

  addLight() {
    this._lightCount += 1;
  }

  removeLight() {
    if (this._lightCount > 0) this._lightCount -= 1;
    this.endIfEmpty();
  }

  removed(socket) {
    this.sockets.remove(socket);
    this.endIfEmpty();
  }

  /** Somebody is asked about. */
  awaits() {
    this._entering += 1;
  }

  /** Somebody who was asked about has come, or was refused. */
  awaitsNoMore(isRefused) {
    this._entering -= 1;
    if (isRefused) this.endIfEmpty();
  }

  /** A child with nobody in it goes, if the program wants that. */
  endIfEmpty() {
    if (this.parent === undefined || this.isGone || !this.server.opts.cleanupEmptyChildNamespaces) return;
    if (this.count > 0 || this._entering > 0) return;
    this.isGone = true;
    this.server._nsps.delete(this.name);
    this.parent.children.delete(this);
    this.link.ended(this);
  }

  /** Somebody was on the way to one that has gone. */
  comeBack() {
    this.isGone = false;
    this.parent.children.add(this);
    this.server._numbers.keep(this);
    this.server._nsps.set(this.name, this);
    this.link.changed(this);
  }

  /** An event for the handlers of the light form. */
  handle(socket, event) {
    const handlers = this._handlers?.get(event[0]);
    if (handlers === undefined) return;
    event[0] = socket;
    for (const handler of handlers) handler.apply(undefined, event);
  }

  /** What the program of another member says; whether anybody hears it. */
  tellSaid([event, ...args]) {
    // Another program's "error" is none of this one's, unless it is waited for.
    const isHeard = !RESERVED.has(event) && !this.isGone && this.listenerCount(event) > 0;
    return isHeard && super.emit(event, ...args);
  }

  /** An event of the namespace's own. */
  tell(event, ...args) {
    super.emit(event, ...args);
  }
}

module.exports = { Namespace };
