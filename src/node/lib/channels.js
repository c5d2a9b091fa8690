// Channels of the server: what is published to them reaches clients of `/ws`, event streams and long polls as well, and they hold
// history, keys, counters, and who is there. The manual's pages on channels, state and presence say what the answers mean.
'use strict';

/** Everything is asked for when it is called, in the order of the calls, behind and before what is emitted. */
class Channels {
  constructor(link) {
    // Who waits for which answer, and what is asked before there is a link; not shown.
    for (const [name, value] of Object.entries({ _link: link, _waiting: new Map(), _early: [] })) {
      Object.defineProperty(this, name, { value });
    }
    Object.defineProperty(this, '_number', { value: 0, writable: true });
    Object.defineProperty(this, '_isLinked', { value: false, writable: true });
  }

  /** Publishes a text, bytes, or any other value as JSON; where that stands. */
  publish(channel, data, { event, contentType } = {}) {
    return this._ask({ op: 'publish', channel, event, content_type: contentType }, data);
  }

  /** Publications that are kept, oldest first; those behind a position, if one is given. */
  history(channel, { since, limit } = {}) {
    return this._ask({ op: 'history', channel, since: since === undefined ? undefined : positionOf(since), limit });
  }

  /** Keys and counters, in the order of their names. */
  state(channel, { after, limit } = {}) {
    return this._ask({ op: 'state', channel, after, limit });
  }

  /** What a key or counter holds; undefined if there is none. */
  async get(channel, key) {
    return (await this._ask({ op: 'key', channel, key })) ?? undefined;
  }

  /** Lets a key hold a text, bytes, or any other value as JSON. */
  set(channel, key, data, { contentType, ...options } = {}) {
    return this._ask({ op: 'set', channel, key, content_type: contentType, ...conditions(options) }, data);
  }

  /** Lets a key hold nothing. */
  remove(channel, key, options = {}) {
    return this._ask({ op: 'remove', channel, key, ...conditions(options) });
  }

  /** Counts a counter further; its value since. */
  async add(channel, key, count = 1, options = {}) {
    return (await this._ask({ op: 'add', channel, key, add: count, ...conditions(options) })).value;
  }

  /** Who is there. */
  presence(channel, { after, limit } = {}) {
    return this._ask({ op: 'presence', channel, after, limit });
  }

  // The rest is for this module alone.

  /** There is a link. */
  begin() {
    this._isLinked = true;
    for (const ask of this._early.splice(0)) ask();
  }

  /** An answer has come. */
  replied(frame) {
    const asked = this._waiting.get(frame.number);
    this._waiting.delete(frame.number);
    const said = JSON.parse(frame.text());
    if ((frame.flags & IS_REFUSED) === 0) asked?.resolve(said);
    else asked?.reject(withCode(said.message, said.code));
  }

  /** What is answered under the number that `write` is given. */
  asked(write) {
    return new Promise((resolve, reject) => {
      this._mustHaveRoom();
      this._send(write, { resolve, reject });
    });
  }

  _mustHaveRoom() {
    this._link.mustBeThere();
    if (this._waiting.size + this._early.length >= WAITING_MAX) throw withCode('too much is asked of channels; wait for answers', 'busy');
  }

  _ask(command, data) {
    return new Promise((resolve, reject) => {
      this._mustHaveRoom();
      const isBytes = data instanceof ArrayBuffer || ArrayBuffer.isView(data);
      if (isBytes) {
        const bytes = data instanceof ArrayBuffer ? Buffer.from(data) : Buffer.from(data.buffer, data.byteOffset, data.byteLength);
        this._send((number) => this._link.command(number, JSON.stringify(command), [bytes]), { resolve, reject });
      } else {
        const json = JSON.stringify({ ...command, data });
        this._send((number) => this._link.command(number, json, null), { resolve, reject });
      }
    });
  }

  /** Has `write` write something that is answered under the number it is given. */
  _send(write, asked) {
    const ask = () => {
      do this._number = (this._number + 1) | 0; while (this._number === 0 || this._waiting.has(this._number));
      this._waiting.set(this._number, asked);
      write(this._number);
    };
    if (this._isLinked) ask();
    else this._early.push(ask);
  }
}

/** What has been asked and is not answered; it is kept until it is. */
const WAITING_MAX = 10_000;

const IS_REFUSED = 1;

function withCode(message, code) {
  return Object.assign(new Error(`roadstead: ${message}`), { code });
}

function conditions({ ttl, ifMatch, ifNoneMatch }) {
  return { ttl_ms: ttl, if_match: ifMatch, if_none_match: ifNoneMatch };
}

/** A position as a text: that of an answer, or one that is a text already. */
function positionOf(position) {
  return typeof position === 'object' ? `${position.epoch}:${position.offset}` : String(position);
}

module.exports = { Channels };
