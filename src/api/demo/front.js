// The demo page: what its parts share, the chat and the counter. Nothing a stranger wrote is ever parsed as HTML: text goes
// in by textContent only.
'use strict';
const $ = (id) => document.getElementById(id);
const here = (path) => new URL(path, location.href);
const socketUrl = (path) => Object.assign(here(path), { protocol: location.protocol === 'https:' ? 'wss:' : 'ws:' });
const clock = () => performance.timeOrigin + performance.now();
const self = Array.from(crypto.getRandomValues(new Uint8Array(4)), (byte) => byte.toString(16).padStart(2, '0')).join('');

function element(name, text, look) {
  const made = document.createElement(name);
  made.textContent = text;
  if (look) made.className = look;
  return made;
}

function setState(node, state, text) {
  node.dataset.state = state;
  node.textContent = text;
}

// A delay that grows with every failure, jittered so that many pages do not come back at once.
class Backoff {
  failures = 0;
  next() { return Math.min(10000, 500 * 2 ** this.failures++) * (0.5 + Math.random() / 2); }
  reset() { this.failures = 0; }
}
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// What the page's connections wait for before they come back: nothing, but while the network is cut.
let network = Promise.resolve();
async function comeBack(backoff, connect) {
  await sleep(backoff.next());
  await network;
  connect();
}

async function publish(channel, value) {
  const headers = { 'Content-Type': 'application/json' };
  if ($('key').value) headers.Authorization = 'Bearer ' + $('key').value;
  try {
    const answer = await fetch(here('channels/' + encodeURIComponent(channel)),
      { method: 'POST', headers, body: JSON.stringify(value) });
    const body = await answer.json();
    $('key-row').hidden = ![401, 403].includes(answer.status) && !$('key').value;
    $('notice').textContent = answer.ok ? '' : body.error.message;
    return answer.ok ? body : null;
  } catch (error) {
    $('notice').textContent = 'The server cannot be reached.';
    return null;
  }
}

// One /ws connection that follows several channels and comes back with their positions.
class Live {
  channels = new Map();
  backoff = new Backoff();
  lastId = 0;

  // `hear` is told each push and its kind; `presence` asks who is there, each time anew.
  follow(channel, { position, presence, hear, begun }) {
    this.channels.set(channel, { position, presence, hear, begun, seen: false });
  }

  connect() {
    this.socket = new WebSocket(socketUrl('ws'));
    this.socket.onopen = () => {
      this.backoff.reset();
      for (const [channel, { position, presence }] of this.channels) {
        this.send('subscribe', presence ? { channel, presence } : position ? { channel, since: position } : { channel });
      }
    };
    this.socket.onmessage = (event) => this.handle(JSON.parse(event.data));
    this.socket.onclose = () => {
      setState($('live-state'), 'away', 'reconnecting');
      for (const { gone } of this.onGone) gone();
      comeBack(this.backoff, () => this.connect());
    };
  }

  // Those that are told when the connection has gone.
  onGone = [];

  send(command, body) {
    this.socket.send(JSON.stringify({ id: ++this.lastId, [command]: body }));
  }

  handle(message) {
    if (message.id === undefined) return this.handlePush(message);
    if (message.error) $('notice').textContent = message.error.message;
    if (message.subscribed) this.handleSubscribed(message.subscribed);
    if (message.entered) this.channels.get(message.entered.channel)?.hear('entered', message.entered);
  }

  handleSubscribed({ channel, epoch, offset, missed, recovered }) {
    const followed = this.channels.get(channel);
    followed.position = epoch + ':' + (offset - missed);
    followed.seen = true;
    followed.begun?.(recovered);
    setState($('live-state'), 'live', 'live');
    checkReady();
  }

  handlePush(message) {
    const [kind, push] = Object.entries(message)[0];
    const followed = this.channels.get(push.channel);
    if (!followed) return;
    if (kind === 'push') {
      const [epoch, offset] = followed.position ? followed.position.split(':').map(Number) : [0, 0];
      if (push.epoch === epoch && push.offset <= offset) return;
      followed.position = push.epoch + ':' + push.offset;
    }
    followed.hear(kind, push);
  }
}

function showChat(publication) {
  let said = publication.data;
  if (typeof said === 'string') try { said = JSON.parse(said); } catch { said = { text: said }; }
  // A Socket.IO client's event: its name and its arguments.
  if (Array.isArray(said)) said = said[1];
  const line = document.createElement('li');
  const at = new Date(publication.time ?? Date.now());
  line.append(element('time', at.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })),
    element('b', String(said?.name ?? 'somebody').slice(0, 32)), element('span', String(said?.text ?? '').slice(0, 500)));
  const log = $('chat-log');
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  log.append(line);
  while (log.children.length > 200) log.firstChild.remove();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

let count = { epoch: 0, offset: 0 };
function showCount({ epoch, offset }) {
  if (epoch === count.epoch && offset < count.offset) return;
  count = { epoch, offset };
  $('counter-value').textContent = (offset ?? 0).toLocaleString();
}

async function readHistory(channel) {
  const answer = await fetch(here(`channels/${encodeURIComponent(channel)}/history`), { cache: 'no-store' });
  return answer.json();
}

let lastStats = null;
async function showStats() {
  if (document.hidden) return;
  try {
    const stats = await (await fetch(here('demo/stats'), { cache: 'no-store' })).json();
    const now = clock();
    $('stat-connections').textContent = stats.connections.toLocaleString();
    $('stat-shards').textContent = stats.shards;
    if (lastStats) {
      const rate = (stats.deliveries - lastStats.deliveries) / (now - lastStats.now) * 1000;
      $('stat-deliveries').textContent = Math.max(0, Math.round(rate)).toLocaleString();
    }
    lastStats = { deliveries: stats.deliveries, now };
  } catch {
    $('stat-connections').textContent = '–';
  }
}

const live = new Live();
function checkReady() {
  const followed = [...live.channels.values()];
  const ready = followed.length > 2 && followed.every((channel) => channel.seen)
    && lanes.length > 3 && lanes.every((lane) => lane.state.dataset.state === 'live');
  document.body.dataset.ready ||= ready ? 'true' : '';
}

async function start() {
  try {
    const [chat, counter] = await Promise.all([readHistory('demo-chat'), readHistory('demo-counter')]);
    chat.publications.forEach(showChat);
    showCount({ epoch: counter.epoch, offset: counter.offset ?? 0 });
    live.follow('demo-chat', { position: chat.position, hear: (kind, push) => kind === 'push' && showChat(push) });
    live.follow('demo-counter', { position: counter.position, hear: (kind, push) => kind === 'push' && showCount(push) });
  } catch {
    $('notice').textContent = 'The server cannot be reached; trying again.';
    return setTimeout(start, 2000);
  }
  $('notice').textContent = '';
  openLanes();
  openRooms();
  live.connect();
  watchCrowd();
  showStats();
  setInterval(showStats, 2000);
}

$('chat-name').value = 'guest-' + self.slice(0, 4);
$('curl').textContent = `curl -d hello ${here('channels/demo-lanes')}`;
$('chat-form').onsubmit = async (event) => {
  event.preventDefault();
  const text = $('chat-text').value.trim();
  if (!text) return;
  const said = await publish('demo-chat', { name: $('chat-name').value.trim() || 'somebody', text });
  if (said) $('chat-text').value = '';
};
$('counter-press').onclick = async () => {
  const pressed = await publish('demo-counter', {});
  if (pressed) showCount(pressed);
};
