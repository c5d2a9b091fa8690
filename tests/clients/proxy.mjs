// A TCP proxy whose connections can be cut or frozen, as a bad network does.

import net from 'node:net';
import { SPEAKS_TLS } from './server.mjs';

/** Listens on a free port of its own, and passes everything on to `port`. */
export async function proxyTo(port) {
  const pairs = new Set();
  let state = 'up';
  const proxy = net.createServer((near) => {
    if (state === 'down') {
      near.resetAndDestroy();
      return;
    }
    if (state === 'frozen') {
      near.on('error', () => {});
      near.on('close', () => pairs.delete(near));
      pairs.add(near);
      return;
    }
    const far = net.connect(port, '127.0.0.1');
    near.pipe(far).pipe(near);
    for (const end of [near, far]) {
      end.on('error', () => {});
      end.on('close', () => pairs.delete(end));
      pairs.add(end);
    }
  });
  await new Promise((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  return {
    url: `${SPEAKS_TLS ? 'https' : 'http'}://127.0.0.1:${proxy.address().port}`,
    /** Resets every connection; new ones are let through. */
    cut() {
      for (const end of pairs) end.resetAndDestroy();
      pairs.clear();
    },
    /** Resets every connection, and whatever comes until `up()`. */
    down() {
      state = 'down';
      this.cut();
    },
    /** Lets new connections through again; frozen ones stay so. */
    up() {
      state = 'up';
    },
    /** Lets nothing pass any more, without closing a connection. */
    freeze() {
      state = 'frozen';
      for (const end of pairs) {
        end.unpipe();
        end.pause();
      }
    },
    close() {
      this.cut();
      proxy.close();
    },
  };
}
