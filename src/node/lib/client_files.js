// The scripts of Socket.IO's client, at the path where pages look for them, out of what npm has put beside the program.
'use strict';

const fs = require('node:fs');
const path = require('node:path');

const NAMES = new Set(['socket.io.js', 'socket.io.min.js', 'socket.io.esm.min.js', 'socket.io.msgpack.min.js'].flatMap((name) => [name, `${name}.map`]));

/** In node_modules of the program or of a folder above it. */
const FOLDERS = ['socket.io/client-dist', 'socket.io-client/dist'];

/** What answers a request for such a script; undefined if it is for something else. */
function clientFile(url, base) {
  if (!url.startsWith(`${base}/`)) return undefined;
  const name = url.slice(base.length + 1).split('?')[0];
  if (!NAMES.has(name)) return undefined;
  return (request, response) => {
    const found = find(name);
    if (found === undefined) {
      response.writeHead(404, { 'content-type': 'text/plain' });
      response.end('the client script is not there: npm install socket.io-client\n');
      return;
    }
    const tag = `"${found.version}"`;
    response.setHeader('Cache-Control', 'public, max-age=0');
    response.setHeader('Content-Type', `application/${name.endsWith('.map') ? 'json' : 'javascript'}; charset=utf-8`);
    response.setHeader('ETag', tag);
    if ([tag, `W/${tag}`].includes(request.headers['if-none-match'])) response.writeHead(304).end();
    else fs.createReadStream(found.file).pipe(response);
  };
}

/** The file of a script, and the version of the package that it is of. */
function find(name) {
  for (const start of [path.dirname(path.resolve(process.argv[1] ?? '.')), process.cwd()]) {
    for (let folder = start; ; folder = path.dirname(folder)) {
      for (const inside of FOLDERS) {
        const file = path.join(folder, 'node_modules', inside, name);
        if (!fs.existsSync(file)) continue;
        const { version } = JSON.parse(fs.readFileSync(path.join(path.dirname(path.dirname(file)), 'package.json'), 'utf8'));
        return { file, version };
      }
      if (folder === path.dirname(folder)) break;
    }
  }
  return undefined;
}

module.exports = { clientFile };
