// Types of Socket.IO's server API as this package has it. What is refused is not here.

import { EventEmitter } from "node:events";
import { IncomingHttpHeaders, Server as HTTPServer } from "node:http";
import { ParsedUrlQuery } from "node:querystring";

export interface EventsMap {
  [event: string]: any;
}
export interface DefaultEventsMap {
  [event: string]: (...args: any[]) => void;
}
type Name<Map> = keyof Map & string;
type Params<Map, Event extends keyof Map> = Map[Event] extends (...args: infer Args) => any ? Args : never;
type Last<Args extends any[]> = Args extends [...any[], infer L] ? L : never;
type AllButLast<Args extends any[]> = Args extends [...infer Rest, any] ? Rest : never;
type AckValue<Ack> = Ack extends (...args: infer Args) => any ? (Args extends [Error, infer Second] ? Second : Args extends [infer First, ...any[]] ? First : void) : any;
type AckOf<Map, Event extends keyof Map> = AckValue<Last<Params<Map, Event>>>;
type WithoutAck<Map, Event extends keyof Map> = Last<Params<Map, Event>> extends (...args: any[]) => any ? AllButLast<Params<Map, Event>> : Params<Map, Event>;

export type Room = string;
export type SocketId = string;
export type Transport = "polling" | "websocket";
export type DisconnectReason =
  | "transport error"
  | "transport close"
  | "forced close"
  | "ping timeout"
  | "parse error"
  | "server shutting down"
  | "forced server close"
  | "client namespace disconnect"
  | "server namespace disconnect";

export interface ExtendedError extends Error {
  /** What the client finds in the `data` of its `connect_error`. */
  data?: any;
}

export interface CorsOptions {
  origin?: boolean | string | string[];
  credentials?: boolean;
}

export interface ServerOptions {
  /** The path that clients ask for; `/socket.io` if it is left out. */
  path: string;
  /** Whether the client's script is handed out, out of node_modules of the program. */
  serveClient: boolean;
  connectTimeout: number;
  pingInterval: number;
  pingTimeout: number;
  upgradeTimeout: number;
  maxHttpBufferSize: number;
  transports: Transport[];
  allowUpgrades: boolean;
  allowEIO3: boolean;
  perMessageDeflate: boolean | object;
  cookie: boolean | object;
  cors: CorsOptions | true;
  connectionStateRecovery: { maxDisconnectionDuration?: number; skipMiddlewares?: boolean };
  /** Whether a namespace that was made for clients goes with the last of them. */
  cleanupEmptyChildNamespaces: boolean;
  /** Does nothing but warn. */
  adapter: any;
}

export interface Handshake {
  headers: IncomingHttpHeaders;
  time: string;
  address: string;
  xdomain: boolean;
  secure: boolean;
  issued: number;
  url: string;
  query: ParsedUrlQuery;
  auth: { [key: string]: any };
}

export interface Connection extends EventEmitter {
  readonly id: string;
  readonly protocol: 4;
  readonly readyState: "open" | "closed";
  readonly remoteAddress: string;
  readonly transport: { readonly name: Transport };
  readonly upgraded: boolean;
  close(): this;
}

export interface Adapter extends EventEmitter {
  readonly rooms: ReadonlyMap<Room, ReadonlySet<SocketId>>;
  readonly sids: ReadonlyMap<SocketId, ReadonlySet<Room>>;
}

/** A socket, of this program or of another member of a cluster. */
export interface RemoteSocket<EmitEvents = DefaultEventsMap, SocketData = any> {
  readonly id: SocketId;
  readonly handshake: Handshake;
  readonly rooms: Set<Room>;
  readonly data: SocketData;
  emit<Event extends Name<EmitEvents>>(event: Event, ...args: any[]): boolean;
  timeout(ms: number): Pick<RemoteSocket<EmitEvents, SocketData>, "emit">;
  join(rooms: Room | Room[]): void | Promise<void>;
  leave(room: Room): void | Promise<void>;
  disconnect(close?: boolean): any;
}

