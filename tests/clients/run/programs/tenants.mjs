// A program that makes namespaces as clients want to enter them, and is ended in the middle of things.
import { createServer } from 'node:http';
import { Server } from 'socket.io';

const server = createServer();
const io = new Server(server, { cleanupEmptyChildNamespaces: true });

const tenants = io.of((name, auth, next) => setImmediate(() => next(null, name === `/tenant-${auth.key}`)));
const rooms = io.of(/^\/room-\d+$/);
rooms.use((socket, next) => setImmediate(next));
for (const parent of [tenants, rooms]) {
  parent.on('connection', (socket) => {
    socket.on('there', (done) => done());
    socket.on('who', (done) => done({ pid: process.pid, name: socket.nsp.name, recovered: socket.recovered, data: socket.data }));
    socket.on('keep', (value, done) => {
      socket.data.value = value;
      socket.join('kept');
      done();
    });
    socket.on('say', (text) => parent.to('kept').emit('said', text));
  });
}
io.on('connection', (socket) => {
  socket.on('there', (done) => done());
  socket.on('children', (done) => done([...tenants.children, ...rooms.children].map(({ name }) => name).sort()));
});

server.listen(Number(process.argv[2]), '127.0.0.1', () => console.log('listening', server.address().port));
