// Namespaces that are made as clients want to enter them, by a pattern and by a function, and that go with the last client.
'use strict';

const { createServer } = require('node:http');
const { Server } = require('socket.io');

const log = (...what) => console.log('log', JSON.stringify(what));
const server = createServer();
const io = new Server(server, { cleanupEmptyChildNamespaces: !process.env.KEEP_CHILDREN });
const refusal = (act) => { try { return act(); } catch (error) { return error.message; } };

io.on('new_namespace', (nsp) => log('new', nsp.name));
io.on('connection', (socket) => {
  socket.on('there', (done) => done());
  socket.on('spaces', (done) => done([...io._nsps.keys()].sort(), [...rooms.children].map(({ name }) => name).sort(), tenants.children.size));
});

const rooms = io.of(/^\/room-\d+$/);
rooms.use((socket, next) => next(socket.handshake.auth.banned ? new Error('banned') : undefined));
rooms.on('connection', (socket) => {
  const { name } = socket.handshake.query;
  const { nsp } = socket;
  log('in', nsp.name, name, nsp.sockets.size, rooms.sockets.size, nsp === io.of(nsp.name));
  socket.on('there', (done) => done());
  socket.on('join', (room, done) => {
    socket.join(room);
    done(socket.rooms.size);
  });
  socket.on('say', (text) => nsp.emit('said', text, nsp.name));
  socket.on('tell', (text, done) => {
    rooms.emit('told', 'all', text);
    rooms.send(text);
    rooms.to('a').emit('told', 'a', text);
    rooms.except('a').emit('told', 'not a', text);
    rooms.to(['a', 'b']).except('b').emit('told', 'a and not b', text);
    rooms.volatile.emit('perhaps', text);
    rooms.local.to('nobody').emit('told', 'nobody', text);
    done(rooms.emit('told', 'end', text));
  });
  socket.on('look', async (done) => {
    const acknowledged = await rooms.timeout(60000).to('a').emitWithAck('question');
    rooms.socketsJoin('c');
    rooms.disconnectSockets();
    const found = [await rooms.in('a').fetchSockets(), [...await rooms.allSockets()]].map((list) => list.length);
    done({ name: rooms.name, acknowledged, found, rooms: socket.rooms.size, refused: refusal(() => rooms.fetchSockets()) });
  });
  socket.on('late', (done) => {
    // Those that there are have what their parent had when they were made.
    rooms.use((_, next) => next(new Error('too late')));
    rooms.on('connection', () => log('a late listener'));
    done(refusal(() => io.of(/x/g)), io.of('/room-99').name, io.of('/room-99') === io.of('room-99'), rooms.children.size);
  });
  socket.on('disconnect', (reason) => log('out', nsp.name, name, reason, nsp.sockets.size, io._nsps.has(nsp.name)));
});

const asked = [];
io.of((name, auth, next) => next(new Error('never mind'), true)).on('connection', () => log('nobody comes here'));
const tenants = io.of((name, auth, next) => {
  asked.push([name, Object.keys(auth)]);
  setImmediate(() => next(null, name === `/tenant-${auth.key}`));
});
tenants.on('connect', (socket) => {
  socket.on('there', (done) => done());
  socket.on('asked', (done) => done(asked));
  socket.on('say', (text) => tenants.emit('said', text, socket.nsp.name));
});

server.listen(Number(process.argv[2]), '127.0.0.1', () => console.log('listening', server.address().port));
