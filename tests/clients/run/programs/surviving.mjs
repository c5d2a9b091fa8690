// A program that says what becomes of errors nobody catches: as with npm's package, the next event is handled.
import { createServer } from 'node:http';
import { Server } from 'socket.io';

const log = (...what) => console.log('log', JSON.stringify(what));
const server = createServer();
const io = new Server(server);

process.on('uncaughtException', (error) => log('uncaught', error.message, error.stack.includes('surviving.mjs')));
process.on('unhandledRejection', (error) => log('unhandled', error.message));

io.on('connection', (socket) => {
  socket.on('there', (done) => done());
  socket.on('throw', (text) => { throw new Error(text); });
  socket.on('reject', async (text) => { throw new Error(text); });
  socket.on('throw later', (text) => { process.nextTick(() => { throw new Error(text); }); });
  socket.on('echo', (text, done) => done(text));
});

server.listen(Number(process.argv[2]), '127.0.0.1', () => console.log('listening', server.address().port));
