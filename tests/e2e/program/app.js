// The program of tests/e2e/program.rs: written as for the npm package socket.io, with what each test asks of it.
'use strict';

const { appendFileSync } = require('node:fs');
const http = require('node:http');
const { Server } = require('socket.io');
const { channels } = require('roadstead');

const server = http.createServer((request, response) => {
  switch (request.url) {
    case '/count':
      return count(request, response);
    case '/count-later':
      unread.push([request, response]);
      return io.emit('unread');
    case '/refuse':
      response.writeHead(400, { Connection: 'close' });
      return response.end('not wanted');
    default:
  }
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
        response.writeHead(201, { 'X-Method': request.method, ...(body.length > 1000 && { 'Content-Length': body.length }) });
        response.write(body.subarray(0, 10));
        return response.end(body.subarray(10));
      case '/late':
        return;
      case '/events':
        // As whoever is told of says.
        response.writeHead(200, { 'Content-Type': 'text/event-stream' });
        response.flushHeaders();
        streams.push(response);
        return request.on('close', () => io.emit('stream closed'));
      case '/large':
        // Without a length, and with one; in no hurry to be read.
        return sendLarge(response, false);
      case '/large-and-known':
        return sendLarge(response, true);
      case '/cut':
        response.write('a'.repeat(1000));
        return setTimeout(() => response.destroy(), 20);
      case '/pid':
        return response.end(String(process.pid));
      case '/pid-in-a-while':
        io.emit('asked');
        return setTimeout(() => response.end(String(process.pid)), 200);
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

/** The event streams that are open. */
const streams = [];

const LARGE = 24 << 20;

/** Sends many bytes, each of which is the number of its MiB, as fast as they are taken; tells how many that were meanwhile. */
function sendLarge(response, isKnown) {
  if (isKnown) response.setHeader('Content-Length', LARGE);
  let sent = 0;
  const send = () => {
    while (sent < LARGE) {
      sent += 1 << 16;
      const goesOn = response.write(Buffer.alloc(1 << 16, (sent - 1) >> 20));
      if (!goesOn) {
        io.emit('sent', sent);
        response.once('drain', send);
        return;
      }
    }
    response.end();
  };
  send();
}

/** Requests whose bodies are not read yet. */
const unread = [];

/** Answers how much of a body has come, and whether each byte is what it is to be. */
function count(request, response) {
  let bytes = 0;
  let isRight = true;
  request.on('data', (piece) => {
    for (const byte of piece) {
      if (byte !== ((bytes >> 16) & 0xff)) isRight = false;
      bytes += 1;
    }
  });
  request.on('end', () => response.end(JSON.stringify({ bytes, isRight, length: request.headers['content-length'] })));
  request.on('aborted', () => io.emit('cut', bytes > 0));
}

const io = new Server(server, { connectTimeout: 20_000 });
let number = 0;

io.on('connection', (socket) => {
  socket.emit('hello', process.pid, socket.recovered, socket.handshake.auth, [...socket.rooms].length);
  socket.on('disconnect', (reason) => io.emit('left', reason));
  socket.on('echo', (...args) => args.pop()(...args));
  socket.on('say', (...args) => socket.emit('said', ...args));
  socket.on('whence', (ack) => {
    const { address, secure } = socket.handshake;
    ack(address, secure === socket.request.socket.encrypted && secure);
  });
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
  socket.on('note', async (who, number, ack) => {
    appendFileSync(process.env.NOTES_FILE, `${who} ${number}\n`);
    if (!ack) return socket.emit('noted', number);
    await new Promise((resolve) => setTimeout(resolve, 2));
    socket.emit('noted', number);
    return ack();
  });
  socket.on('never', () => {});
  socket.on('read', () => unread.splice(0).forEach((one) => count(...one)));
  socket.on('channel', (method, args, ack) => {
    channels[method](...args).then((answer) => (answer === undefined ? ack(null) : ack(null, answer)), (error) => ack(error.code));
  });
  socket.on('all', (what, room, value, ack) => {
    all[what](io.in(room), value).then((answer) => ack(null, answer), (error) => ack(error.message));
  });
  socket.on('say to streams', (text) => streams.forEach((stream) => stream.write(`data: ${text}\n\n`)));
  socket.on('end streams', () => streams.splice(0).forEach((stream) => stream.end()));
  socket.on('loop', () => {
    for (;;);
  });
  socket.on('end', () => process.kill(process.pid, 'SIGKILL'));
  socket.on('put out', (close) => socket.disconnect(close));
});

/** What is asked of the sockets and programs of all nodes. */
const all = {
  async fetch(those, ms) {
    const sockets = await those.timeout(ms).fetchSockets();
    return sockets.map(({ id, rooms, data }) => [id, [...rooms].sort(), data]);
  },
  async join(those, room) { those.socketsJoin(room); },
  async leave(those, room) { those.socketsLeave(room); },
  async disconnect(those) { those.disconnectSockets(true); },
  async say(_, value) { io.serverSideEmit('said by a program', value); },
  async ask(_, value) { return io.serverSideEmitWithAck('asked by a program', value); },
  async emit(those, value) {
    for (const socket of await those.fetchSockets()) socket.emit('one by one', value);
  },
};
io.on('said by a program', (value) => io.emit('heard of a program', value, process.pid));
io.on('asked by a program', (value, ack) => ack([process.pid, value]));

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
