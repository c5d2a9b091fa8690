// The options of a Socket.IO server: which of them Roadstead is told, and which are refused by name.
'use strict';

const { unsupported, warnOnce } = require('./refusals.js');

/** Those that Roadstead is told, as they were given. */
const TOLD = [
  'path', 'serveClient', 'connectTimeout', 'pingInterval', 'pingTimeout', 'upgradeTimeout', 'maxHttpBufferSize', 'transports',
  'allowUpgrades', 'perMessageDeflate', 'cookie', 'allowEIO3',
];

const REFUSED = {
  parser: 'the packets are written by Roadstead, in the format that every client speaks; leave the option out, on the client too',
  allowRequest: 'the request is not seen by the program; decide in io.use((socket, next) => …), where socket.handshake has its headers',
};

/** Those that do nothing here. */
const WITHOUT_EFFECT = {
  adapter: 'does nothing under roadstead: shards and nodes are joined by Roadstead itself',
  wsEngine: 'does nothing under roadstead, which speaks WebSocket itself',
  httpCompression: 'does nothing under roadstead: see its setting [http]',
};

/** How long a client that has lost its connection may take to come back unless the program says so, in ms. */
const RECOVERY_MS = 2 * 60 * 1000;

/** Refuses what cannot be done, and warns of what does nothing. */
function check(options) {
  for (const [name, cure] of Object.entries(REFUSED)) {
    if (options[name]) throw unsupported(`the option ${name}`, cure);
  }
  for (const [name, text] of Object.entries(WITHOUT_EFFECT)) {
    if (options[name]) warnOnce(`the option ${name}`, text);
  }
  if (options.transports?.includes('webtransport')) {
    throw unsupported('the transport webtransport', 'name "polling" and "websocket" in transports');
  }
  if (options.connectionStateRecovery?.skipMiddlewares === false) {
    throw unsupported('connectionStateRecovery.skipMiddlewares false', 'leave it out: who comes back to where it was is not asked again');
  }
  if (options.cors) cors(options.cors);
}

/** What of them Roadstead is told. */
function told(options) {
  const chosen = {};
  for (const name of TOLD) if (options[name] !== undefined) chosen[name] = options[name];
  if (options.cors) chosen.cors = cors(options.cors);
  if (options.connectionStateRecovery) {
    chosen.connectionStateRecovery = {
      maxDisconnectionDuration: RECOVERY_MS, skipMiddlewares: true, ...options.connectionStateRecovery,
    };
  }
  return chosen;
}

/** The origins as Roadstead knows them: one text, a list of texts, or true. */
function cors(given) {
  const { origin = '*', credentials } = given === true ? {} : given;
  const origins = Array.isArray(origin) ? origin : [origin];
  if (!origins.every((one) => typeof one === 'string' || typeof one === 'boolean')) {
    throw unsupported('cors.origin as a function or regular expression', 'name the origins in a list');
  }
  return credentials === undefined ? { origin } : { origin, credentials };
}

module.exports = { RECOVERY_MS, check, told };
