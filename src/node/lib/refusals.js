// What this module has not, by name and with the cure, and warnings that are given once.
'use strict';

/** An error about something that Socket.IO's own server has and this module has not. */
function unsupported(name, cure) {
  return Object.assign(new Error(`roadstead: ${name} is not supported: ${cure}`), { code: 'ERR_ROADSTEAD_UNSUPPORTED' });
}

const warned = new Set();

/** Warns of something that does nothing here, once in the life of the process. */
function warnOnce(name, text) {
  if (warned.has(name)) return;
  warned.add(name);
  process.emitWarning(`${name} ${text}`, { type: 'RoadsteadWarning' });
}

module.exports = { unsupported, warnOnce };
