// What values are on the way there and back, and acknowledgements in both directions.
import { createServer } from 'node:http';
import { Server } from 'socket.io';

const server = createServer();
const io = new Server(server);

io.on('connection', (socket) => {
  socket.on('there', (done) => done());
  socket.on('echo', (...args) => {
    const acknowledge = args.pop();
    acknowledge(...args);
    acknowledge('a second time, which is not sent');
  });
  socket.on('values', (done) => {
    socket.emit('given', undefined, null, NaN, new Date(0), { a: undefined, b: () => 1, c: [undefined] }, 'ü€😀', -0, [[]]);
    socket.emit('none');
    socket.emit('bytes', Buffer.from('abc'), new Uint8Array([1, 2]).buffer, { view: new Float32Array([1.5]), list: [Buffer.alloc(0)] });
    socket.emit('made', { toJSON: () => ({ made: true }) });
    socket.send('plain', 1);
    socket.write('written');
    done(Buffer.from('done'), undefined);
  });
  socket.on('ask', async (done) => {
    const heard = [];
    heard.push(await socket.emitWithAck('question', 1));
    heard.push(await socket.timeout(60000).emitWithAck('question', 2));
    heard.push(await socket.timeout(20).emitWithAck('silence').catch((error) => error.message));
    heard.push(await new Promise((resolve) => { socket.emit('question', 3, (...answer) => resolve(answer)); }));
    heard.push(await new Promise((resolve) => { socket.timeout(60000).emit('question', 4, (...answer) => resolve(answer)); }));
    heard.push(await io.timeout(60000).emitWithAck('question', 5));
    heard.push(await io.timeout(300).to(socket.id).emitWithAck('silence').catch((error) => [error.message, error.responses]));
    heard.push(await io.in('nobody').timeout(60000).emitWithAck('question', 6));
    done(heard);
  });
  socket.on('reserved', (done) => {
    const refusal = (act) => { try { return act(); } catch (error) { return error.message; } };
    done(refusal(() => socket.emit('disconnect')), refusal(() => io.emit('connect_error')), refusal(() => socket.broadcast.emit('connect')));
  });
});

server.listen(Number(process.argv[2]), '127.0.0.1', () => console.log('listening', server.address().port));
