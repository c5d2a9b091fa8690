// The server as programs know it: made of a port, an HTTP server or options, or of nothing and attached later.
'use strict';

const { EventEmitter } = require('node:events');
const http = require('node:http');
const https = require('node:https');
const capture = require('./capture.js');
const fetching = require('./fetching.js');
const { link } = require('./link.js');
const { Namespace } = require('./namespace.js');
const { Numbers } = require('./numbers.js');
const options = require('./options.js');
const { ParentNamespace } = require('./parent.js');
const { unsupported, warnOnce } = require('./refusals.js');

class Server {
  /** The first that the program has made. */
  static made;

  constructor(srv, opts = {}) {
    if (typeof srv === 'object' && srv !== null && typeof srv.listen !== 'function') {
      opts = srv;
      srv = undefined;
    }
    options.check(opts);
    this.opts = opts;
    this._nsps = new Map();
    this._numbers = new Numbers();
    /** What makes namespaces as clients want to enter them, with what decides; those of them that are patterns. */
    this.parentNsps = new Map();
    this._patterns = [];
    this._path = (opts.path ?? '/socket.io').replace(/\/$/, '');
    this.engine = new Engine(this);
    this.eio = this.engine;
    this.httpServer = undefined;
    this.sockets = this.of('/');
    Server.made ??= this;
    if (srv || typeof srv === 'number') this.attach(srv);
  }

  /** Channels of the server, for clients of any kind. */
  get channels() {
    return link.channels;
  }

  get _opts() {
    return this.opts;
  }

  /** Listens, or says what listens: a port, or an HTTP server of the program's. */
  attach(srv, opts = {}) {
    if (typeof srv === 'function') {
      throw new Error('You are trying to attach socket.io to an express request handler function. Please pass a http.Server instance.');
    }
    options.check(opts);
    this.opts = Object.assign(opts, this.opts);
    const port = ['number', 'string'].includes(typeof srv) ? Number(srv) : undefined;
    const own = port === undefined ? srv : http.createServer(fetching.answer);
    if (own instanceof https.Server || !(own instanceof http.Server)) {
      throw unsupported('a server that is not one of node:http', 'give Roadstead the certificate ([tls]) and make the server with http.createServer');
    }
    this.opts.path ??= this._path;
    this.httpServer = own;
    link.serve(this);
    capture.claim(own, this);
    if (port !== undefined) own.listen(port);
    return this;
  }

  listen(srv, opts) {
    return this.attach(srv, opts);
  }

  of(name, listener) {
    if (typeof name === 'function' || name instanceof RegExp) return this._parent(name, listener);
    let full = String(name);
    if (full[0] !== '/') full = `/${full}`;
    let nsp = this._nsps.get(full);
    if (nsp === undefined) {
      // As with npm's, the child has its parent's listeners alone.
      for (const { pattern, parent } of this._patterns) if (pattern.test(full)) return parent.createChild(full);
      nsp = new Namespace(this, full, this._numbers.reserve(full), link);
      this._enter(nsp);
    }
    if (listener) nsp.on('connect', listener);
    return nsp;
  }

  /** Makes namespaces as clients want to enter them, of those names that a pattern or function accepts. */
  _parent(accepts, listener) {
    if (Number(process.env.ROADSTEAD_WORKERS) > 1) {
      throw unsupported('of(RegExp) with --workers', 'what one process makes, the others would not know; name each namespace with io.of("/name")');
    }
    if (accepts instanceof RegExp && (accepts.global || accepts.sticky)) throw new Error('stateful regular expressions are not supported');
    const parent = new ParentNamespace(this, link);
    if (accepts instanceof RegExp) {
      this._patterns.push({ pattern: accepts, parent });
      this.parentNsps.set((name, _, next) => next(null, accepts.test(name)), parent);
    } else {
      this.parentNsps.set(accepts, parent);
    }
    if (this.parentNsps.size === 1) link.finds(this);
    if (listener) parent.on('connect', listener);
    return parent;
  }

  /** A namespace is there from now on. */
  _enter(nsp) {
    this._nsps.set(nsp.name, nsp);
    link.changed(nsp);
    if (nsp.name !== '/') this.sockets.tell('new_namespace', nsp);
  }

  /**
   * Somebody wants to enter a namespace that may not be there: `then` is called with it, or with nothing and, if it is not the name
   * that was refused, why.
   */
  _find(name, auth, then) {
    const known = this._nsps.get(name);
    if (known !== undefined) {
      then(known);
      return;
    }
    const parents = this.parentNsps.entries();
    const run = () => {
      const { done, value } = parents.next();
      if (done) {
        then(undefined);
        return;
      }
      const [accepts, parent] = value;
      accepts(name, auth, (error, isAccepted) => {
        if (error || !isAccepted) run();
        // It may have been made meanwhile.
        else if (this._nsps.has(name)) then(this._nsps.get(name));
        else if (this._numbers.isFull) then(undefined, 'the server has as many namespaces as it may; try again later');
        else then(parent.createChild(name));
      });
    };
    run();
  }

