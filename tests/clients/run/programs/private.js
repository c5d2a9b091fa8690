// Messages from one to one: a middleware knows who comes back, and everybody has a room of its own.
'use strict';

const { createServer } = require('node:http');
const { Server } = require('socket.io');

const server = createServer();
const io = new Server(server, { cors: { origin: 'http://localhost:8080' } });
const sessions = new Map();
const messages = [];
let made = 0;

io.use(async (socket, next) => {
  const { sessionID, username } = socket.handshake.auth;
  await new Promise((resolve) => { setImmediate(resolve); });
  const session = sessions.get(sessionID);
  if (session) {
    Object.assign(socket, { sessionID, userID: session.userID, username: session.username });
    return next();
  }
  if (!username) {
    const error = new Error('invalid username');
    error.data = { field: 'username', code: 7 };
    return next(error);
  }
  made += 1;
  Object.assign(socket, { sessionID: `session${made}`, userID: `user${made}`, username });
  return next();
});

io.on('connection', (socket) => {
  socket.on('there', (done) => done());
  const { sessionID, userID, username } = socket;
  sessions.set(sessionID, { userID, username, connected: true });
  socket.emit('session', { sessionID, userID });
  socket.join(userID);
  const users = [...sessions.values()].map((session) => ({
    ...session,
    messages: messages.filter(({ from, to }) => [from, to].includes(userID) && [from, to].includes(session.userID)),
  }));
  socket.emit('users', users);
  socket.broadcast.emit('user connected', { userID, username, connected: true, messages: [] });

  socket.on('private message', ({ content, to }) => {
    const message = { content, from: userID, to };
    socket.to(to).to(userID).emit('private message', message);
    messages.push(message);
  });

  socket.on('disconnect', async () => {
    const left = await io.in(userID).allSockets();
    if (left.size > 0) return;
    socket.broadcast.emit('user disconnected', userID);
    sessions.set(sessionID, { userID, username, connected: false });
  });
});

server.listen(Number(process.argv[2]), '127.0.0.1', () => console.log('listening', server.address().port));
