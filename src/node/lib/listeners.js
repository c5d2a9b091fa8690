// Listeners of very many emitters, most of which listen to the same names: the names are kept once for all of them (a shape),
// and each emitter keeps its functions alone. What is said to an emitter and how stands in Node's own `events`.
'use strict';

/** Names in their order, and where each stands. Those of an emitter with another name are another shape. */
class Shape {
  constructor(names) {
    this.names = names;
    this.places = new Map(names.map((name, place) => [name, place]));
    this.next = new Map();
  }

  /** The shape with one name more. Those that many emitters have are shared. */
  with(name) {
    let shape = this.next.get(name);
    if (shape === undefined) {
      shape = new Shape([...this.names, name]);
      // Names made of numbers, say, are not kept for ever.
      if (this.next.size < SHAPES_AFTER_ONE_MAX) this.next.set(name, shape);
    }
    return shape;
  }
}

const SHAPES_AFTER_ONE_MAX = 64;
const NONE = new Shape([]);

/** Several listeners to one name, in their order. */
class Several {
  constructor(listeners) {
    this.listeners = listeners;
  }
}

/** A listener that is called once. */
function once(emitter, name, listener) {
  const wrapped = function wrapped(...args) {
    emitter.removeListener(name, wrapped);
    return Reflect.apply(listener, this, args);
  };
  wrapped.listener = listener;
  return wrapped;
}

function check(listener) {
  if (typeof listener !== 'function') {
    throw Object.assign(new TypeError(`The "listener" argument must be of type function. Received ${listener === null ? 'null' : typeof listener}`), {
      code: 'ERR_INVALID_ARG_TYPE',
    });
  }
}

/** The part of `EventEmitter` that listens, with little memory for each. */
class Listeners {
  constructor() {
    this._shape = NONE;
    // The entries of the first three names, and an array of those of the others. An entry is a function, `Several`, or nothing.
    this._entry0 = undefined;
    this._entry1 = undefined;
    this._entry2 = undefined;
    this._entries = undefined;
  }

  on(name, listener) {
    return this._add(name, listener, false);
  }

  addListener(name, listener) {
    return this._add(name, listener, false);
  }

  prependListener(name, listener) {
    return this._add(name, listener, true);
  }

  once(name, listener) {
    check(listener);
    return this._add(name, once(this, name, listener), false);
  }

  prependOnceListener(name, listener) {
    check(listener);
    return this._add(name, once(this, name, listener), true);
  }

  off(name, listener) {
    return this.removeListener(name, listener);
  }

  removeListener(name, listener) {
    const listeners = this.rawListeners(name);
    for (let index = listeners.length - 1; index >= 0; index -= 1) {
      if (listeners[index] === listener || listeners[index].listener === listener) {
        listeners.splice(index, 1);
        this._set(name, listeners.length > 1 ? new Several(listeners) : listeners[0]);
        break;
      }
    }
    return this;
  }

  removeAllListeners(name) {
    if (name === undefined) {
      this._shape = NONE;
      this._entry0 = undefined;
      this._entry1 = undefined;
      this._entry2 = undefined;
      this._entries = undefined;
    } else if (this._entry(name) !== undefined) {
      this._set(name, undefined);
    }
    return this;
  }

  rawListeners(name) {
    const entry = this._entry(name);
    if (entry === undefined) return [];
    return entry instanceof Several ? entry.listeners.slice() : [entry];
  }

  listeners(name) {
    return this.rawListeners(name).map((listener) => listener.listener ?? listener);
  }

  listenerCount(name, listener) {
    const listeners = this.listeners(name);
    return listener === undefined ? listeners.length : listeners.filter((one) => one === listener).length;
  }

  eventNames() {
    return this._shape.names.filter((name) => this._entry(name) !== undefined);
  }

  /** Here no number of listeners is taken for a mistake. */
  setMaxListeners() {
    return this;
  }

  getMaxListeners() {
    return 0;
  }

  /** Calls the listeners to a name; whether there were any. */
  _tell(name, ...args) {
    const entry = this._entry(name);
    if (entry === undefined) return false;
    if (typeof entry === 'function') Reflect.apply(entry, this, args);
    else for (const listener of entry.listeners) Reflect.apply(listener, this, args);
    return true;
  }

  /** The same for an event as it arrived: its name and then its arguments. */
  _tellEvent(event) {
    const entry = this._entry(event[0]);
    if (entry === undefined) return;
    if (typeof entry === 'function') call(entry, this, event);
    else for (const listener of entry.listeners) call(listener, this, event);
  }

  _entry(name) {
    const place = this._shape.places.get(name);
    switch (place) {
      case undefined: return undefined;
      case 0: return this._entry0;
      case 1: return this._entry1;
      case 2: return this._entry2;
      default: return this._entries[place - 3];
    }
  }

  _set(name, entry) {
    let place = this._shape.places.get(name);
    if (place === undefined) {
      place = this._shape.names.length;
      this._shape = this._shape.with(name);
    }
    switch (place) {
      case 0: this._entry0 = entry; break;
      case 1: this._entry1 = entry; break;
      case 2: this._entry2 = entry; break;
      default:
        // `concat` makes arrays that have no room to spare.
        if (this._entries === undefined) this._entries = [entry];
        else if (place - 3 === this._entries.length) this._entries = this._entries.concat([entry]);
        else this._entries[place - 3] = entry;
    }
  }

  _add(name, listener, isFirst) {
    check(listener);
    const before = this._entry(name);
    if (before === undefined) {
      this._set(name, listener);
    } else {
      const all = before instanceof Several ? before.listeners : [before];
      this._set(name, new Several(isFirst ? [listener, ...all] : [...all, listener]));
    }
    return this;
  }
}

/** Calls a listener with the arguments of an event, without an array of them where there are few. */
function call(listener, self, event) {
  switch (event.length) {
    case 1: listener.call(self); break;
    case 2: listener.call(self, event[1]); break;
    case 3: listener.call(self, event[1], event[2]); break;
    case 4: listener.call(self, event[1], event[2], event[3]); break;
    default: listener.apply(self, event.slice(1));
  }
}

module.exports = { Listeners };
