// The program of tests/e2e/program.rs: written as for the npm package socket.io, with what each test asks of it.
'use strict';

const { appendFileSync } = require('node:fs');
const http = require('node:http');
const { Server } = require('socket.io');

const server = http.createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    const body = Buffer.concat(chunks);
    switch (request.url) {
      case '/hello':
        response.setHeader('Set-Cookie', ['a=1', 'b=2']);
        response.setHeader('Content-Type', 'text/plain');
        return response.end(`${request.headers['x-forwarded-for']} ${request.headers['x-forwarded-proto']}`);
      case '/echo':
        // In pieces, without a length.
        response.writeHead(201, { 'X-Method': request.method });
        response.write(body.subarray(0, 10));
        return response.end(body.subarray(10));
      case '/late':
        return;
      case '/note-and-end':
        appendFileSync(body.toString(), '.');
        return process.kill(process.pid, 'SIGKILL');
      case '/end':
        return process.kill(process.pid, 'SIGKILL');
      default:
        response.statusCode = 404;
        return response.end('not here');
    }
  });
});

const io = new Server(server, { connectTimeout: 20_000 });
let number = 0;

io.on('connection', (socket) => {
  socket.emit('hello', process.pid, socket.recovered, socket.handshake.auth, [...socket.rooms].length);
  socket.on('disconnect', (reason) => io.emit('left', reason));
  socket.on('echo', (...args) => args.pop()(...args));
  socket.on('say', (...args) => socket.emit('said', ...args));
  socket.on('join', async (room, ack) => {
    await socket.join(room);
    ack(socket.rooms.has(room));
  });
  socket.on('leave', (room, ack) => {
    socket.leave(room);
    ack(socket.rooms.has(room));
  });
  socket.on('tell', (room, text) => socket.to(room).emit('told', text));
  // Of all kinds, in one order.
  socket.on('burst', (count, ack) => {
    for (let i = 0; i < count; i += 1) {
      io.emit('n', number++);
      socket.emit('n', number++);
      io.to('room').emit('n', number++);
      socket.broadcast.emit('n', number++);
      io.except('nobody').emit('n', number++);
    }
    ack(number);
    socket.emit('n', number++);
  });
  socket.on('ask', async (text, ack) => ack(await socket.timeout(15_000).emitWithAck('question', text)));
  socket.on('ask everybody', async (ack) => ack((await io.timeout(15_000).emitWithAck('question', 'all')).sort()));
  socket.on('throw', () => {
    throw new Error('thrown in a handler');
  });
  socket.on('loop', () => {
    for (;;);
  });
  socket.on('end', () => process.kill(process.pid, 'SIGKILL'));
  socket.on('put out', (close) => socket.disconnect(close));
});

io.of('/guarded').use(async (socket, next) => {
  await new Promise((resolve) => setTimeout(resolve, 5));
  const { name } = socket.handshake.auth;
  if (name) {
    socket.name = name;
    return next();
  }
  return next(Object.assign(new Error('who are you?'), { data: { code: 7 } }));
});
io.of('/guarded').on('connection', (socket) => {
  socket.on('name', (ack) => ack(socket.name, process.pid));
});

server.listen(0);
