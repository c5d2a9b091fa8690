// A program that answers HTTP with a function of requests, on the port that its Socket.IO server listens on.
'use strict';

const { Server } = require('socket.io');

const io = new Server();
io.on('connection', (socket) => socket.on('there', (done) => done()));
io.listen(Number(process.argv[2]));
io.httpServer.on('listening', () => console.log('listening', io.httpServer.address().port));

module.exports = { fetch: ({ method }) => new Response(`${method} here`) };
