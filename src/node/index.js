// Socket.IO's server for programs that `roadstead run` starts: the same words, and the connections in Roadstead.
'use strict';

const { link } = require('./lib/link.js');
const { Namespace } = require('./lib/namespace.js');
const { Server } = require('./lib/server.js');
const { Socket } = require('./lib/socket.js');

module.exports = (srv, opts) => new Server(srv, opts);
module.exports.Server = Server;
module.exports.Namespace = Namespace;
module.exports.Socket = Socket;
module.exports.channels = link.channels;