export interface BroadcastOperator<EmitEvents = DefaultEventsMap, SocketData = any> {
  to(room: Room | Room[]): BroadcastOperator<EmitEvents, SocketData>;
  in(room: Room | Room[]): BroadcastOperator<EmitEvents, SocketData>;
  except(room: Room | Room[]): BroadcastOperator<EmitEvents, SocketData>;
  compress(compress: boolean): BroadcastOperator<EmitEvents, SocketData>;
  timeout(ms: number): BroadcastOperator<EmitEvents, SocketData>;
  readonly volatile: BroadcastOperator<EmitEvents, SocketData>;
  readonly local: BroadcastOperator<EmitEvents, SocketData>;
  emit<Event extends Name<EmitEvents>>(event: Event, ...args: any[]): true;
  emitWithAck<Event extends Name<EmitEvents>>(event: Event, ...args: WithoutAck<EmitEvents, Event>): Promise<any[]>;
  send(...args: any[]): this;
  write(...args: any[]): this;
  allSockets(): Promise<Set<SocketId>>;
  fetchSockets(): Promise<RemoteSocket<EmitEvents, SocketData>[]>;
  socketsJoin(room: Room | Room[]): void;
  socketsLeave(room: Room | Room[]): void;
  disconnectSockets(close?: boolean): void;
}

export declare class Socket<ListenEvents = DefaultEventsMap, EmitEvents = ListenEvents, ServerSideEvents = DefaultEventsMap, SocketData = any> {
  readonly id: SocketId;
  readonly nsp: Namespace<ListenEvents, EmitEvents, ServerSideEvents, SocketData>;
  readonly server: Server<ListenEvents, EmitEvents, ServerSideEvents, SocketData>;
  readonly adapter: Adapter;
  readonly connected: boolean;
  readonly disconnected: boolean;
  /** It has come back to its rooms, or the program was started again while it was connected. */
  readonly recovered: boolean;
  readonly handshake: Handshake;
  readonly request: any;
  readonly conn: Connection;
  readonly client: any;
  readonly rooms: Set<Room>;
  /** What is kept for the socket, also when the program is started again, as JSON. */
  data: SocketData;

  on(event: "disconnect" | "disconnecting", listener: (reason: DisconnectReason, description?: any) => void): this;
  on(event: "error", listener: (error: Error) => void): this;
  on<Event extends Name<ListenEvents>>(event: Event, listener: ListenEvents[Event]): this;
  once(event: "disconnect" | "disconnecting", listener: (reason: DisconnectReason, description?: any) => void): this;
  once<Event extends Name<ListenEvents>>(event: Event, listener: ListenEvents[Event]): this;
  addListener(event: string, listener: (...args: any[]) => void): this;
  prependListener(event: string, listener: (...args: any[]) => void): this;
  prependOnceListener(event: string, listener: (...args: any[]) => void): this;
  off(event: string, listener: (...args: any[]) => void): this;
  removeListener(event: string, listener: (...args: any[]) => void): this;
  removeAllListeners(event?: string): this;
  listeners(event: string): Function[];
  rawListeners(event: string): Function[];
  listenerCount(event: string): number;
  eventNames(): string[];
  onAny(listener: (event: string, ...args: any[]) => void): this;
  prependAny(listener: (event: string, ...args: any[]) => void): this;
  offAny(listener?: (...args: any[]) => void): this;
  listenersAny(): Function[];
  onAnyOutgoing(listener: (event: string, ...args: any[]) => void): this;
  prependAnyOutgoing(listener: (event: string, ...args: any[]) => void): this;
  offAnyOutgoing(listener?: (...args: any[]) => void): this;
  listenersAnyOutgoing(): Function[];
  use(middleware: (event: [string, ...any[]], next: (error?: Error) => void) => void): this;

  emit<Event extends Name<EmitEvents>>(event: Event, ...args: Params<EmitEvents, Event>): true;
  emitWithAck<Event extends Name<EmitEvents>>(event: Event, ...args: WithoutAck<EmitEvents, Event>): Promise<AckOf<EmitEvents, Event>>;
  send(...args: any[]): this;
  write(...args: any[]): this;
  readonly volatile: this;
  timeout(ms: number): this;
  compress(compress: boolean): this;
  readonly broadcast: BroadcastOperator<EmitEvents, SocketData>;
  readonly local: BroadcastOperator<EmitEvents, SocketData>;
  to(room: Room | Room[]): BroadcastOperator<EmitEvents, SocketData>;
  in(room: Room | Room[]): BroadcastOperator<EmitEvents, SocketData>;
  except(room: Room | Room[]): BroadcastOperator<EmitEvents, SocketData>;
  join(rooms: Room | Room[]): void;
  leave(room: Room): void;
  disconnect(close?: boolean): this;
}

