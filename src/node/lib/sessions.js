// What a client that has lost its connection had, for when it comes back: its rooms and its data.
'use strict';

/** So many are kept; beyond that those that have been gone for longest begin anew. */
const SESSIONS_MAX = 65_536;

/** Ends of a connection after which a client may come back to where it was. */
const RECOVERABLE = new Set([
  'transport error', 'transport close', 'forced close', 'ping timeout', 'server shutting down', 'forced server close',
]);

class Sessions {
  constructor() {
    this._kept = new Map();
  }

  /** A socket goes; what it had is kept for `ms` if the reason is one to come back from. */
  keep(socket, reason, ms) {
    if (!RECOVERABLE.has(reason)) return;
    const now = Date.now();
    for (const [id, { until }] of this._kept) {
      if (until > now && this._kept.size < SESSIONS_MAX) break;
      this._kept.delete(id);
    }
    const rooms = [...socket.rooms].filter((room) => room !== socket.id);
    this._kept.set(socket.id, { until: now + ms, rooms, data: socket._few?.data });
  }

  /** What a socket that has come back had; undefined if that is not known any more. */
  take(id) {
    const kept = this._kept.get(id);
    this._kept.delete(id);
    return kept;
  }
}

module.exports = { Sessions };
