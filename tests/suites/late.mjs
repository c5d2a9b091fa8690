// Lets connections through to a port, those that open a session ten milliseconds late, and says on which port it listens.
// The server that the tests of socket.io-client bring takes so long to let anybody in, and some of them count on that.

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
    }, first.includes('sid=') ? 0 : 10);
  });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
