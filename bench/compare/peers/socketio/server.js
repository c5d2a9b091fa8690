// npm socket.io with its default engine (ws): acknowledged echoes and rooms, in one process, written the way its
// documentation teaches.
//
// `POST /publish?room=ROOM` sends its body to everybody in the room, as the event `news`.
'use strict';

const http = require('node:http');
const { Server } = require('socket.io');

const port = Number(process.argv[2]);
const server = http.createServer((request, response) => {
  const url = new URL(request.url, 'http://localhost');
  if (request.method !== 'POST' || url.pathname !== '/publish') {
    response.writeHead(404).end();
    return;
  }
  const pieces = [];
  request.on('data', (piece) => pieces.push(piece));
  request.on('end', () => {
    io.to(url.searchParams.get('room')).emit('news', Buffer.concat(pieces).toString());
    response.writeHead(204).end();
  });
});
const io = new Server(server);

io.on('connection', (socket) => {
  socket.on('echo', (text, acknowledge) => acknowledge(text));
  socket.on('join', (room, acknowledge) => {
    socket.join(room);
    acknowledge();
  });
});

server.listen({ port, host: '127.0.0.1', backlog: 16384 });
