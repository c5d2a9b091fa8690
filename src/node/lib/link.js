// The link to Roadstead: how it begins, what the program asks, and whom what arrives is for. There is one for a process.
'use strict';

const path = require('node:path');
const { Channels } = require('./channels.js');
const { Entering } = require('./entering.js');
const options = require('./options.js');
const { Owed, Stopping } = require('./stopping.js');
const { Sessions } = require('./sessions.js');
const { Stream } = require('./stream.js');
const { encode, revive } = require('./values.js');
const { KIND, PROTOCOL, idOf, endIdsWith } = require('./wire.js');
const { version } = require('../package.json');

/** Flags of frames. */
const HAS_MIDDLEWARE = 1;
const ENDS = 2;
const IS_RECOVERED = 1;
const IS_TOLD_AGAIN = 2;
const WANTS_ACK = 2;
const IS_VOLATILE = 1;
const NOT_TO_SENDER = 4;
const IS_LOCAL = 8;
const AND_CONNECTION = 1;
const HAS_LEFT = 1;

/** What became of an emit whose acknowledgement was waited for. */
const ANSWERED = 0;
const END_OF_ALL = 4;

/** How much longer than the program Roadstead waits, so that the program decides what is late; in ms. */
const GRACE_MS = 1000;

/** Introductions that are the same for many sockets are kept once: so many different ones. */
const INTRODUCTIONS_MAX = 1024;

class Link {
  constructor() {
    this.server = undefined;
    this.control = undefined;
    this.shards = [];
    /** Those of them that have begun, those that are going to, and the one on which the program says most. */
    this.ready = [];
    this.greeted = [];
    this.first = undefined;
    /** The sockets of each shard by their index. */
    this.tables = [];
    this.acks = new Map();
    this.channels = new Channels(this);
    /** Whether others may have clients: members of a cluster, or nodes. */
    this.hasMembers = false;
    this.sessions = new Sessions();
    this.isClosing = false;
    /** What clients wait for, and how the program stops, once it does. */
    this.owed = new Owed();
    this._stopping = undefined;
    this._number = Math.floor(Math.random() * 2 ** 32);
    this.entering = new Entering(this);
    this._touched = [];
    this._isFlushing = false;
    this._introductions = new Map();
  }

  /** The folder of the link. */
  get folder() {
    return process.env.ROADSTEAD_LINK;
  }

  /** Tells how to get a link where there is none. */
  mustBeThere() {
    if (this.folder) return;
    throw new Error('roadstead: this program has to be started by Roadstead, which has its connections: `roadstead run app.js`');
  }

  /** The Socket.IO server of this process. */
  serve(server) {
    if (this.server !== undefined && this.server !== server) {
      throw new Error('roadstead: there is a Socket.IO server already; a program has one, and io.of("/name") for what is to be apart');
    }
    this.server = server;
  }