  /** Who wants to enter is asked about from now on, in all namespaces. */
  _asksNow() {
    for (const nsp of this._nsps.values()) link.changed(nsp);
  }

  async close(then) {
    for (const nsp of this._nsps.values()) {
      for (const socket of [...nsp.sockets.values()]) socket._close('server shutting down');
    }
    if (this.httpServer === undefined) {
      then?.();
      return;
    }
    await new Promise((resolve) => {
      this.httpServer.close((error) => {
        then?.(error);
        resolve();
      });
      this.httpServer.closeIdleConnections();
    });
  }

  adapter(value) {
    if (value === undefined) return this.sockets.adapter.constructor;
    warnOnce('io.adapter(…)', 'does nothing under roadstead: shards and nodes are joined by Roadstead itself');
    return this;
  }

  path(value) {
    if (value === undefined) return this._path;
    this._path = value.replace(/\/$/, '');
    this.opts.path = this._path;
    return this;
  }

  serveClient(value) {
    if (value === undefined) return this.opts.serveClient !== false;
    this.opts.serveClient = value;
    return this;
  }

  connectTimeout(value) {
    if (value === undefined) return this.opts.connectTimeout ?? 45000;
    this.opts.connectTimeout = value;
    return this;
  }

  bind() {
    throw unsupported('io.bind', 'Roadstead has the connections; call io.attach(httpServer) or io.listen(port)');
  }

  attachApp() {
    throw unsupported('io.attachApp', 'Roadstead takes the place of uWebSockets.js; call io.listen(port)');
  }

  use(middleware) {
    this.sockets.use(middleware);
    return this;
  }

  send(...args) {
    this.sockets.emit('message', ...args);
    return this;
  }

  write(...args) {
    return this.send(...args);
  }
}

/** `io.engine`: Roadstead's, of which the program sees how many connections there are. */
class Engine extends EventEmitter {
  constructor(server) {
    super();
    Object.defineProperty(this, '_server', { value: server });
    Object.defineProperty(this, '_fns', { value: [] });
  }

  get opts() {
    return this._server.opts;
  }

  /** Sockets of the largest namespace: every connection is in one namespace at least, and in most programs in one alone. */
  get clientsCount() {
    return Math.max(...[...this._server._nsps.values()].map((nsp) => nsp.count));
  }

  on(name, listener) {
    warnOnce(`io.engine.on(${JSON.stringify(name)})`, 'is never called under roadstead, which has the connections');
    return super.on(name, listener);
  }

  /**
   * Middleware of HTTP, such as a session's, for the request that opened a client's connection: it runs when the client wants to enter
   * a namespace, before the namespace's own, and what it makes of the request is `socket.request`.
   */
  use(middleware) {
    this._fns.push(middleware);
    if (this._fns.length === 1) this._server._asksNow();
    return this;
  }

  get hasMiddleware() {
    return this._fns.length > 0;
  }

  /** Runs them for a socket: `then` is called with the error of the one that refused it, or with nothing. */
  pass(socket, then) {
    if (this._fns.length === 0) {
      then();
      return;
    }
    const fns = this._fns.slice();
    const { request } = socket;
    let isOver = false;
    const end = (error) => {
      if (isOver) return;
      isOver = true;
      then(error);
    };
    const response = new http.ServerResponse(request);
    // Whoever answers does not let it in; the client's request has been answered already.
    response.end = function ended() {
      end(Object.assign(new Error(http.STATUS_CODES[response.statusCode] ?? 'refused'), { data: { status: response.statusCode } }));
      return response;
    };
    const run = (place) => {
      if (place === fns.length) end();
      else fns[place](request, response, (error) => (error ? end(error) : run(place + 1)));
    };
    run(0);
  }

  get generateId() {
    return undefined;
  }

  set generateId(_) {
    throw unsupported('io.engine.generateId', 'ids say on which shard a client is');
  }
}

/** Everything that is said to the server is said to its main namespace. */
const OF_MAIN_NAMESPACE = [
  ...Object.keys(EventEmitter.prototype).filter((name) => typeof EventEmitter.prototype[name] === 'function'),
  'onEvent', 'emitWithAck', 'to', 'in', 'except', 'timeout', 'compress', 'allSockets', 'fetchSockets', 'socketsJoin', 'socketsLeave',
  'disconnectSockets', 'serverSideEmit', 'serverSideEmitWithAck',
];
for (const name of OF_MAIN_NAMESPACE) {
  Server.prototype[name] = function said(...args) {
    const answer = this.sockets[name](...args);
    return answer === this.sockets && name === 'onEvent' ? this : answer;
  };
}
for (const name of ['volatile', 'local']) {
  Object.defineProperty(Server.prototype, name, { get() { return this.sockets[name]; } });
}

module.exports = { Server };
