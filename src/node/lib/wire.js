// The frames of the link: what their bytes mean, and nothing of what they are for. The manual's page on the link is the
// authority; the names of the kinds are the ones it uses.
'use strict';

/** The version of the protocol that this module speaks. */
const PROTOCOL = 3;

/** Bytes of a frame's head, in front of its body. */
const HEAD = 28;

/** Bytes of a frame's body at most. */
const BODY_MAX = 16 << 20;

/** Kinds of frames. */
const KIND = Object.freeze({
  HELLO: 1, REFUSED: 2, LISTEN: 3, LISTENING: 4, PING: 5, PONG: 6, STOP: 7, STOPPED: 8,
  ASK: 16, FIND: 17, CONNECTED: 18, EVENT: 19, ACKED: 20, DISCONNECTED: 21, UPGRADED: 22, PAUSED: 23, REPLY: 24, ENDED: 25, SAID: 26, MOVED: 27,
  NAMESPACE: 32, READY: 33, VERDICT: 34, EMIT: 35, BROADCAST: 36, ACK: 37, JOIN: 38, LEAVE: 39, DISCONNECT: 40, DATA: 41,
  PAUSE: 42, COMMAND: 43, FINDS: 44, MEMBERS: 45, ANSWER: 46,
});

/** Bytes that are allocated at a time for frames on their way out. */
const CHUNK = 256 << 10;

const NOBODY = Object.freeze({ shard: 0, index: 0, generation: 0 });

/**
 * Frames on their way out, written one behind the other into chunks of memory. A chunk is given away as it stands and never
 * written to again where it was given away, so nothing is copied.
 */
class Writer {
  constructor() {
    this.chunk = Buffer.allocUnsafeSlow(CHUNK);
    this.begin = 0;
    this.end = 0;
    this.full = [];
    this.fullBytes = 0;
  }

  /** Whether there is anything to write. */
  get isEmpty() {
    return this.end === this.begin && this.full.length === 0;
  }

  /** Bytes that wait here. */
  get bytes() {
    return this.fullBytes + this.end - this.begin;
  }

  /** Gives away what was written since the last time. */
  take() {
    const taken = this.full;
    if (this.end > this.begin) taken.push(this.chunk.subarray(this.begin, this.end));
    this.begin = this.end;
    this.full = [];
    this.fullBytes = 0;
    return taken;
  }

  /**
   * Writes a frame. `who` has the fields `shard`, `index` and `generation` of a socket, or is null; `values` is null or an
   * array of Buffers; `target` is a text in front of the JSON, whose size takes the place of `extra`.
   */
  frame(kind, flags, namespace, who, number, extra, json, values, target) {
    let room = HEAD + 3 * json.length;
    if (target) room += 3 * target.length;
    if (values) for (const value of values) room += 4 + value.length;
    if (this.end + room > this.chunk.length) this.grow(room);
    const { chunk } = this;
    const head = this.end;
    let at = head + HEAD;
    if (target) {
      extra = write(chunk, target, at);
      at += extra;
    }
    if (values) for (const value of values) at = put32(chunk, at, value.length);
    at += write(chunk, json, at);
    if (values) for (const value of values) at += value.copy(chunk, at);
    if (at - head - HEAD > BODY_MAX) {
      throw new RangeError(`what is sent at a time has at most ${BODY_MAX} bytes, and this has ${at - head - HEAD}`);
    }
    const { shard, index, generation } = who ?? NOBODY;
    put32(chunk, head, at - head - HEAD);
    chunk[head + 4] = kind;
    chunk[head + 5] = flags;
    put16(chunk, head + 6, namespace);
    put16(chunk, head + 8, shard);
    put16(chunk, head + 10, values ? values.length : 0);
    put32(chunk, head + 12, index);
    put32(chunk, head + 16, generation);
    put32(chunk, head + 20, number);
    put32(chunk, head + 24, extra);
    this.end = at;
  }

  grow(room) {
    if (this.end > this.begin) {
      this.full.push(this.chunk.subarray(this.begin, this.end));
      this.fullBytes += this.end - this.begin;
    }
    this.chunk = Buffer.allocUnsafeSlow(Math.max(CHUNK, room));
    this.begin = 0;
    this.end = 0;
  }
}

function put16(bytes, at, number) {
  bytes[at] = number;
  bytes[at + 1] = number >>> 8;
}

