// A server of known slowness: `GET /` and a WebSocket echo, each answered after so many milliseconds; within TLS if there
// is a certificate.
//
//     node server.js PORT MILLISECONDS [CERTIFICATE KEY]
'use strict';

const fs = require('node:fs');
const http = require('node:http');
const https = require('node:https');
const { WebSocketServer } = require('ws');

const [port, milliseconds] = process.argv.slice(2, 4).map(Number);
const [certificate, key] = process.argv.slice(4);
const later = milliseconds > 0 ? (what) => setTimeout(what, milliseconds) : (what) => what();

const answer = (request, response) => later(() => response.end('Hello, world!\n'));
const server = certificate
  ? https.createServer({ cert: fs.readFileSync(certificate), key: fs.readFileSync(key) }, answer)
  : http.createServer(answer);
server.maxRequestsPerSocket = 0;

const echoes = new WebSocketServer({ server, perMessageDeflate: false });
echoes.on('connection', (socket) => {
  socket.on('error', () => {});
  socket.on('message', (data, binary) => later(() => socket.send(data, { binary })));
});

server.listen({ port, host: '127.0.0.1', backlog: 4096 });
