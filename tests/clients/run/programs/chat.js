// A chat with names, that tells who comes, goes and types.
'use strict';

const http = require('node:http');
const server = http.createServer((request, response) => response.end('chat'));
const io = require('socket.io')(server);

let count = 0;

io.on('connection', (socket) => {
  socket.on('there', (done) => done());
  let isIn = false;

  socket.on('new message', (message) => socket.broadcast.emit('new message', { username: socket.username, message }));

  socket.on('add user', (username) => {
    if (isIn) return;
    socket.username = username;
    count += 1;
    isIn = true;
    socket.emit('login', { numUsers: count });
    socket.broadcast.emit('user joined', { username: socket.username, numUsers: count });
  });

  socket.on('typing', () => socket.broadcast.emit('typing', { username: socket.username }));
  socket.on('stop typing', () => socket.broadcast.emit('stop typing', { username: socket.username }));

  socket.on('disconnect', () => {
    if (!isIn) return;
    count -= 1;
    socket.broadcast.emit('user left', { username: socket.username, numUsers: count });
  });
});

server.listen(Number(process.argv[2]), '127.0.0.1', () => console.log('listening', server.address().port));