  /**
   * Asks Roadstead to listen. `answer(error, address)` is called once: with an error that has a code, or with what it listens on.
   */
  listen(port, host, answer) {
    if (this.control !== undefined) {
      answer(Object.assign(new Error('roadstead: the program listens on one port; Roadstead itself can listen on more (server.listen)'), {
        code: 'ERR_ROADSTEAD_UNSUPPORTED', syscall: 'listen', port, address: host,
      }));
      return;
    }
    const at = (name) => path.join(this.folder, `${name}.sock`);
    let isAnswered = false;
    const ended = () => {
      if (this.isClosing) return;
      fatal(isAnswered ? 'the link to the server has ended' : `no server answers in ${this.folder}: start the program with \`roadstead run\``);
    };
    const answered = (error, address) => {
      if (isAnswered) return;
      isAnswered = true;
      answer(error, address);
    };
    this.control = new Stream(at('control'), (frame) => {
      switch (frame.kind) {
        case KIND.HELLO: {
          belongs(JSON.parse(frame.text()));
          const told = { port, options: options.told(this.server.opts) };
          if (host !== undefined) told.host = host;
          // What another program's middleware is to see of those who are there by then.
          if (this.server.engine.hasMiddleware) told.options.keepHandshake = true;
          told.namespaces = Object.fromEntries([...this.server._nsps.values()].map((nsp) => [nsp.name, flagsOf(nsp)]));
          if (this.server.parentNsps.size > 0) told.finds = true;
          this._control(KIND.LISTEN, JSON.stringify(told));
          break;
        }
        case KIND.LISTENING: {
          const listening = JSON.parse(frame.text());
          answered(null, { address: listening.address, port: listening.port });
          // Once what is done on 'listening' has been done.
          setImmediate(() => this._open(listening.shards, at, ended));
          break;
        }
        case KIND.REFUSED: {
          const { code, message } = JSON.parse(frame.text());
          if (isAnswered || code === 'version') fatal(message);
          this.isClosing = true;
          answered(Object.assign(new Error(message), { code, syscall: 'listen', port, address: host }));
          break;
        }
        case KIND.PING:
          this.owed.turn();
          this._control(KIND.PONG, '');
          break;
        case KIND.STOP: this._stop(); break;
        default:
      }
    }, ended);
    this._control(KIND.HELLO, hello());
  }

  /** The program serves no more. */
  close() {
    this.isClosing = true;
    this.tellData();
    for (const stream of [...this.shards, this.control]) stream?.close();
  }

  /** A namespace is new, or has got its first middleware. */
  changed(nsp) {
    // A parent is none of the link's.
    if (nsp.number === undefined || nsp.isGone) return;
    nsp.server._numbers.namespaces[nsp.number] = nsp;
    if (nsp.server !== this.server) return;
    for (const shard of this.ready) shard.write(KIND.NAMESPACE, flagsOf(nsp), nsp.number, null, 0, 0, JSON.stringify(nsp.name));
    this.soon();
  }

  /** Nobody is in a namespace any more, and it is to end. */
  ended(nsp) {
    const question = nsp.server._numbers.end(nsp, this.ready.length);
    for (const shard of this.ready) shard.write(KIND.NAMESPACE, ENDS, nsp.number, null, question, 0, JSON.stringify(nsp.name));
    this.soon();
  }

  /** The server makes namespaces as clients want to enter them. */
  finds(server) {
    if (server !== this.server) return;
    for (const shard of this.ready) shard.write(KIND.FINDS, 0, 0, null, 0, 0, '');
    this.soon();
  }

  /** Waits for acknowledgements: the number for `emit` and `broadcast`. */
  await(act, ms, isOfMany = false) {
    let number = this._number;
    do number = (number + 1) >>> 0; while (this.acks.has(number | 0));
    this._number = number;
    this.acks.set(number | 0, { act, ms, isOfMany });
    return number;
  }

  forget(number) {
    this.acks.delete(number | 0);
  }

  emit(socket, args, isVolatile, ack) {
    if (this.first === undefined || (isVolatile && this.first.isBehind)) return;
    const { json, values } = encode(args);
    const flags = (isVolatile ? IS_VOLATILE : 0) | (ack === undefined ? 0 : WANTS_ACK);
    const ms = ack === undefined ? 0 : this.acks.get(ack | 0).ms;
    this._ask(KIND.EMIT, flags, socket, ack ?? 0, ms === 0 ? 0 : ms + GRACE_MS, json, values);
  }

  broadcast({ nsp, rooms, exceptRooms, flags, sender }, args, ack) {
    if (this.first === undefined || (flags.volatile && this.first.isBehind)) return;
    const { json, values } = encode(args);
    const bits = (flags.volatile ? IS_VOLATILE : 0) | (ack === undefined ? 0 : WANTS_ACK) | (sender === undefined ? 0 : NOT_TO_SENDER)
      | (flags.local ? IS_LOCAL : 0);
    const target = targetOf(rooms, exceptRooms, ack === undefined ? undefined : this.acks.get(ack | 0).ms + GRACE_MS);
    this.first.write(KIND.BROADCAST, bits, nsp.number, sender, ack ?? 0, 0, json, values, target);
    this.soon();
  }

