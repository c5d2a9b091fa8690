// How a program ends whose place another one takes: it is told no more, finishes what it was told, and says so. Its clients stay.
'use strict';

const { KIND } = require('./wire.js');

/**
 * What clients wait for: acknowledgements, and to be let in. What has been owed for longer than two periods, which are those between
 * two signs of life, is not waited for: there are handlers that never acknowledge.
 */
class Owed {
  constructor() {
    this.now = { count: 0 };
    this.before = { count: 0 };
    this.whenSettled = undefined;
  }

  /** One more; what it returns is for `settle`. */
  add() {
    this.now.count += 1;
    return this.now;
  }

  settle(period) {
    period.count -= 1;
    if (this.whenSettled !== undefined) this.whenSettled();
  }

  /** Another period begins. */
  turn() {
    this.before = this.now;
    this.now = { count: 0 };
  }

  get isEmpty() {
    return this.now.count === 0 && this.before.count === 0;
  }
}

/** The last moments of a program. `finished` is called when it has done what it was given. */
class Stopping {
  constructor(streams, owed, finished) {
    this.owed = owed;
    this.left = streams.length;
    this.finished = finished;
    for (const stream of streams) {
      stream.write(KIND.PAUSE, 0, 0, null, 0, 0, '');
      stream.flush();
    }
    if (this.left === 0) finished();
  }

  /** One of the links says that it has told all. */
  paused() {
    this.left -= 1;
    if (this.left > 0) return;
    const look = () => {
      // Handlers that go on behind an acknowledgement do so in the same turn.
      if (this.owed.isEmpty) setImmediate(() => this.end());
    };
    this.owed.whenSettled = look;
    look();
  }

  end() {
    if (this.finished === undefined || !this.owed.isEmpty) return;
    const { finished } = this;
    this.finished = undefined;
    finished();
  }
}

module.exports = { Owed, Stopping };
