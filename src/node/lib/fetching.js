// HTTP answered by a function of requests as `fetch` knows them: a program whose module exports `{ fetch(request) {…} }` by default,
// as for Bun, Deno, Workers and Hono.
//
// It answers on the server that `io.listen(port)` makes. Where the program listens on nothing by the time its module has run, this
// does, on the export's `port` and `hostname`.
'use strict';

const { Readable } = require('node:stream');
const { pipeline } = require('node:stream/promises');
const { hasAsked } = require('./capture.js');

/** As with Bun. */
const PORT = 3000;

/** What the program exports, once that is known. */
let exported;

/**
 * Looks at what the program exports, once its module has run. `main` is where hooks.mjs tells which module that is, if it is not
 * loaded by `require`. `listen(port, hostname)` is called if nothing listens by then.
 */
function find(main, listen) {
  const found = (module) => {
    exported = [module?.default, module, module?.default?.default].find((one) => typeof one?.fetch === 'function');
    if (exported !== undefined && !hasAsked()) listen(Number(exported.port ?? process.env.PORT ?? PORT), exported.hostname);
  };
  main.once('message', (url) => {
    main.close();
    // One that fails says so itself.
    import(url).then(found, () => {});
  });
  setImmediate(() => {
    // `require.main` is what it was when this file was loaded, which is before the program.
    const { mainModule } = process;
    if (mainModule === undefined) return;
    main.close();
    found(mainModule.exports);
  });
}

/** Answers a request of node:http. */
async function answer(incoming, outgoing) {
  if (exported === undefined) {
    outgoing.writeHead(404).end();
    return;
  }
  const gone = new AbortController();
  outgoing.once('close', () => gone.abort());
  try {
    const request = requestOf(incoming, gone.signal);
    if (request === undefined) {
      outgoing.writeHead(400).end();
      return;
    }
    await write(await exported.fetch(request), outgoing);
  } catch (error) {
    if (gone.signal.aborted) return;
    console.error(error);
    if (outgoing.headersSent) outgoing.destroy();
    else outgoing.writeHead(500).end();
  }
}

/** The same request; nothing if `fetch` knows none like it. */
function requestOf(incoming, signal) {
  const { method, rawHeaders, socket, url } = incoming;
  const headers = new Headers();
  for (let at = 0; at < rawHeaders.length; at += 2) headers.append(rawHeaders[at], rawHeaders[at + 1]);
  const body = method === 'GET' || method === 'HEAD' ? undefined : Readable.toWeb(incoming);
  try {
    return new Request(`${socket.encrypted ? 'https' : 'http'}://${headers.get('host')}${url}`, { method, headers, body, duplex: 'half', signal });
  } catch {
    return undefined;
  }
}

async function write(response, outgoing) {
  if (!(response?.headers instanceof Headers)) throw new TypeError(`fetch(request) has to return a Response, and returned ${response}`);
  outgoing.statusCode = response.status;
  outgoing.statusMessage = response.statusText;
  for (const [name, value] of response.headers) if (name !== 'set-cookie') outgoing.setHeader(name, value);
  const cookies = response.headers.getSetCookie();
  if (cookies.length > 0) outgoing.setHeader('set-cookie', cookies);
  if (response.body === null) outgoing.end();
  else await pipeline(Readable.fromWeb(response.body), outgoing);
}

module.exports = { answer, find };
