// The same application as client.rs, as a program for Socket.IO's own server: started by `roadstead run`.
'use strict';

const { Server } = require('socket.io');

const DATE = '2011-09-14T06:02:01.123Z';
const BYTES = Buffer.from('asdfasdf');
const io = new Server({ connectionStateRecovery: {} });

const told = ({ handshake }) => ({ query: handshake.query, auth: handshake.auth });

for (const name of ['/timeout_socket', '/valid', '/asd']) io.of(name);
io.of('/foo').on('connection', (socket) => socket.on('getId', (answer) => answer(socket.id)));
io.of('/abc').on('connection', (socket) => socket.emit('handshake', told(socket)));
io.of('/no').use((_, next) => next(new Error('Auth failed (custom namespace)')));
io.use((socket, next) => next(socket.handshake.query.fail ? new Error('Auth failed (main namespace)') : undefined));

io.on('connection', (socket) => {
  const says = (asked, answer, ...data) => socket.on(asked, () => socket.emit(answer, ...data));
  socket.on('getHandshake', (answer) => answer(told(socket)));
  says('hi', 'hi');
  socket.on('echo', (what, answer) => answer(what));
  socket.on('ack', () => socket.emit('ack', (number, said) => {
    if (number === 5 && said.test === true) socket.emit('got it');
  }));
  socket.on('getAckDate', (_, answer) => answer(new Date(DATE)));
  says('getDate', 'takeDate', new Date(DATE));
  says('getDateObj', 'takeDateObj', { date: new Date(DATE) });
  socket.on('getUtf8', () => {
    for (const text of ['てすと', 'Я Б Г Д Ж Й', 'Ä ä Ü ü ß', 'utf8 — string', 'utf8 — string']) socket.emit('takeUtf8', text);
  });
  says('false', 'false', false);
  socket.on('getId', (answer) => answer(socket.id));
  says('doge', 'doge', BYTES);
  says('getbin', 'takebin', BYTES);
  socket.on('buffa', (data) => { if (Buffer.isBuffer(data)) socket.emit('buffack'); });
  socket.on('jsonbuff', (data) => { if (Buffer.isBuffer(data.message)) socket.emit('jsonbuff-ack'); });
  says('abuff2', 'abuff2-ack');
});

io.listen(0);
io.httpServer.on('listening', () => console.log(`run ${io.httpServer.address().port}`));
