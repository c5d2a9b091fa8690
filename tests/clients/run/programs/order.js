// Emits of every kind one behind the other: each client hears them in the order in which they stand here.
'use strict';

const { createServer } = require('node:http');
const { Server } = require('socket.io');

const server = createServer();
const io = new Server(server);

io.on('connection', (socket) => {
  socket.on('there', (done) => done());
  let number = 0;
  const next = (kind) => [`n${number += 1}`, kind];

  const mixed = () => {
    socket.emit(...next('to itself'));
    io.emit(...next('to all'));
    socket.broadcast.emit(...next('to the others'));
    socket.emit(...next('to itself again'));
    io.to('odd').emit(...next('to odd'));
    socket.to('odd').emit(...next('to the others in odd'));
    io.to(socket.id).emit(...next('to its id'));
    io.except('odd').emit(...next('except odd'));
    socket.join('late');
    io.to('late').emit(...next('to late'));
    socket.leave('late');
    io.to('late').emit(...next('to late, which it left'));
    io.to('odd').to('even').emit(...next('to odd and even'));
    io.to(['odd', 'even']).except(socket.id).emit(...next('to odd and even but it'));
    // Which of these get through depends on what a connection is just doing.
    socket.volatile.emit('perhaps');
    io.volatile.emit('perhaps');
    io.local.emit(...next('local'));
    socket.emit(...next('bytes'), Buffer.from('x'.repeat(5000)));
    io.emit(...next('long'), 'y'.repeat(70000));
    io.to('odd').emit(...next('bytes to odd'), { deep: [Buffer.from([1, 2, 3])] });
    io.compress(false).emit(...next('not compressed'));
  };

  socket.on('be', (room, done) => {
    socket.join(room);
    done();
  });
  socket.on('mix', async (done) => {
    mixed();
    await null;
    mixed();
    setImmediate(() => {
      mixed();
      done(number);
      io.emit(...next('the end'));
    });
  });
  socket.on('chain', (done) => {
    for (let round = 0; round < 200; round += 1) {
      if (round % 3 === 0) io.emit(...next('all'));
      else if (round % 3 === 1) socket.emit(...next('self'));
      else io.to('odd').emit(...next('odd'));
    }
    done();
    io.emit('chained');
  });
});

server.listen(Number(process.argv[2]), '127.0.0.1', () => console.log('listening', server.address().port));
