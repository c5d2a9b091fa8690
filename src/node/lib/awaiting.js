// Acknowledgements of a single socket that are waited for, with Socket.IO's rules of when and with what a callback is called.
'use strict';

/** Waits for an acknowledgement, `ms` long or, if that is undefined, for ever; its number on the link. */
function awaited(link, socket, ack, ms) {
  if (ms === undefined) return link.await((args) => ack.apply(socket, args), 0);
  const timer = setTimeout(() => {
    link.forget(number);
    ack.call(socket, new Error('operation has timed out'));
  }, ms);
  const number = link.await((args) => {
    clearTimeout(timer);
    ack.call(socket, null, ...args);
  }, ms);
  return number;
}

/** Emits, and promises the acknowledgement. */
function promised(socket, isTimed, event, args) {
  return new Promise((resolve, reject) => {
    socket.emit(event, ...args, (first, second) => {
      if (!isTimed) resolve(first);
      else if (first) reject(first);
      else resolve(second);
    });
  });
}

module.exports = { awaited, promised };
