// Starts the fixture of tests/socketio: the program of `cargo test`, or the one SOCKETIO_FIXTURE names.

import { fileURLToPath } from 'node:url';
import { TLS, launch } from '../server.mjs';

const PROGRAM = process.env.SOCKETIO_FIXTURE
  ?? fileURLToPath(new URL('../../../target/debug/examples/socketio_fixture', import.meta.url));

/** Starts it with settings named as Socket.IO's documentation names them: `pingInterval=300`, `shards=4`. */
export async function start(...settings) {
  const [program, ...flags] = PROGRAM.split(' ');
  return launch(program, [...flags, ...TLS, ...settings]);
}