  join(socket, rooms) {
    this._ask(KIND.JOIN, 0, socket, 0, 0, JSON.stringify(rooms.map(String)));
  }

  leave(socket, rooms) {
    this._ask(KIND.LEAVE, 0, socket, 0, 0, JSON.stringify(rooms.map(String)));
  }

  disconnect(socket, close) {
    this._ask(KIND.DISCONNECT, close ? AND_CONNECTION : 0, socket, 0, 0, '');
  }

  /** Asks something of a channel, under a number that the answer will have. */
  command(number, json, values) {
    this.first.write(KIND.COMMAND, 0, 0, null, number, 0, json, values);
    this.soon();
  }

  /** Asks the other members of a cluster, or other nodes, something; under a number that the answer will have, if there is one. */
  askMembers(nsp, json, values = null, number = 0) {
    if (this.first === undefined) return;
    this.first.write(KIND.MEMBERS, 0, nsp.number, null, number, 0, json, values);
    this.soon();
  }

  /** The data of a socket may have been changed, or may be in this turn. */
  touched(socket) {
    this._touched.push(socket);
    this.soon();
  }

  /** Tells the data that has changed. */
  tellData() {
    const touched = this._touched;
    this._touched = [];
    for (const socket of touched) {
      const json = socket._changedData();
      if (json !== undefined) this._ask(KIND.DATA, 0, socket, 0, 0, json);
    }
  }

  /** Writes what is there while the process ends. */
  endNow() {
    if (this.first === undefined) return;
    this.tellData();
    for (const shard of this.shards) shard.flushNow();
  }

  // The rest is private.

  _control(kind, json) {
    this.control.write(kind, 0, 0, null, 0, 0, json);
    this.control.flush();
  }

  _ask(kind, flags, socket, number, extra, json, values) {
    if (this.first === undefined || socket.nsp.isGone) return;
    this.first.write(kind, flags, socket.nsp.number, socket, number, extra, json, values);
    this.soon();
  }

  /** Another program is to take this one's place: what was given to this one is finished. */
  _stop() {
    this._stopping ??= new Stopping(this.ready, this.owed, () => {
      this.tellData();
      let left = this.shards.length;
      if (left === 0) this._control(KIND.STOPPED, '');
      const written = () => {
        left -= 1;
        if (left === 0) this._control(KIND.STOPPED, '');
      };
      for (const shard of this.shards) shard.whenWritten(written);
    });
  }

  /** Flushes when everything that this turn of the event loop does has been done. */
  soon() {
    if (this._isFlushing) return;
    this._isFlushing = true;
    setImmediate(() => {
      this.tellData();
      this._isFlushing = false;
      for (const shard of this.shards) shard.flush();
    });
  }

  /** Opens the links of the shards. */
  _open(count, at, ended) {
    for (let shard = 0; shard < count; shard += 1) {
      this.tables[shard] = [];
      const stream = new Stream(at(shard), (frame) => this._handle(shard, stream, frame), ended);
      stream.write(KIND.HELLO, 0, 0, null, 0, 0, hello());
      stream.flush();
      this.shards[shard] = stream;
    }
  }

