// The light form: handlers of events, and nothing kept for a client.
import { createServer } from 'node:http';
import { Server } from 'roadstead';

const server = createServer();
const io = new Server();

io.onEvent('there', (socket, done) => done());
io.onEvent('enter', (socket, room, done) => {
  socket.join(room);
  done(socket.id);
});
io.onEvent('say', (socket, room, text) => {
  socket.to(room).emit('said', text);
  socket.emit('told', io.engine.clientsCount);
});
io.onEvent('ask', async (socket, done) => done(await socket.timeout(60000).emitWithAck('question', 1)));
io.onEvent('rooms', (socket, done) => {
  try {
    done(socket.rooms.size);
  } catch (error) {
    done(error.message);
  }
});
io.onEvent('count', (socket, done) => done(io.engine.clientsCount));
io.onEvent('end', (socket) => socket.disconnect());

io.attach(server);
server.listen(Number(process.argv[2]), '127.0.0.1', () => console.log('listening', server.address().port));
