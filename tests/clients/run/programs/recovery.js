// Clients that come back, in a program of CommonJS.
'use strict';

const { createServer } = require('node:http');
const { Server } = require('socket.io');

require('./recovering.cjs')(createServer, Server);
