// The numbers that the namespaces of a server have on the link. One whose namespace has ended is used again once every link has said
// so, for frames of it may be under way until then.
'use strict';

/** Namespaces that a server may have at a time. */
const NAMESPACES_MAX = 10_000;

class Numbers {
  constructor() {
    /** The namespaces by their numbers, with those that are about to end. */
    this.namespaces = [];
    this._free = [];
    /** Those that are about to end, by their names. */
    this._ending = new Map();
    this._question = 0;
  }

  /** Whether there can be no more namespaces. */
  get isFull() {
    return this._free.length === 0 && this.namespaces.length >= NAMESPACES_MAX;
  }

  /** A number for a namespace that is made; that of one of this name that is about to end, for then it does not. */
  reserve(name) {
    const ending = this._ending.get(name);
    if (ending !== undefined) {
      this._ending.delete(name);
      return ending.nsp.number;
    }
    if (this.isFull) throw new RangeError(`roadstead: a program has at most ${NAMESPACES_MAX} namespaces at a time`);
    const number = this._free.pop() ?? this.namespaces.length;
    this.namespaces[number] = undefined;
    return number;
  }

  /** A namespace ends when so many links have said so: the question that they are to answer. */
  end(nsp, links) {
    if (links === 0) {
      this._release(nsp.number);
      return undefined;
    }
    this._question = (this._question + 1) >>> 0;
    this._ending.set(nsp.name, { nsp, links, question: this._question });
    return this._question;
  }

  /** A link has said that there is nobody in a namespace. */
  ended(number, question) {
    const nsp = this.namespaces[number];
    const ending = this._ending.get(nsp?.name);
    if (ending?.question !== question >>> 0) return;
    ending.links -= 1;
    if (ending.links > 0) return;
    this._ending.delete(nsp.name);
    this._release(number);
  }

  /** Somebody has entered a namespace that was about to end. */
  keep(nsp) {
    this._ending.delete(nsp.name);
  }

  _release(number) {
    this.namespaces[number] = undefined;
    this._free.push(number);
  }
}

module.exports = { Numbers };