/** A socket of the light form: made for one event, and nothing is kept for it. */
export interface LightSocket<EmitEvents = DefaultEventsMap> {
  readonly id: SocketId;
  readonly nsp: Namespace<any, EmitEvents, any, any>;
  readonly volatile: this;
  timeout(ms: number): this;
  emit<Event extends Name<EmitEvents>>(event: Event, ...args: any[]): true;
  emitWithAck<Event extends Name<EmitEvents>>(event: Event, ...args: any[]): Promise<any>;
  readonly broadcast: BroadcastOperator<EmitEvents>;
  to(room: Room | Room[]): BroadcastOperator<EmitEvents>;
  in(room: Room | Room[]): BroadcastOperator<EmitEvents>;
  except(room: Room | Room[]): BroadcastOperator<EmitEvents>;
  join(rooms: Room | Room[]): void;
  leave(rooms: Room | Room[]): void;
  disconnect(close?: boolean): this;
}

interface Sockets<ListenEvents, EmitEvents, ServerSideEvents, SocketData> {
  readonly sockets: any;
  use(middleware: (socket: Socket<ListenEvents, EmitEvents, ServerSideEvents, SocketData>, next: (error?: ExtendedError) => void) => void): this;
  on(event: "connection" | "connect", listener: (socket: Socket<ListenEvents, EmitEvents, ServerSideEvents, SocketData>) => void): this;
  on(event: string, listener: (...args: any[]) => void): this;
  once(event: "connection" | "connect", listener: (socket: Socket<ListenEvents, EmitEvents, ServerSideEvents, SocketData>) => void): this;
  once(event: string, listener: (...args: any[]) => void): this;
  off(event: string, listener: (...args: any[]) => void): this;
  /**
   * Calls `handler` for an event of any client. In a namespace that has such handlers and no listener to `connection`, nothing is
   * kept for a client.
   */
  onEvent(event: string, handler: (socket: LightSocket<EmitEvents>, ...args: any[]) => void): this;
  serverSideEmit(event: string, ...args: any[]): boolean;
  serverSideEmitWithAck(event: string, ...args: any[]): Promise<any[]>;
}

export interface Namespace<ListenEvents = DefaultEventsMap, EmitEvents = ListenEvents, ServerSideEvents = DefaultEventsMap, SocketData = any>
  extends Sockets<ListenEvents, EmitEvents, ServerSideEvents, SocketData>, Omit<BroadcastOperator<EmitEvents, SocketData>, "send" | "write"> {
  readonly name: string;
  readonly server: Server<ListenEvents, EmitEvents, ServerSideEvents, SocketData>;
  readonly adapter: Adapter;
  readonly sockets: ReadonlyMap<SocketId, Socket<ListenEvents, EmitEvents, ServerSideEvents, SocketData>>;
  send(...args: any[]): this;
  write(...args: any[]): this;
}
export declare const Namespace: { prototype: Namespace };

/** Decides whether clients may enter a namespace of a name, which is made then. */
export type ParentNspNameMatchFn = (name: string, auth: { [key: string]: any }, next: (error: Error | null, isAccepted: boolean) => void) => void;
/** What makes namespaces as clients want to enter them. Nobody is in it itself; what is emitted to it reaches all of its children. */
export interface ParentNamespace<ListenEvents = DefaultEventsMap, EmitEvents = ListenEvents, ServerSideEvents = DefaultEventsMap, SocketData = any>
  extends Namespace<ListenEvents, EmitEvents, ServerSideEvents, SocketData> {
  readonly children: ReadonlySet<Namespace<ListenEvents, EmitEvents, ServerSideEvents, SocketData>>;
}

