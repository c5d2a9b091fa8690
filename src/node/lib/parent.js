// Namespaces that are made as clients want to enter them: `io.of(/pattern/)` and `io.of((name, auth, next) => …)`. The parent has
// nobody in it; its children have its middleware and its listeners, as they were when the child was made.
'use strict';

const { Namespace } = require('./namespace.js');

let made = 0;

class ParentNamespace extends Namespace {
  constructor(server, link) {
    super(server, `/_${made}`, undefined, link);
    made += 1;
    this.children = new Set();
  }

  /** To everybody in all of its children. */
  emit(event, ...args) {
    for (const child of [...this.children]) child.emit(event, ...args);
    return true;
  }

  fetchSockets() {
    throw new Error('fetchSockets() is not supported on parent namespaces');
  }

  createChild(name) {
    const child = new Namespace(this.server, name, this.server._numbers.reserve(name), this.link);
    child.parent = this;
    child._fns = this._fns.slice();
    child._handlers = this._handlers && new Map([...this._handlers].map(([event, handlers]) => [event, handlers.slice()]));
    for (const event of ['connect', 'connection']) {
      for (const listener of this.listeners(event)) child.on(event, listener);
    }
    this.children.add(child);
    this.server._enter(child);
    return child;
  }
}

module.exports = { ParentNamespace };
