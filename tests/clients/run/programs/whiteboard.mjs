// A board on which everybody draws: each line goes to all others.
import express from 'express';
import { createServer } from 'node:http';
import { Server } from 'socket.io';

const app = express();
const http = createServer(app);
const io = new Server(http, { cors: { origin: '*' } });

io.on('connection', (socket) => {
  socket.on('there', (done) => done());
  socket.on('drawing', (line) => socket.broadcast.emit('drawing', line));
});

http.listen({ port: Number(process.argv[2]), host: '127.0.0.1' }, () => console.log('listening', http.address().port));
