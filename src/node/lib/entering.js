// Who wants to enter: questions about clients and about namespaces that were not named, and those who were let in and have not come.
'use strict';

const options = require('./options.js');
const { KIND } = require('./wire.js');

const IS_REFUSED = 1;

/** Somebody who was let in but did not come is forgotten after so long, in ms. */
const ADMITTED_MS = 120_000;

/** How long it is waited for what decides about the namespaces that there were, in ms. */
const RECALL_MS = 5000;

class Entering {
  constructor(link) {
    this.link = link;
    /** Of each shard, by the number of the question. */
    this._admitted = [];
  }

  /** Somebody wants to enter a namespace with middleware. */
  asked(shard, stream, frame) {
    const { link } = this;
    const nsp = link.namespace(frame);
    const { number } = frame;
    const socket = nsp.make(link.introduction(frame.text()));
    const period = link.owed.add();
    nsp.awaits();
    nsp.ask(socket, (error) => {
      link.owed.settle(period);
      if (error) {
        const { message, data } = error;
        stream.write(KIND.VERDICT, IS_REFUSED, nsp.number, null, number, 0, JSON.stringify({ message: String(message), data }));
        nsp.awaitsNoMore(true);
      } else {
        this._admit(shard, number, socket);
        stream.write(KIND.VERDICT, 0, nsp.number, null, number, 0, '');
      }
      link.soon();
    });
  }

  /** Somebody wants to enter a namespace that was not named. */
  wanted(stream, frame) {
    const { link } = this;
    const { number } = frame;
    const { namespace, auth } = JSON.parse(frame.text());
    const period = link.owed.add();
    let isAnswered = false;
    link.server._find(namespace, auth ?? {}, (nsp, why = 'Invalid namespace') => {
      if (isAnswered) return;
      isAnswered = true;
      link.owed.settle(period);
      if (nsp === undefined) stream.write(KIND.VERDICT, IS_REFUSED, 0, null, number, 0, JSON.stringify({ message: why }));
      else stream.write(KIND.VERDICT, 0, nsp.number, null, number, 0, '');
      link.soon();
    });
  }

  /** The socket of a client that was let in and has come now. */
  take(shard, number) {
    const admitted = this._admitted[shard]?.get(number);
    if (admitted === undefined) return undefined;
    this._admitted[shard].delete(number);
    admitted.socket.nsp.awaitsNoMore(false);
    return admitted.socket;
  }

  /** Makes the namespaces that another program has made and that clients are in, as if they wanted to enter now. */
  recall(namespaces, then) {
    let left = namespaces.length;
    let isOver = false;
    const end = () => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      then();
    };
    // What decides may never answer; those who are in the others need not wait for it.
    const timer = left > 0 ? setTimeout(end, RECALL_MS) : undefined;
    for (const { name, auth } of namespaces) {
      this.link.server._find(name, auth ?? {}, (nsp) => {
        if (nsp !== undefined) this._hold(nsp);
        left -= 1;
        if (left === 0) end();
      });
    }
    if (namespaces.length === 0) end();
  }

  /** Keeps a namespace until all who are there have been told of, and all who may come back to it have, or may not any more. */
  _hold(nsp) {
    nsp.awaits();
    const recovery = this.link.server.opts.connectionStateRecovery;
    const ms = RECALL_MS + (recovery ? recovery.maxDisconnectionDuration ?? options.RECOVERY_MS : 0);
    setTimeout(() => nsp.awaitsNoMore(true), ms).unref();
  }

  /** Keeps a socket that was let in until it comes; it may have gone without a word. */
  _admit(shard, number, socket) {
    const admitted = this._admitted[shard] ??= new Map();
    const now = Date.now();
    for (const [old, { socket: { nsp }, at }] of admitted) {
      if (now - at < ADMITTED_MS) break;
      admitted.delete(old);
      nsp.awaitsNoMore(true);
    }
    admitted.set(number, { socket, at: now });
  }
}

module.exports = { Entering };