  _handle(shard, stream, frame) {
    switch (frame.kind) {
      case KIND.EVENT: this._event(frame); break;
      case KIND.ACKED: this._acked(frame); break;
      case KIND.CONNECTED: this._connected(frame); break;
      case KIND.DISCONNECTED: this._disconnected(frame); break;
      case KIND.REPLY: this.channels.replied(frame); break;
      case KIND.SAID: this._said(frame); break;
      case KIND.MOVED: this._find(frame)?._moved(JSON.parse(frame.text()), (frame.flags & HAS_LEFT) !== 0); break;
      case KIND.ASK: this.entering.asked(shard, stream, frame); break;
      case KIND.FIND: this.entering.wanted(stream, frame); break;
      case KIND.ENDED: this.server._numbers.ended(frame.namespace, frame.number); break;
      case KIND.UPGRADED: this._find(frame)?._upgrade(); break;
      case KIND.HELLO: {
        const said = JSON.parse(frame.text());
        belongs(said);
        endIdsWith(said.id_end);
        this.hasMembers = said.members === true;
        this.entering.recall(said.namespaces ?? [], () => {
          if (shard === 0) this.first = stream;
          this.greeted.push(stream);
          // What is said of clients of any shard goes by the first link, so that begins before the others.
          if (this.first !== undefined) this.greeted.splice(0).reverse().forEach((one) => this._begin(one));
        });
        break;
      }
      case KIND.PAUSED: this._stopping?.paused(); break;
      case KIND.REFUSED: fatal(JSON.parse(frame.text()).message); break;
      default:
    }
  }

  /** Names the namespaces, and asks to be told of a shard's clients. */
  _begin(stream) {
    if (this._stopping !== undefined) return;
    if (this.server.parentNsps.size > 0) stream.write(KIND.FINDS, 0, 0, null, 0, 0, '');
    for (const nsp of this.server._nsps.values()) stream.write(KIND.NAMESPACE, flagsOf(nsp), nsp.number, null, 0, 0, JSON.stringify(nsp.name));
    stream.write(KIND.READY, 0, 0, null, 0, 0, '');
    stream.flush();
    this.ready.push(stream);
    if (stream === this.first) this.channels.begin();
  }

  _find({ shard, index, generation }) {
    const socket = this.tables[shard][index];
    return socket !== undefined && socket.generation === generation ? socket : undefined;
  }

  /** The namespace that a frame is of. Whoever is on the way to one that was about to end keeps it. */
  namespace({ namespace }) {
    const nsp = this.server._numbers.namespaces[namespace];
    if (nsp.isGone) nsp.comeBack();
    return nsp;
  }

  _event(frame) {
    const nsp = this.server._numbers.namespaces[frame.namespace];
    const { shard, index, generation } = frame;
    const socket = this._find(frame) ?? (nsp.isLight ? nsp.light(shard, index, generation) : undefined);
    if (socket === undefined) return;
    const event = frame.json(revive);
    if ((frame.flags & WANTS_ACK) !== 0) event.push(this._acknowledge(socket, frame.number, frame.extra));
    if (socket._handle === undefined) nsp.handle(socket, event);
    else socket._handle(event);
  }

  /** What a handler calls to acknowledge an event. */
  _acknowledge(socket, number, extra) {
    let isSent = false;
    const period = this.owed.add();
    return (...args) => {
      if (isSent) return;
      isSent = true;
      this.owed.settle(period);
      const { json, values } = encode(args);
      this._ask(KIND.ACK, 0, socket, number, extra, json, values);
    };
  }

  /** The program of another member says something. */
  _said(frame) {
    const nsp = this.server._numbers.namespaces[frame.namespace];
    const { number } = frame;
    const said = frame.json(revive);
    if ((frame.flags & WANTS_ACK) === 0) {
      nsp.tellSaid(said);
      return;
    }
    let isAnswered = false;
    const period = this.owed.add();
    const answer = (...args) => {
      if (isAnswered) return;
      isAnswered = true;
      this.owed.settle(period);
      const { json, values } = encode(args);
      this.first.write(KIND.ANSWER, 0, nsp.number, null, number, 0, json, values);
      this.soon();
    };
    if (!nsp.tellSaid([...said, answer])) answer();
  }

  _acked(frame) {
    const awaited = this.acks.get(frame.number);
    if (awaited === undefined) return;
    if (frame.extra === END_OF_ALL) {
      this.acks.delete(frame.number);
      const [, missing] = frame.json(revive);
      awaited.act([], missing);
    } else if (frame.extra === ANSWERED) {
      if (!awaited.isOfMany) this.acks.delete(frame.number);
      awaited.act(frame.json(revive));
    } else if (!awaited.isOfMany) {
      // Who waits with a time hears of it when that is over, and who waits without one never.
      this.acks.delete(frame.number);
    }
  }

