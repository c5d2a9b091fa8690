// npm ws: an echo and one room, in one process, written the way its README teaches.
//
// What one WebSocket says in the room goes to all of them, in a loop of send().
//
//     node server.js PORT [deflate | CERTIFICATE KEY]       with permessage-deflate, or within TLS
'use strict';

const fs = require('node:fs');
const http = require('node:http');
const https = require('node:https');
const { WebSocketServer, WebSocket } = require('ws');

const port = Number(process.argv[2]);
const [certificate, key] = process.argv.slice(3);
const compresses = certificate === 'deflate';
const perMessageDeflate = compresses && { threshold: 0, serverNoContextTakeover: true, clientNoContextTakeover: true };
const options = { noServer: true, perMessageDeflate, clientTracking: false };
const echoes = new WebSocketServer(options);
const room = new WebSocketServer({ ...options, clientTracking: true });
const answer = (request, response) => response.end('Hello, world!\n');
const server = key
  ? https.createServer({ cert: fs.readFileSync(certificate), key: fs.readFileSync(key) }, answer)
  : http.createServer(answer);

echoes.on('connection', (socket) => {
  socket.on('error', () => {});
  socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
});

room.on('connection', (socket) => {
  socket.on('error', () => {});
  socket.on('message', (data, isBinary) => {
    for (const member of room.clients) {
      if (member.readyState === WebSocket.OPEN) member.send(data, { binary: isBinary });
    }
  });
});

server.on('upgrade', (request, socket, head) => {
  const place = request.url === '/room' ? room : echoes;
  place.handleUpgrade(request, socket, head, (opened) => place.emit('connection', opened, request));
});

server.listen({ port, host: '127.0.0.1', backlog: 16384 });
