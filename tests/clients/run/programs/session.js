// A counter in the session of express-session: of pages and of sockets, which are in the room of their session.
'use strict';

const express = require('express');
const session = require('express-session');
const { createServer } = require('node:http');
const { Server } = require('socket.io');

const app = express();
const server = createServer(app);
const io = new Server(server);
const sessions = session({ secret: 'a secret of no importance', resave: false, saveUninitialized: true });

app.use(sessions);
app.post('/count', ({ session: own }, response) => {
  own.count = (own.count ?? 0) + 1;
  response.json(own.count);
  io.to(own.id).emit('count', own.count);
});
app.post('/leave', ({ session: own }, response) => {
  const { id } = own;
  own.destroy(() => {
    io.in(id).disconnectSockets();
    response.status(204).end();
  });
});

io.engine.use(sessions);

io.on('connection', (socket) => {
  socket.on('there', (done) => done());
  const { request } = socket;
  socket.join(request.session.id);
  socket.on('count', (done) => {
    request.session.reload((error) => {
      if (error) {
        socket.disconnect();
        return;
      }
      request.session.count = (request.session.count ?? 0) + 1;
      request.session.save(() => done(request.session.count));
    });
  });
});

server.listen(Number(process.argv[2]), '127.0.0.1', () => console.log('listening', server.address().port));
