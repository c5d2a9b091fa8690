// Loaded by `node --require` in front of a program that `roadstead run` starts: answers for `socket.io`, whatever is installed, and
// for `roadstead` where it is not.
'use strict';

const module_ = require('node:module');
const path = require('node:path');
const { pathToFileURL } = require('node:url');

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
module_.register(pathToFileURL(path.join(__dirname, 'hooks.mjs')));

require('./lib/capture.js').install();
