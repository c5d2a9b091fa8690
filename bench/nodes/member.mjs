// A server in JavaScript for bench/nodes/measure: what a client says goes to everybody on all members.
//
//     node member.mjs FOLDER_OF_MODULES redis://…

import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';

const [, , modules, url] = process.argv;
const require = createRequire(path.join(path.resolve(modules), 'any.js'));
const { Server } = require('socket.io');
const { createAdapter } = require('@socket.io/redis-adapter');
const { Redis } = require('ioredis');

const http = createServer();
const io = new Server(http, { adapter: createAdapter(new Redis(url), new Redis(url)) });
io.on('connection', (socket) => socket.onAny((event, ...args) => {
  const done = args.pop();
  io.emit(event, ...args);
  done();
}));
http.listen(0, '127.0.0.1', () => console.log(`127.0.0.1:${http.address().port}`));
