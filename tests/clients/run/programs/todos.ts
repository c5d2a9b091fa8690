// A list of things to do that is kept in the program and shown whole to everybody after each change.
import { Server } from 'socket.io';
import { createServer } from 'node:http';

type Todo = { readonly title: string; done: boolean };

const todos: Todo[] = [];
const server = createServer();
const io: Server = new Server(server);

io.use((socket, next) => {
  const { name } = socket.handshake.auth as { name?: string };
  if (!name) return next(new Error('who are you?'));
  socket.data.name = name satisfies string;
  next();
});

io.on('connection', (socket) => {
  const show = (to: { emit: typeof socket.emit }) => to.emit('todos', todos);
  socket.on('there', (done: () => void) => done());
  show(socket);
  socket.on('add', (title: string) => {
    todos.push({ title: `${title} (${socket.data.name})`, done: false });
    io.emit('todos', todos);
  });
  socket.on('toggle', (at: number, answer: (done: boolean | null) => void) => {
    const todo = todos[at];
    if (todo) todo.done = !todo.done;
    answer(todo?.done ?? null);
    io.emit('todos', todos);
  });
});

server.listen(Number(process.argv[2]), '127.0.0.1', () => console.log('listening', (server.address() as { port: number }).port));
