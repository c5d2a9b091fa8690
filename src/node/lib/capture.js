// The HTTP server of the program: when it wants to listen on a port, Roadstead does, and the server listens on a Unix socket
// beside the link, where Roadstead passes it the requests that it does not answer itself.
//
// Only servers that a Socket.IO server is attached to are meant, and the others listen as ever. Programs attach before they listen or
// behind it, mostly in the same turn; so every server waits for the end of its turn.
'use strict';

const fs = require('node:fs');
const http = require('node:http');
const { isIPv6 } = require('node:net');
const path = require('node:path');
const { clientFile } = require('./client_files.js');
const { link } = require('./link.js');
const { unsupported } = require('./refusals.js');

const { listen } = http.Server.prototype;

/** Socket.IO's server for each HTTP server that has one. */
const owners = new WeakMap();
/** The arguments of calls to `listen` that wait for the end of the turn. */
const waiting = new WeakMap();
/** Whether any was called. */
let isAsked = false;

/** Makes every HTTP server ask before it listens. */
function install() {
  if (http.Server.prototype.listen !== listen) return;
  http.Server.prototype.listen = function listenWhereItBelongs(...args) {
    isAsked = true;
    const asked = addressAsked(args);
    if (asked === undefined && owners.has(this)) {
      throw unsupported('a Unix socket or file descriptor for clients', 'listen on a port; Roadstead\'s own server.listen may name a Unix socket');
    }
    if (asked === undefined) return listen.apply(this, args);
    if (owners.has(this)) {
      capture(this, asked);
      return this;
    }
    waiting.set(this, args);
    process.nextTick(() => {
      if (waiting.delete(this)) listen.apply(this, args);
    });
    return this;
  };
}

/** An HTTP server gets a Socket.IO server. */
function claim(server, io) {
  if (owners.has(server)) return;
  link.mustBeThere();
  install();
  owners.set(server, io);
  answerFirst(server, io);
  const args = waiting.get(server);
  if (args !== undefined) {
    waiting.delete(server);
    capture(server, addressAsked(args));
  } else if (server.listening) {
    const { address, port } = server.address();
    server._handle.close();
    server._handle = null;
    capture(server, { port, host: address === '::' ? undefined : address });
  }
}

/** What `listen` was asked for: a port, a host, a callback; undefined if that is no TCP port. */
function addressAsked(args) {
  const callback = args.findLast((one) => typeof one === 'function');
  const [first, second] = args;
  if (typeof first === 'object' && first !== null) {
    if (first.path !== undefined || first.fd !== undefined || first._handle !== undefined) return undefined;
    return { port: Number(first.port ?? 0), host: first.host, callback };
  }
  if (first === undefined || first === null || typeof first === 'function') return { port: 0, callback };
  if (!(Number(first) >= 0)) return undefined;
  return { port: Number(first), host: typeof second === 'string' ? second : undefined, callback };
}

/** Lets Roadstead listen in the place of an HTTP server, and the server beside the link. */
function capture(server, { port, host, callback }) {
  if (callback) server.once('listening', callback);
  const where = path.join(link.folder, 'http.sock');
  fs.rmSync(where, { force: true });
  // It is told that it listens when Roadstead does.
  server.emit = function emit(name, ...args) {
    return name === 'listening' ? true : http.Server.prototype.emit.call(this, name, ...args);
  };
  listen.call(server, { path: where });
  link.listen(port, host, (error, listening) => {
    delete server.emit;
    if (error) {
      server.close();
      server.emit('error', error);
      return;
    }
    server.address = () => ({ ...listening, family: isIPv6(listening.address) ? 'IPv6' : 'IPv4' });
    server.close = function close(...args) {
      link.close();
      return http.Server.prototype.close.apply(this, args);
    };
    server.emit('listening');
  });
}

/** Stands in front of the program's own answers: says where a request came from, and hands out the client script. */
function answerFirst(server, io) {
  const listeners = server.listeners('request');
  server.removeAllListeners('request');
  server.on('request', (request, response) => {
    tellOrigin(request);
    const file = io.serveClient() ? clientFile(request.url, io.path()) : undefined;
    if (file !== undefined) {
      file(request, response);
      return;
    }
    for (const listener of listeners) listener.call(server, request, response);
  });
}

/** The client's address and scheme, which Roadstead names in headers, where a program looks for them. The connection is kept
 *  for requests of others, of whom no address may be known. */
function tellOrigin({ socket, headers }) {
  const remoteAddress = headers['x-forwarded-for']?.split(',')[0].trim();
  const encrypted = headers['x-forwarded-proto'] === 'https';
  for (const [name, value] of Object.entries({ remoteAddress, encrypted })) {
    Object.defineProperty(socket, name, { value, configurable: true });
  }
}

/** Whether the program has asked any HTTP server to listen. */
function hasAsked() {
  return isAsked;
}

module.exports = { claim, hasAsked, install };
