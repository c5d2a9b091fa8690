// The first chat everybody writes: Express hands out a page, and what one says goes to all.
'use strict';

const express = require('express');
const { createServer } = require('node:http');
const { Server } = require('socket.io');

const app = express();
const server = createServer(app);
const io = new Server(server);

app.use(express.json({ limit: '4mb' }));
app.get('/', (request, response) => response.type('html').send('<!doctype html><title>chat</title><script src="/socket.io/socket.io.js"></script>'));
app.post('/length', (request, response) => response.json({ length: request.body.text.length, from: request.ip }));
app.get('/slowly', (request, response) => {
  response.write('one ');
  setImmediate(() => response.end('two'));
});

io.on('connection', (socket) => {
  socket.on('there', (done) => done());
  console.log('log', 'a user connected');
  socket.on('chat message', (text) => io.emit('chat message', text));
  socket.on('disconnect', () => console.log('log', 'user disconnected'));
});

server.listen(Number(process.argv[2]), '127.0.0.1', () => console.log('listening', server.address().port));
