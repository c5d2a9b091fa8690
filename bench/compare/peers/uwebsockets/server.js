// uWebSockets under Node: an echo, one room and `GET /hello`, in one process, written the way its examples teach.
//
// The room is a topic; what one WebSocket says in it is published to all of them.
'use strict';

const uws = require('@trufflesuite/uws-js-unofficial');

// The package falls back to npm `ws` where it has no binary for this Node: that is another server.
if (!process.report.getReport().sharedObjects.some((path) => /uws_.*\.node$/.test(path))) {
  console.error(`@trufflesuite/uws-js-unofficial has no binary for Node ${process.version} on ${process.arch}`);
  process.exit(1);
}

const port = Number(process.argv[2]);
const options = { compression: uws.DISABLED, maxPayloadLength: 1 << 20, idleTimeout: 0, maxBackpressure: 64 << 20 };
const app = uws.App();

app
  .ws('/echo', { ...options, message: (socket, message, isBinary) => { socket.send(message, isBinary); } })
  .ws('/room', {
    ...options,
    open: (socket) => { socket.subscribe('room'); },
    message: (socket, message, isBinary) => { app.publish('room', message, isBinary); },
  })
  .get('/hello', (response) => { response.end('Hello, world!\n'); })
  .listen('127.0.0.1', port, (listening) => {
    if (!listening) process.exit(1);
  });