  _connected(frame) {
    const nsp = this.namespace(frame);
    const { number, flags, shard, index, generation } = frame;
    let socket = this.entering.take(shard, number);
    const text = frame.text();
    const isRecovered = (flags & (IS_RECOVERED | IS_TOLD_AGAIN)) !== 0;
    const said = isRecovered ? JSON.parse(text) : {};
    // This program may have known it before it went; else only another one has.
    const kept = (flags & IS_RECOVERED) !== 0 && (flags & IS_TOLD_AGAIN) === 0 ? this.sessions.take(idOf(shard, index, generation)) : undefined;
    const told = kept ?? said;
    const asks = isRecovered && kept === undefined && nsp.hasMiddleware;
    const { isLight } = nsp;
    if (isLight) nsp.addLight();
    if (isLight && socket === undefined && !asks) return;
    socket ??= nsp.make(this.introduction(isRecovered ? withoutTold(said) : text));
    socket._identify(shard, index, generation);
    if (!isLight) this.tables[shard][index] = socket;
    const enter = () => {
      if (isLight) socket._doEarly();
      else nsp.add(socket, told, isRecovered);
    };
    if (!asks) {
      enter();
      return;
    }
    // What its middleware decided, and what it made of the socket, went with the former program.
    const period = this.owed.add();
    nsp.awaits();
    nsp.ask(socket, (error) => {
      this.owed.settle(period);
      const isThere = isLight || this._find({ shard, index, generation }) === socket;
      nsp.awaitsNoMore(!isThere || error !== undefined);
      if (!isThere) return;
      if (error) this.disconnect(socket, false);
      else enter();
    });
  }

  _disconnected(frame) {
    const socket = this._find(frame);
    if (socket === undefined) {
      this.server._numbers.namespaces[frame.namespace].removeLight();
      return;
    }
    this.tables[frame.shard][frame.index] = undefined;
    const reason = JSON.parse(frame.text());
    const recovery = this.server.opts.connectionStateRecovery;
    if (recovery && socket.connected) this.sessions.keep(socket, reason, recovery.maxDisconnectionDuration ?? options.RECOVERY_MS);
    socket._close(reason);
  }

  /** The same text once, for the many sockets that have it. */
  introduction(text) {
    const kept = this._introductions.get(text);
    if (kept !== undefined) return kept;
    if (this._introductions.size >= INTRODUCTIONS_MAX) this._introductions.clear();
    this._introductions.set(text, text);
    return text;
  }
}

/** Whom a broadcast is for, as JSON; undefined if that is everybody. */
function targetOf(rooms, except, timeout) {
  if (except.length === 0 && timeout === undefined) {
    if (rooms.length === 0) return undefined;
    // Most are for one room.
    if (rooms.length === 1) return `{"rooms":[${JSON.stringify(String(rooms[0]))}]}`;
  }
  return JSON.stringify({ rooms: rooms.map(String), except: except.map(String), timeout });
}

function hello() {
  return JSON.stringify({ protocol: PROTOCOL, package: version, pid: process.pid });
}

function flagsOf(nsp) {
  return nsp.hasMiddleware ? HAS_MIDDLEWARE : 0;
}

/** An introduction without what is the program's already. */
function withoutTold({ rooms, data, ...introduction }) {
  return JSON.stringify(introduction);
}

/** Ends the program if the server is of another version. */
function belongs({ protocol, server }) {
  if (protocol === PROTOCOL && server === version) return;
  fatal(`the package roadstead is ${version} and the server is ${server}: npm install roadstead@${server}, or take the package out of `
    + 'node_modules, so that the server\'s own is used');
}

function fatal(message) {
  console.error(`roadstead: ${message}`);
  process.exit(1);
}

const link = new Link();
process.on('exit', () => link.endNow());

module.exports = { link };
