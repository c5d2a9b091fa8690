// One Unix socket of the link: frames in, frames out. What arrives is read into memory that is used again; what is written
// leaves once in a turn of the event loop.
'use strict';

const fs = require('node:fs');
const net = require('node:net');
const { Frame, Writer } = require('./wire.js');

/** Bytes that are read at a time. */
const READ = 256 << 10;

/** What was needed for large frames is given back if it is more than this. */
const KEPT_MAX = 1 << 20;

/** Bytes that Roadstead has not read yet: from here on what is volatile is not sent… */
const LAZY = 1 << 20;

/** …and beyond this nothing is: a program that sends so much more than can go out would end for want of memory. */
const PENDING_MAX = 512 << 20;

class Stream {
  /** `handle` is called with each frame, which is good for the call alone; `ended` when the socket has. */
  constructor(path, handle, ended) {
    this.out = new Writer();
    this.handle = handle;
    this.frame = new Frame();
    // What is to be handled stands in `source` from `begin` to `end`: that is `input`, into which Node reads, or `rest`, where what
    // a read has left is put together with the next ones.
    this.input = Buffer.allocUnsafeSlow(READ);
    this.rest = Buffer.allocUnsafeSlow(READ);
    this.source = this.input;
    this.begin = 0;
    this.end = 0;
    this.isHeld = false;
    this.socket = net.connect({ path, onread: { buffer: this.input, callback: (count) => this.receive(count) } });
    this.socket.on('error', () => {});
    this.socket.on('close', ended);
  }

  /** Whether a volatile event would wait. */
  get isBehind() {
    return this.socket.writableLength > LAZY;
  }

  /** Writes a frame, which leaves with the next `flush`. */
  write(kind, flags, namespace, who, number, extra, json, values, target) {
    if (this.socket.writableLength + this.out.bytes > PENDING_MAX) {
      throw new Error(`roadstead: ${PENDING_MAX} bytes are on their way out already; send less, or wait for acknowledgements`);
    }
    this.out.frame(kind, flags, namespace, who, number, extra, json, values, target);
  }

  flush() {
    if (this.out.isEmpty || this.socket.destroyed) return;
    const chunks = this.out.take();
    if (chunks.length === 1) {
      this.socket.write(chunks[0]);
      return;
    }
    this.socket.cork();
    for (const chunk of chunks) this.socket.write(chunk);
    this.socket.uncork();
  }

  /** The same when the process ends and nothing is done later any more. */
  flushNow() {
    const descriptor = this.socket._handle?.fd;
    if (this.out.isEmpty || !(descriptor >= 0) || this.socket.writableLength > 0) return;
    const bytes = Buffer.concat(this.out.take());
    try {
      for (let at = 0; at < bytes.length;) at += fs.writeSync(descriptor, bytes, at);
    } catch {
      // The other side has gone or is full: there is nobody to tell.
    }
  }

  /** Calls `done` when all that was written has left. */
  whenWritten(done) {
    this.flush();
    this.socket.write('', done);
  }

  close() {
    this.flush();
    this.socket.end();
  }

  // The rest is private.

  /** So many bytes have been read. */
  receive(count) {
    if (this.begin === this.end) {
      this.source = this.input;
      this.begin = 0;
      this.end = count;
    } else {
      this.keep(this.input, 0, count);
    }
    if (!this.isHeld) this.drain();
    if (this.source === this.input && this.begin < this.end) {
      const { begin, end } = this;
      this.begin = 0;
      this.end = 0;
      this.keep(this.input, begin, end);
    }
    return true;
  }

  /** Puts bytes behind those that are left. */
  keep(bytes, from, to) {
    const left = this.end - this.begin;
    const needed = left + to - from;
    const isOwn = left > 0;
    if (this.end + to - from > this.rest.length || !isOwn) {
      const place = needed > this.rest.length ? Buffer.allocUnsafeSlow(Math.max(2 * this.rest.length, needed)) : this.rest;
      if (isOwn) this.rest.copy(place, 0, this.begin, this.end);
      this.rest = place;
      this.begin = 0;
      this.end = left;
    }
    bytes.copy(this.rest, this.end, from, to);
    this.end += to - from;
    this.source = this.rest;
  }

  /**
   * Handles the frames that are there. What the program throws is its own business, as if each were called by Node itself; those
   * behind it are handled if it lives on.
   */
  drain() {
    this.isHeld = false;
    while (this.begin < this.end) {
      const next = this.frame.read(this.source, this.begin, this.end);
      if (next < 0) return;
      this.begin = next;
      try {
        this.handle(this.frame);
      } catch (error) {
        this.isHeld = true;
        setImmediate(() => { throw error; });
        setImmediate(() => this.drain());
        return;
      }
    }
    if (this.rest.length > KEPT_MAX) this.rest = Buffer.allocUnsafeSlow(READ);
  }
}

module.exports = { Stream };
