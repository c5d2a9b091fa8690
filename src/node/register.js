// Loaded by `node --require` in front of a program that `roadstead run` starts: answers for `socket.io`, whatever is installed, and
// for `roadstead` where it is not.
'use strict';

const http = require('node:http');
const module_ = require('node:module');
const path = require('node:path');
const { pathToFileURL } = require('node:url');
const { isMainThread, MessageChannel } = require('node:worker_threads');

const OURS = path.join(__dirname, 'index.js');

const resolve = module_._resolveFilename;
module_._resolveFilename = function resolveOurs(request, ...rest) {
  if (request === 'socket.io') return OURS;
  if (request !== 'roadstead') return resolve.call(this, request, ...rest);
  try {
    return resolve.call(this, request, ...rest);
  } catch (error) {
    if (error.code === 'MODULE_NOT_FOUND') return OURS;
    throw error;
  }
};

if (typeof module_.register !== 'function') {
  console.error(`roadstead: Node.js ${process.versions.node} is too old; install 18.19, 20.6 or a newer one`);
  process.exit(1);
}
const hooks = pathToFileURL(path.join(__dirname, 'hooks.mjs'));
require('./lib/capture.js').install();
if (isMainThread) {
  const { port1, port2 } = new MessageChannel();
  module_.register(hooks, { data: { main: port2 }, transferList: [port2] });
  const fetching = require('./lib/fetching.js');
  fetching.find(port1, (port, hostname) => {
    const { Server } = require('./lib/server.js');
    const io = Server.made ?? new Server();
    // One that is attached listens when its server does.
    if (io.httpServer === undefined) io.attach(http.createServer(fetching.answer)).httpServer.listen(port, hostname);
  });
} else {
  module_.register(hooks);
}
