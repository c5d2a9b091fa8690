// A program that answers HTTP with a function of requests, and listens on nothing itself.
import { setImmediate } from 'node:timers/promises';
import { Server } from 'socket.io';

const io = new Server();
io.on('connection', (socket) => socket.on('there', (done) => done()));

const pages = {
  '/': (request) => {
    const headers = new Headers({ 'content-type': 'text/plain', 'x-method': request.method });
    headers.append('set-cookie', 'a=1');
    headers.append('set-cookie', 'b=2');
    return new Response(`${new URL(request.url).search} from ${request.headers.get('x-forwarded-for')}`, { headers, status: 203 });
  },
  '/text': async (request) => new Response((await request.text()).toUpperCase()),
  '/bytes': (request) => new Response(request.body),
  '/slowly': () => new Response(new ReadableStream({
    async start(controller) {
      controller.enqueue(Buffer.from('one '));
      await setImmediate();
      controller.enqueue(Buffer.from('two'));
      controller.close();
    },
  })),
  '/throw': () => { throw new Error('nobody catches this'); },
  '/undefined': () => undefined,
};

export default {
  port: process.argv[2],
  hostname: '127.0.0.1',
  async fetch(request) {
    const page = pages[new URL(request.url).pathname];
    return page === undefined ? new Response(null, { status: 404 }) : page(request);
  },
};

const told = () => console.log('listening', io.httpServer.address().port);
const look = () => (io.httpServer === undefined ? setTimeout(look, 1) : io.httpServer.once('listening', told));
look();
