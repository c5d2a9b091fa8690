// A list that everybody sees and changes: each request is acknowledged with what came of it, and told to all others. Typed, and of
// several modules' kinds: enumerations, generics and a type that is imported alone.
import { createServer } from 'node:http';
import { randomUUID } from 'node:crypto';
import { Server, type Socket } from 'socket.io';

enum Fault { Invalid = 'invalid', Unknown = 'unknown' }

interface Item { id: string; title: string; isDone: boolean }
type Outcome<T> = { data: T } | { error: Fault; details?: string[] };
type Answer<T> = (outcome: Outcome<T>) => void;

interface ClientEvents {
  there: (done: () => void) => void;
  'item:create': (item: Omit<Item, 'id'>, answer: Answer<string>) => void;
  'item:read': (id: string, answer: Answer<Item>) => void;
  'item:update': (item: Item, answer: (outcome?: Outcome<void>) => void) => void;
  'item:delete': (id: string, answer: (outcome?: Outcome<void>) => void) => void;
  'item:list': (answer: Answer<Item[]>) => void;
}
interface ServerEvents {
  'item:created': (item: Item) => void;
  'item:updated': (item: Item) => void;
  'item:deleted': (id: string) => void;
}

abstract class Store<T extends { id: string }> {
  readonly #kept = new Map<string, T>();

  protected abstract faultsOf(one: Partial<T>): string[];

  check(one: Partial<T>) { return this.faultsOf(one ?? {}); }
  get(id: string) { return this.#kept.get(id); }
  set(one: T) { this.#kept.set(one.id, one); }
  delete(id: string) { return this.#kept.delete(id); }
  all() { return [...this.#kept.values()]; }
}

class Items extends Store<Item> {
  protected override faultsOf({ title, isDone }: Partial<Item>) {
    const faults: string[] = [];
    if (typeof title !== 'string' || title.length === 0 || title.length > 20) faults.push('title');
    if (typeof isDone !== 'boolean') faults.push('isDone');
    return faults;
  }
}

const server = createServer();
const io = new Server<ClientEvents, ServerEvents>(server, { cors: { origin: ['http://localhost:4200'] } });
const items = new Items();

function handle(socket: Socket<ClientEvents, ServerEvents>): void {
  socket.on('there', (done) => done());
  socket.on('item:create', (item, answer) => {
    const details = items.check(item);
    if (details.length > 0) return answer({ error: Fault.Invalid, details });
    const made: Item = { ...item, id: randomUUID() };
    items.set(made);
    answer({ data: made.id });
    socket.broadcast.emit('item:created', made);
  });
  socket.on('item:read', (id, answer) => {
    const found = items.get(id);
    answer(found ? { data: found } : { error: Fault.Unknown });
  });
  socket.on('item:update', (item, answer) => {
    const details = items.check(item);
    if (details.length > 0) return answer({ error: Fault.Invalid, details });
    if (!items.get(item.id)) return answer({ error: Fault.Unknown });
    items.set(item);
    answer();
    socket.broadcast.emit('item:updated', item);
  });
  socket.on('item:delete', (id, answer) => {
    if (!items.delete(id)) return answer({ error: Fault.Unknown });
    answer();
    socket.broadcast.emit('item:deleted', id);
  });
  socket.on('item:list', (answer) => answer({ data: items.all() }));
}

io.on('connection', handle);

server.listen(Number(process.argv[2]), '127.0.0.1', () => {
  const address = server.address();
  if (typeof address === 'object') console.log('listening', address?.port);
});
