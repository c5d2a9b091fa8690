// What a client said when it came, and the connection it came by, made from Roadstead's introduction when they are asked for.
'use strict';

const { EventEmitter } = require('node:events');
const { parse } = require('node:querystring');
const { warnOnce } = require('./refusals.js');

/** Fields of which Node keeps the first alone. */
const ALONE = new Set([
  'age', 'authorization', 'content-length', 'content-type', 'etag', 'expires', 'from', 'host', 'if-modified-since',
  'if-unmodified-since', 'last-modified', 'location', 'max-forwards', 'proxy-authorization', 'referer', 'retry-after', 'server',
  'user-agent',
]);

/** The handshake of a socket, with the fields of Socket.IO's. */
class Handshake {
  /** `introduction` is JSON; `issued` is when the client came, in ms since 1970. */
  constructor(introduction, issued) {
    const { auth, url = '', headers = '', address = '', secure = false, transport } = JSON.parse(introduction);
    this.headers = headersOf(headers);
    this.time = `${new Date(issued)}`;
    this.address = address;
    this.xdomain = this.headers.origin !== undefined;
    this.secure = secure;
    this.issued = issued;
    this.url = url;
    this.query = url.includes('?') ? { ...parse(url.slice(url.indexOf('?') + 1)) } : {};
    this.auth = auth ?? {};
    Object.defineProperty(this, 'transport', { value: transport });
  }
}

function headersOf(text) {
  const headers = {};
  for (const line of text.split('\n')) {
    const colon = line.indexOf(':');
    if (colon < 1) continue;
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    if (headers[name] === undefined) headers[name] = value;
    else if (!ALONE.has(name)) headers[name] += (name === 'cookie' ? '; ' : ', ') + value;
  }
  return headers;
}

/** The request that opened the connection, as much of it as there is: Roadstead has answered it. */
class Request extends EventEmitter {
  constructor(handshake) {
    super();
    this.method = 'GET';
    this.httpVersion = '1.1';
    this.httpVersionMajor = 1;
    this.httpVersionMinor = 1;
    this.complete = true;
    this.url = handshake.url;
    this.headers = handshake.headers;
    this._query = handshake.query;
    this.socket = { remoteAddress: handshake.address, encrypted: handshake.secure };
    this.connection = this.socket;
  }
}

/** `socket.conn`. Of its events there are `upgrade` and `close`. */
class Connection extends EventEmitter {
  constructor(socket) {
    super();
    const { transport, address } = socket.handshake;
    this.id = socket.id;
    this.protocol = 4;
    this.readyState = 'open';
    this.remoteAddress = address;
    this.upgraded = socket._isUpgraded;
    this.transport = { name: this.upgraded ? 'websocket' : transport };
    Object.defineProperty(this, '_socket', { value: socket });
  }

  get request() {
    return this._socket.request;
  }

  on(name, listener) {
    if (!['upgrade', 'close'].includes(name)) {
      warnOnce(`socket.conn.on(${JSON.stringify(name)})`, 'is never called under roadstead, which has the connection');
    }
    return super.on(name, listener);
  }

  close() {
    this._socket.disconnect(true);
    return this;
  }

  /** It is a WebSocket now. */
  becameWebSocket() {
    this.upgraded = true;
    this.transport = { name: 'websocket' };
    this.emit('upgrade', this.transport);
  }

  /** It has ended. */
  closed(reason) {
    this.readyState = 'closed';
    this.emit('close', reason);
  }
}

/** `socket.client`. */
class Client {
  constructor(socket) {
    this.id = socket.id;
    this.server = socket.server;
    this.conn = socket.conn;
    this.request = socket.request;
  }
}

module.exports = { Client, Connection, Handshake, Request };
