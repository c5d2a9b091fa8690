// What the pages on Socket.IO's stock client share. Nothing a stranger wrote is ever parsed as HTML.
'use strict';
const $ = (id) => document.getElementById(id);

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

// Connects to a namespace, at the path the client itself was served from.
function connect(namespace) {
  const path = new URL('.', $('client').src).pathname;
  const socket = io(location.origin + namespace, { path });
  const show = (state, text) => {
    $('state').dataset.state = state;
    $('state').textContent = text;
  };
  const showTransport = () => show('live', socket.io.engine.transport.name);
  socket.on('connect', () => {
    $('notice').textContent = '';
    showTransport();
    socket.io.engine.on('upgrade', showTransport);
  });
  socket.on('disconnect', () => show('away', 'reconnecting'));
  socket.on('connect_error', (error) => {
    show('away', 'reconnecting');
    $('notice').textContent = error.message;
  });
  return socket;
}

// Sends a command of the server: its answer, or null and a notice.
function ask(socket, ...command) {
  return new Promise((resolve) => socket.emit(...command, (answer) => {
    $('notice').textContent = answer.error ? answer.error.message : '';
    resolve(answer.error ? null : answer);
  }));
}

const guest = 'guest-' + Math.random().toString(16).slice(2, 6);

// The server's repository holds no copy of the client.
if (typeof io === 'undefined') {
  $('state').textContent = 'no client';
  $('notice').textContent =
    'The Socket.IO client is missing: run `npm install socket.io-client` where the server is started, and start it again.';
} else {
  start();
}
