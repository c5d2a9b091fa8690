// Lets connections through to a port, and says on which port it listens. Those that open a session are ten milliseconds late, for
// so long takes the server that the tests of socket.io-client bring to let anybody in; those of a WebSocket that is to take over
// from polling a hundred, for so long takes npm's server to let the poll go that the client waits for then. Some tests count on that.

import { connect, createServer } from 'node:net';

const server = createServer((near) => {
  near.on('error', () => near.destroy());
  near.once('data', (first) => {
    near.pause();
    setTimeout(() => {
      const far = connect(Number(process.argv[2]), '127.0.0.1');
      far.on('error', () => near.destroy());
      near.on('close', () => far.destroy());
      far.on('close', () => near.destroy());
      far.write(first);
      near.pipe(far).pipe(near);
    }, lateness(first));
  });
});

function lateness(request) {
  if (!request.includes('sid=')) return 10;
  return request.includes('transport=websocket') ? 100 : 0;
}

server.listen(0, '127.0.0.1', () => console.log(server.address().port));
