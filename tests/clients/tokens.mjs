// Tokens that npm `jose` makes, in every way that browsers and Node.js can show them.

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SignJWT, UnsecuredJWT, exportJWK, exportSPKI, generateKeyPair } from 'jose';
import { io } from 'socket.io-client';
import WebSocket from 'ws';
import { run } from './checks.mjs';
import { startWith } from './server.mjs';

const ISSUER = 'https://login.example';
const ALLOW = { subscribe: ['news', '/'], history: ['news'], publish: ['news'] };

/** A token of the user 42. */
function token(algorithm, key, header = {}, changes = {}) {
  const jwt = new SignJWT({ allow: ALLOW, ...changes }).setProtectedHeader({ alg: algorithm, ...header });
  return jwt.setSubject('42').setIssuer(ISSUER).setAudience('roadstead').setIssuedAt().setExpirationTime('10m').sign(key);
}

/** A server that knows these keys, each `{algorithm, text}`. */
async function serverWith(keys, check) {
  const folder = await mkdtemp(join(tmpdir(), 'roadstead-tokens-'));
  const sections = await Promise.all(keys.map(async ({ algorithm, text, kid = '' }, index) => {
    const file = join(folder, `key-${index}`);
    await writeFile(file, text);
    return `[[token_key]]\nissuer = "${ISSUER}"\nkid = "${kid}"\nalgorithm = "${algorithm}"\nfile = "${file}"\n`;
  }));
  const config = join(folder, 'roadstead.toml');
  await writeFile(config, `[auth]\naudience = "roadstead"\n${sections.join('')}`);
  const server = await startWith(['--config', config]);
  try {
    await check(server);
    await server.stop();
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** The status of one read of history. */
async function reads(server, jwt) {
  const headers = jwt ? { Authorization: `Bearer ${jwt}` } : {};
  const answer = await fetch(`${server.url}/channels/news/history`, { headers });
  return answer.status === 200 ? 'ok' : (await answer.json()).error.code;
}

await run({
  async 'a token of each algorithm is good, by its PEM and by its set of keys'() {
    const kinds = [['ES256', { crv: 'P-256' }], ['EdDSA', { crv: 'Ed25519' }], ['RS256', {}]];
    const pairs = await Promise.all(kinds.map(([algorithm, options]) => (
      generateKeyPair(algorithm, { ...options, extractable: true }))));
    const pems = await Promise.all(pairs.map(({ publicKey }) => exportSPKI(publicKey)));
    const keys = kinds.map(([algorithm], index) => ({ algorithm, text: pems[index] }));
    const jwks = await Promise.all(pairs.map(async ({ publicKey }, index) => (
      { ...await exportJWK(publicKey), kid: `k${index}`, alg: kinds[index][0], use: 'sig' })));
    for (const configured of [keys, [{ algorithm: 'JWKS', text: JSON.stringify({ keys: jwks }) }]]) {
      await serverWith(configured, async (server) => {
        assert.equal(await reads(server), 'history_forbidden');
        for (const [index, [algorithm]] of kinds.entries()) {
          const jwt = await token(algorithm, pairs[index].privateKey, { kid: `k${index}` });
          assert.equal(await reads(server, jwt), 'ok', algorithm);
          const [head, , signature] = jwt.split('.');
          const other = Buffer.from(JSON.stringify({ sub: '43', exp: 4e9, iss: ISSUER, aud: 'roadstead' })).toString('base64url');
          assert.equal(await reads(server, `${head}.${other}.${signature}`), 'token_signature_wrong');
        }
        const stranger = await generateKeyPair('ES256');
        const code = configured.length === 1 ? 'token_key_unknown' : 'token_signature_wrong';
        assert.equal(await reads(server, await token('ES256', stranger.privateKey, { kid: 'other' })), code);
        const unsigned = new UnsecuredJWT({ allow: ALLOW }).setSubject('42').setIssuer(ISSUER).setAudience('roadstead');
        assert.equal(await reads(server, unsigned.setExpirationTime('10m').encode()), 'token_algorithm_refused');
        const confused = await token('HS256', new TextEncoder().encode(pems[2]));
        assert.equal(await reads(server, confused), 'token_key_unknown');
      });
    }
  },

  async 'what jose says of time and audience is understood'() {
    const secret = new TextEncoder().encode('a secret of at least thirty-two bytes');
    await serverWith([{ algorithm: 'HS256', text: 'a secret of at least thirty-two bytes' }], async (server) => {
      const jwt = (change) => change(new SignJWT({ allow: ALLOW }).setProtectedHeader({ alg: 'HS256' }).setSubject('42')
        .setIssuer(ISSUER)).sign(secret);
      for (const [change, code] of [
        [(made) => made.setAudience('roadstead').setExpirationTime('10m'), 'ok'],
        [(made) => made.setAudience(['other', 'roadstead']).setExpirationTime('10m'), 'ok'],
        [(made) => made.setAudience('other').setExpirationTime('10m'), 'token_audience_wrong'],
        [(made) => made.setExpirationTime('10m'), 'token_audience_wrong'],
        [(made) => made.setAudience('roadstead'), 'token_claim_invalid'],
        [(made) => made.setAudience('roadstead').setExpirationTime('-2m'), 'token_expired'],
        [(made) => made.setAudience('roadstead').setExpirationTime('3d'), 'token_lifetime_too_long'],
        [(made) => made.setAudience('roadstead').setExpirationTime('10m').setNotBefore('5m'), 'token_not_yet'],
      ]) assert.equal(await reads(server, await jwt(change)), code);
    });
  },

  async 'a WebSocket shows its token as a subprotocol or in its first command, a Socket.IO client on entering'() {
    const secret = new TextEncoder().encode('a secret of at least thirty-two bytes');
    await serverWith([{ algorithm: 'HS256', text: 'a secret of at least thirty-two bytes' }], async (server) => {
      const jwt = await token('HS256', secret);
      const url = server.url.replace('http', 'ws');
      const raw = new WebSocket(`${url}/channels/news`, ['roadstead.raw', `bearer.${jwt}`]);
      await new Promise((resolve, reject) => raw.once('open', resolve).once('error', reject));
      assert.equal(raw.protocol, 'roadstead.raw');
      const commands = new WebSocket(`${url}/ws`);
      await new Promise((resolve, reject) => commands.once('open', resolve).once('error', reject));
      const replies = [];
      commands.on('message', (text) => replies.push(JSON.parse(text)));
      commands.send(JSON.stringify({ id: 1, connect: { token: jwt } }));
      commands.send(JSON.stringify({ id: 2, publish: { channel: 'news', data: 'hello' } }));
      const [heard] = await new Promise((resolve) => raw.once('message', (...all) => resolve(all)));
      assert.equal(heard.toString(), 'hello');
      assert.equal(replies[0].connected.user, '42');
      raw.close();
      commands.close();

      const stranger = io(server.url, { reconnection: false });
      const refused = await new Promise((resolve) => stranger.once('connect_error', resolve));
      assert.equal(refused.data.code, 'subscribe_forbidden');
      stranger.close();
      const client = io(server.url, { auth: { token: jwt } });
      await new Promise((resolve, reject) => client.once('connect', resolve).once('connect_error', reject));
      assert.deepEqual(await client.emitWithAck('join', 'news'), { room: 'news' });
      const { error } = await client.emitWithAck('join', 'other');
      assert.equal(error.code, 'subscribe_forbidden');
      client.close();
    });
  },
});
