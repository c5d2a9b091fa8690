// Node's own http module: `GET /hello`, in one process.
'use strict';

const http = require('node:http');

const body = 'Hello, world!\n';
const head = { 'Content-Type': 'text/plain', 'Content-Length': body.length };
const server = http.createServer((request, response) => {
  response.writeHead(200, head);
  response.end(body);
});
// Kept-alive connections are never ended for their number of requests.
server.maxRequestsPerSocket = 0;
server.listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 16384 });