export declare class Server<ListenEvents = DefaultEventsMap, EmitEvents = ListenEvents, ServerSideEvents = DefaultEventsMap, SocketData = any> {
  constructor(opts?: Partial<ServerOptions>);
  constructor(srv?: HTTPServer | number, opts?: Partial<ServerOptions>);
  readonly sockets: Namespace<ListenEvents, EmitEvents, ServerSideEvents, SocketData>;
  readonly httpServer: HTTPServer;
  readonly channels: Channels;
  readonly engine: EventEmitter & {
    readonly clientsCount: number;
    readonly opts: Partial<ServerOptions>;
    /** Middleware of HTTP, such as a session's, for the request that opened a client's connection: `socket.request`. */
    use(middleware: (request: any, response: any, next: (error?: any) => void) => void): unknown;
  };
  attach(srv: HTTPServer | number, opts?: Partial<ServerOptions>): this;
  listen(srv: HTTPServer | number, opts?: Partial<ServerOptions>): this;
  of(name: string, listener?: (socket: Socket<ListenEvents, EmitEvents, ServerSideEvents, SocketData>) => void): Namespace<ListenEvents, EmitEvents, ServerSideEvents, SocketData>;
  of(name: RegExp | ParentNspNameMatchFn, listener?: (socket: Socket<ListenEvents, EmitEvents, ServerSideEvents, SocketData>) => void): ParentNamespace<ListenEvents, EmitEvents, ServerSideEvents, SocketData>;
  close(then?: (error?: Error) => void): Promise<void>;
  path(): string;
  path(path: string): this;
  serveClient(): boolean;
  serveClient(serve: boolean): this;
  connectTimeout(): number;
  connectTimeout(ms: number): this;
  /** Does nothing but warn. */
  adapter(adapter: any): this;
  send(...args: any[]): this;
  write(...args: any[]): this;
}
export interface Server<ListenEvents, EmitEvents, ServerSideEvents, SocketData>
  extends Omit<Sockets<ListenEvents, EmitEvents, ServerSideEvents, SocketData>, "sockets">, Omit<BroadcastOperator<EmitEvents, SocketData>, "send" | "write"> {}

/** Where something is in a channel. */
export interface Position {
  epoch: number;
  offset: number;
}
/** What is published: a text, bytes, or any other value as JSON. */
export type Data = string | ArrayBuffer | ArrayBufferView | number | boolean | null | object;

/** A publication that is kept; its data is in one of the three. */
export interface Publication {
  offset: number;
  time: number;
  data?: any;
  data_base64?: string;
  content_type?: string;
  event?: string;
}
export interface Key extends Partial<Position> {
  key: string;
  value?: number;
  data?: any;
  data_base64?: string;
  content_type?: string;
  etag?: string;
}
export interface Member {
  user?: string;
  guest?: string;
  info?: any;
  connections: number;
}
export interface ChangeOptions {
  /** In how many milliseconds the key goes by itself. */
  ttl?: number;
  /** Only if the key is there (`"*"`), or as it was then: the `etag` of an answer. */
  ifMatch?: string;
  /** Only if the key is not there. */
  ifNoneMatch?: "*";
}
/** What became of a change. */
export interface Changed extends Partial<Position> {
  value?: number;
}

/**
 * Channels of the server: what is published to them reaches clients of `/ws`, event streams and long polls as well. What is refused
 * rejects with an `Error` that has a `code`.
 */
export interface Channels {
  publish(channel: string, data: Data, options?: { event?: string; contentType?: string }): Promise<Position>;
  history(channel: string, options?: { since?: Position | string; limit?: number }): Promise<{
    channel: string; epoch: number | null; offset: number | null; recovered: boolean; more: boolean; publications: Publication[];
  }>;
  state(channel: string, options?: { after?: string; limit?: number }): Promise<{
    channel: string; epoch: number | null; offset: number | null; keys: Key[]; more: boolean;
  }>;
  get(channel: string, key: string): Promise<Key | undefined>;
  set(channel: string, key: string, data: Data, options?: ChangeOptions & { contentType?: string }): Promise<Changed>;
  remove(channel: string, key: string, options?: Pick<ChangeOptions, "ifMatch">): Promise<Changed>;
  /** Counts a counter further; its value since. */
  add(channel: string, key: string, count?: number, options?: Pick<ChangeOptions, "ttl">): Promise<number>;
  presence(channel: string, options?: { after?: string; limit?: number }): Promise<{
    channel: string; users: number; guests: number; connections: number; members: Member[]; more: boolean; next?: string;
  }>;
}
export declare const channels: Channels;

/** What a program may export by default to answer HTTP; `port` (3000, or what the environment's `PORT` says) and `hostname` count
 *  where it listens on nothing itself. */
export interface FetchProgram {
  fetch(request: Request): Response | Promise<Response>;
  port?: number | string;
  hostname?: string;
}

declare const io: {
  (srv?: HTTPServer | number, opts?: Partial<ServerOptions>): Server;
  (opts?: Partial<ServerOptions>): Server;
  Server: typeof Server;
  Socket: typeof Socket;
  channels: Channels;
};
export default io;
