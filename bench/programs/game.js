// Handlers as games have them: an event of which five fields are looked at, a place in a map, something for the others in the
// room, and an acknowledgement. The load generator's clients are each in a room of their own, so what is for the others costs the
// server a selection and an encoding, and nobody a delivery.
'use strict';

const http = require('node:http');
const { Server } = require('socket.io');

const server = http.createServer((_, response) => response.writeHead(404).end());
const io = new Server(server);
const players = new Map();
let joined = 0;

/** What a text says of a player's move: five fields. */
function moveOf(text) {
  const at = (place) => text.charCodeAt(place % text.length);
  return { x: at(0), y: at(1), speed: at(2) / 8, action: text.slice(0, 4), turn: text.length };
}

function isMove({ x, y, speed, action, turn }) {
  return Number.isInteger(x) && Number.isInteger(y) && speed >= 0 && speed < 32 && typeof action === 'string' && turn > 0;
}

io.on('connection', (socket) => {
  const room = `room-${joined}`;
  joined += 1;
  socket.join(room);
  players.set(socket.id, { x: 0, y: 0 });
  socket.on('echo', (text, acknowledge) => {
    const move = moveOf(text);
    if (!isMove(move)) return;
    const player = players.get(socket.id);
    player.x = (player.x + move.x) % 1000;
    player.y = (player.y + move.y) % 1000;
    socket.to(room).emit('moved', { id: socket.id, ...player, action: move.action });
    acknowledge(text);
  });
  socket.on('disconnect', () => players.delete(socket.id));
});

server.listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 16384 });
