// Rooms, namespaces, and what the server can be asked about sockets; listeners and middleware of a socket.
'use strict';

const { createServer } = require('node:http');
const { Server } = require('socket.io');

const log = (...what) => console.log('log', JSON.stringify(what));
const server = createServer();
const io = new Server(server);
const names = (sockets) => [...sockets].map((socket) => socket.data.name).sort();

io.of('/').adapter.on('create-room', (room) => { if (room.startsWith('room')) log('made', room); });
io.of('/').adapter.on('delete-room', (room) => { if (room.startsWith('room')) log('gone', room); });

io.on('connect', (socket) => {
  socket.on('there', (done) => done());
  const { name } = socket.handshake.query;
  socket.data.name = name;
  log('connected', name, socket.connected, socket.disconnected, socket.recovered, socket.rooms.has(socket.id), socket.rooms.size, io.engine.clientsCount);

  socket.on('join', (rooms, done) => {
    socket.join(rooms);
    done([...socket.rooms].filter((room) => room !== socket.id));
  });
  socket.on('leave', (room, done) => {
    socket.leave(room);
    done([...socket.rooms].filter((room_) => room_ !== socket.id));
  });
  socket.on('who', async (done) => {
    const answer = {
      all: names(await io.fetchSockets()),
      one: names(await io.in('room1').fetchSockets()),
      both: names(await io.in(['room1', 'room2']).fetchSockets()),
      except: names(await io.except('room1').fetchSockets()),
      others: names(await socket.to('room1').fetchSockets()),
      count: (await io.in('room1').allSockets()).size,
      map: io.sockets.adapter.rooms.get('room1')?.size,
      none: io.sockets.adapter.rooms.get('room9')?.size,
      has: io.sockets.adapter.rooms.has(socket.id),
      sids: io.of('/').adapter.sids.get(socket.id).size,
      sockets: io.of('/').sockets.size,
      same: io.sockets.sockets.get(socket.id) === socket,
      listed: [...io.of('/').sockets.values()].map((one) => one.data.name),
    };
    done(answer);
  });
  socket.on('move all', (done) => {
    io.in('room1').socketsJoin(['room2', 'room3']);
    io.in('room3').socketsLeave('room1');
    io.to('room3').emit('moved');
    done();
  });
  socket.on('end others', (done) => {
    socket.broadcast.disconnectSockets();
    done();
  });
  socket.on('end me', (close) => socket.disconnect(close));
  socket.on('disconnecting', (reason) => log('disconnecting', name, reason, [...socket.rooms].filter((room) => room !== socket.id)));
  socket.on('disconnect', (reason) => log('disconnected', name, reason, socket.rooms.size, socket.connected));

  socket.onAny((event, ...args) => { if (event === 'watched') log('any', args.filter((one) => typeof one !== 'function')); });
  socket.onAnyOutgoing((event, ...args) => { if (event === 'shown') log('outgoing', name, args); });
  socket.use(([event, argument], next) => {
    if (event === 'forbidden') next(new Error(`not ${argument}`));
    else next();
  });
  socket.on('error', (error) => socket.emit('refused', error.message));
  socket.once('once', (done) => done(socket.listenerCount('once')));
  socket.on('watched', (argument, done) => {
    io.emit('shown', argument);
    done(socket.eventNames().includes('watched'), socket.listenersAny().length);
  });
  socket.on('unlisten', (done) => {
    socket.removeAllListeners('watched');
    socket.offAny();
    done(socket.listeners('watched').length);
  });
});

const admin = io.of('/admin');
admin.use((socket, next) => {
  if (socket.handshake.auth.key === 'secret') next();
  else next(new Error('not you'));
});
admin.on('connection', (socket) => {
  socket.on('tell', (text, done) => {
    io.emit('told', text);
    admin.emit('told', `${text} of ${socket.nsp.name}`);
    done(admin.sockets.size);
  });
});

server.listen(Number(process.argv[2]), '127.0.0.1', () => console.log('listening', server.address().port));
