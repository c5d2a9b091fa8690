// Clients that come back, in a program of ECMAScript's modules.
import { createServer } from 'node:http';
import { Server } from 'socket.io';
import serve from './recovering.cjs';

serve(createServer, Server);
