// A small WebSocket load generator that shares nothing with roadstead-bench: npm `ws`, Node's clock, a sorted list.
// Messages go out on a schedule and latency counts from the time each was meant to be sent; without a rate, the next goes
// out when the last has come back.
//
//     node client.js URL CONNECTIONS SECONDS [RATE]       prints {"rate": …, "p50_us": …, "p99_us": …, "lost": …}
'use strict';

const { WebSocket } = require('ws');

const [url, connections, seconds, rate] = [process.argv[2], ...process.argv.slice(3).map(Number)];
const WARM_UP = 0.5;
const PAYLOAD = 'abcdefghijklmnopqrstuvwxyzabcdef';
const now = () => Number(process.hrtime.bigint()) / 1000;

const latencies = [];
const sockets = [];
const waiting = Array.from({ length: connections }, () => []);
let from = Infinity;
let to = Infinity;
let sent = 0;

function send(number, intended) {
  waiting[number].push(intended);
  if (intended >= from && intended < to) sent += 1;
  sockets[number].send(PAYLOAD);
}

function receive(number) {
  const at = now();
  const intended = waiting[number].shift();
  if (intended >= from && intended < to) latencies.push(at - intended);
  if (!rate && at < to) send(number, at);
}

function run() {
  const start = now();
  from = start + WARM_UP * 1e6;
  to = from + seconds * 1e6;
  if (!rate) for (let number = 0; number < connections; number += 1) send(number, start);
  let count = 0;
  const step = () => {
    const at = now();
    if (rate) {
      for (let due = start + (count * 1e6) / rate; due <= at && due < to; due = start + (count * 1e6) / rate) {
        send(count % connections, due);
        count += 1;
      }
    }
    if (at < to) setImmediate(step);
    else setTimeout(tell, 500);
  };
  step();
}

function tell() {
  latencies.sort((a, b) => a - b);
  const at = (share) => latencies[Math.min(latencies.length - 1, Math.ceil(share * latencies.length) - 1)];
  const found = { rate: latencies.length / seconds, p50_us: at(0.5), p99_us: at(0.99), lost: sent - latencies.length };
  console.log(JSON.stringify(found));
  process.exit(0);
}

let open = 0;
for (let number = 0; number < connections; number += 1) {
  const socket = new WebSocket(url, { perMessageDeflate: false, rejectUnauthorized: false });
  socket.on('open', () => {
    open += 1;
    if (open === connections) run();
  });
  socket.on('message', () => receive(number));
  socket.on('error', (error) => {
    console.error(String(error));
    process.exit(1);
  });
  sockets.push(socket);
}
