// A program that closes its server and ends of itself.
'use strict';

const { Server } = require('socket.io');

const log = (...what) => console.log('log', JSON.stringify(what));
const server = require('node:http').createServer();
const io = new Server();
io.attach(server, { path: '/live/', pingInterval: 20000 });

io.on('connection', (socket) => {
  socket.on('there', (done) => done());
  log('path', io.path());
  socket.on('disconnecting', (reason) => log('disconnecting', reason));
  socket.on('disconnect', (reason) => log('disconnect', reason));
  socket.on('close', async () => {
    io.emit('bye');
    await new Promise((resolve) => { setImmediate(resolve); });
    await io.close(() => log('closed'));
    log('and done', server.listening);
  });
});

server.listen(Number(process.argv[2]), '127.0.0.1', () => console.log('listening', server.address().port));
