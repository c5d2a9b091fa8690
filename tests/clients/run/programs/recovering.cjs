// What both programs of recovery do: clients come back to their rooms and to what they missed.
'use strict';

module.exports = function serve(createServer, Server) {
  const log = (...what) => console.log('log', JSON.stringify(what));
  const server = createServer();
  const io = new Server(server, { connectionStateRecovery: {} });

  io.on('connection', (socket) => {
    socket.on('there', (done) => done());
    if (socket.recovered) {
      log('back', socket.data.name, [...socket.rooms].includes('lobby'), socket.rooms.size);
    } else {
      socket.data.name = socket.handshake.query.name;
      socket.join('lobby');
      log('new', socket.data.name);
    }
    socket.on('say', (text, done) => {
      io.to('lobby').emit('said', text);
      done();
    });
    socket.on('disconnect', (reason) => log('gone', socket.data.name, reason));
  });

  server.listen(Number(process.argv[2]), '127.0.0.1', () => console.log('listening', server.address().port));
};