function put32(bytes, at, number) {
  bytes[at] = number;
  bytes[at + 1] = number >>> 8;
  bytes[at + 2] = number >>> 16;
  bytes[at + 3] = number >>> 24;
  return at + 4;
}

/** Writes a text and tells how many bytes that are. */
function write(bytes, text, at) {
  if (text.length > 48) return bytes.utf8Write ? bytes.utf8Write(text, at) : bytes.write(text, at, 'utf8');
  // A short text of ASCII, which most are, costs less than the call.
  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index);
    if (code > 127) return bytes.write(text, at, 'utf8');
    bytes[at + index] = code;
  }
  return text.length;
}

function get16(bytes, at) {
  return bytes[at] | (bytes[at + 1] << 8);
}

/** As a signed number, which Node keeps without allocating. */
function get32(bytes, at) {
  return bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
}

/**
 * A frame that has arrived. One object is used for all of them: its fields are good until the next frame is read.
 */
class Frame {
  constructor() {
    this.kind = 0;
    this.flags = 0;
    this.namespace = 0;
    this.shard = 0;
    this.index = 0;
    this.generation = 0;
    this.number = 0;
    this.extra = 0;
    this.values = 0;
    this.bytes = null;
    this.begin = 0;
    this.end = 0;
  }

  /**
   * Reads the frame that begins at `at`, of which there are bytes up to `end`. Returns where it ends, or minus the
   * bytes that it needs in all.
   */
  read(bytes, at, end) {
    if (end - at < HEAD) return -HEAD;
    const body = get32(bytes, at) >>> 0;
    if (body > BODY_MAX) throw new RangeError(`a frame of ${body} bytes on the link`);
    if (end - at - HEAD < body) return -(HEAD + body);
    this.kind = bytes[at + 4];
    this.flags = bytes[at + 5];
    this.namespace = get16(bytes, at + 6);
    this.shard = get16(bytes, at + 8);
    this.values = get16(bytes, at + 10);
    this.index = get32(bytes, at + 12);
    this.generation = get32(bytes, at + 16);
    this.number = get32(bytes, at + 20);
    this.extra = get32(bytes, at + 24);
    this.bytes = bytes;
    this.begin = at + HEAD;
    this.end = at + HEAD + body;
    return this.end;
  }

  /** The body as a text, of a frame without attachments. */
  text() {
    return this.begin === this.end ? '' : this.bytes.utf8Slice(this.begin, this.end);
  }

  /** The JSON of the body, in which `revive` puts the attachments, if there are any, to their places. */
  json(revive) {
    if (this.values === 0) return JSON.parse(this.bytes.utf8Slice(this.begin, this.end));
    const sizes = Array.from({ length: this.values }, (_, index) => get32(this.bytes, this.begin + 4 * index));
    const first = this.end - sizes.reduce((sum, size) => sum + size, 0);
    const value = JSON.parse(this.bytes.utf8Slice(this.begin + 4 * this.values, first));
    let at = first;
    return revive(value, sizes.map((size) => {
      at += size;
      return Buffer.from(this.bytes.subarray(at - size, at));
    }));
  }
}

/** The id of a socket, as clients see it. */
function idOf(shard, index, generation) {
  const bytes = Buffer.allocUnsafe(15);
  bytes.writeUInt16BE(shard, 0);
  bytes.writeInt32BE(index, 2);
  bytes.writeInt32BE(generation, 6);
  idEnd.copy(bytes, 10);
  return bytes.toString('base64url');
}

/** Where the socket with an id is, or undefined if that cannot be one. */
function whereIs(id) {
  if (typeof id !== 'string' || id.length !== 20) return undefined;
  const bytes = Buffer.from(id, 'base64url');
  if (bytes.length !== 15 || bytes.compare(idEnd, 0, 5, 10) !== 0) return undefined;
  return { shard: bytes.readUInt16BE(0), index: bytes.readInt32BE(2), generation: bytes.readInt32BE(6) };
}

let idEnd = Buffer.from('4cd71b92ae', 'hex');

/** The server says how the ids of its sockets end: those of several nodes name them. */
function endIdsWith(hex) {
  idEnd = Buffer.from(hex, 'hex');
}

module.exports = { PROTOCOL, HEAD, BODY_MAX, KIND, Writer, Frame, idOf, whereIs, endIdsWith };
