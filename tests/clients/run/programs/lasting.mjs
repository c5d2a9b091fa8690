// A program that is ended in the middle of things: what it keeps in variables goes with it, and `socket.data` does not.
import { createServer } from 'node:http';
import { Server } from 'socket.io';

const server = createServer((request, response) => response.end(`${process.pid}`));
const io = new Server(server, process.env.RECOVERS ? { connectionStateRecovery: {} } : {});

io.use((socket, next) => {
  socket.user = socket.handshake.auth.user;
  next();
});
io.on('connection', (socket) => {
  socket.on('there', (done) => done());
  socket.on('who', (done) => done({ pid: process.pid, user: socket.user, recovered: socket.recovered, data: socket.data, rooms: socket.rooms.size }));
  socket.on('keep', (value, done) => {
    socket.data.value = value;
    socket.join('kept');
    done();
  });
  socket.on('count', (done) => done(io.engine.clientsCount));
  socket.on('say', (text) => io.to('kept').emit('said', text));
  socket.on('throw', () => { throw new Error('thrown on purpose'); });
});

server.listen(Number(process.argv[2]), '127.0.0.1', () => console.log('listening', server.address().port));
