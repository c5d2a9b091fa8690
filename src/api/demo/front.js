// The demo page. Nothing a stranger wrote is ever parsed as HTML: text goes in by textContent only.
'use strict';
const $ = (id) => document.getElementById(id);
const here = (path) => new URL(path, location.href);
const socketUrl = (path) => Object.assign(here(path), { protocol: location.protocol === 'https:' ? 'wss:' : 'ws:' });
const clock = () => performance.timeOrigin + performance.now();
const self = Array.from(crypto.getRandomValues(new Uint8Array(4)), (byte) => byte.toString(16).padStart(2, '0')).join('');

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
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

function noteRecovery(text, recovered, missed) {
  const line = element('li', text);
  Object.assign(line.dataset, { recovered, missed });
  $('recovery-log').prepend(line);
  while ($('recovery-log').children.length > 30) $('recovery-log').lastChild.remove();
}

// One /ws connection that follows several channels and comes back with their positions.
class Live {
  channels = new Map();
  waiting = new Map();
  backoff = new Backoff();
  lastId = 0;

  follow(channel, position, onPush) {
    this.channels.set(channel, { position, onPush, seen: false });
  }

  connect() {
    this.socket = new WebSocket(socketUrl('ws'));
    this.waiting.clear();
    this.socket.onopen = () => {
      this.backoff.reset();
      for (const [channel, { position }] of this.channels) {
        this.send('subscribe', position ? { channel, since: position } : { channel });
      }
    };
    this.socket.onmessage = (event) => this.handle(JSON.parse(event.data));
    this.socket.onclose = () => {
      setState($('live-state'), 'away', 'reconnecting');
      setTimeout(() => this.connect(), this.backoff.next());
    };
  }

  send(command, body) {
    this.waiting.set(++this.lastId, { command, body });
    this.socket.send(JSON.stringify({ id: this.lastId, [command]: body }));
  }

  handle(message) {
    if (message.push) return this.handlePush(message.push);
    const asked = this.waiting.get(message.id);
    this.waiting.delete(message.id);
    if (message.error) $('notice').textContent = message.error.message;
    if (message.subscribed) this.handleSubscribed(message.subscribed, asked.body.since);
  }

  handleSubscribed({ channel, epoch, offset, recovered, missed }, since) {
    const followed = this.channels.get(channel);
    followed.position = epoch + ':' + (offset - missed);
    if (since && followed.seen) {
      noteRecovery(recovered ? `${channel}: recovered, ${missed} missed` : `${channel}: a gap after ${since}`,
        recovered, missed);
    }
    followed.seen = true;
    setState($('live-state'), 'live', 'live');
    checkReady();
  }

  handlePush(push) {
    const followed = this.channels.get(push.channel);
    const [epoch, offset] = followed.position ? followed.position.split(':').map(Number) : [0, 0];
    if (push.epoch === epoch && push.offset <= offset) return;
    followed.position = push.epoch + ':' + push.offset;
    followed.onPush(push);
  }
}

// Where one transport's arrivals are shown.
class Lane {
  times = [];
  count = 0;
  liveSince = 0;

  constructor(id, title) {
    const card = $('lane').content.cloneNode(true).firstElementChild;
    card.id = 'lane-' + id;
    card.querySelector('h3').textContent = title;
    this.state = card.querySelector('.state');
    this.list = card.querySelector('ol');
    this.spark = card.querySelector('polyline');
    [this.state.id, this.list.id, this.spark.id] = ['state', 'list', 'spark'].map((part) => `lane-${id}-${part}`);
    for (const part of card.querySelectorAll('[data-part]')) {
      part.id = `lane-${id}-${part.dataset.part}`;
      this[part.dataset.part + 'Node'] = part;
    }
    $('lanes').append(card);
  }

  set(state, text) {
    if (state === 'live' && this.state.dataset.state !== 'live') this.liveSince = clock();
    setState(this.state, state, text);
    checkReady();
  }

  arrive(data) {
    const now = clock();
    let stamp;
    try { stamp = JSON.parse(data); } catch { stamp = {}; }
    const line = document.createElement('li');
    const mine = stamp && stamp.from === self && Number.isFinite(stamp.sent);
    const recovered = mine && stamp.sent < this.liveSince;
    const took = mine && !recovered ? now - stamp.sent : null;
    line.append(element('span', mine ? '#' + stamp.n : String(data).slice(0, 40)),
      element('span', took !== null ? took.toFixed(1) + ' ms' : recovered ? 'recovered' : 'from elsewhere'));
    this.list.prepend(line);
    while (this.list.children.length > 8) this.list.lastChild.remove();
    this.countNode.textContent = ++this.count;
    if (took !== null) this.measure(took);
  }

  measure(took) {
    this.times.push(took);
    if (this.times.length > 200) this.times.shift();
    const sorted = [...this.times].sort((a, b) => a - b);
    const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))].toFixed(1);
    this.p50Node.textContent = at(0.5);
    this.p99Node.textContent = at(0.99);
    const recent = this.times.slice(-60);
    const top = Math.max(...recent, 1);
    this.spark.setAttribute('points',
      recent.map((time, index) => `${index},${(34 - 32 * time / top).toFixed(1)}`).join(' '));
  }
}

const lanePath = 'channels/demo-lanes';

function runWebSocketLane(lane) {
  const backoff = new Backoff();
  const connect = () => {
    lane.socket = new WebSocket(socketUrl(lanePath));
    lane.socket.onopen = () => {
      if (lane.liveSince) noteRecovery('WebSocket: plain frames carry no position, so what came meanwhile is missed', false, '');
      backoff.reset();
      lane.set('live', 'live');
    };
    lane.socket.onmessage = (event) => typeof event.data === 'string' && lane.arrive(event.data);
    lane.socket.onclose = () => { lane.set('away', 'reconnecting'); setTimeout(connect, backoff.next()); };
  };
  lane.drop = () => lane.socket.close();
  connect();
}

function runEventSourceLane(lane) {
  let position = '';
  let missed = 0;
  let gap = false;
  const note = () => noteRecovery(gap ? 'EventSource: a gap' : `EventSource: recovered, ${missed} missed`, !gap, missed);
  const connect = () => {
    // A stream that broke is reopened by the browser, with Last-Event-ID; one this page opens anew says since.
    lane.source = new EventSource(here(lanePath + (position ? '?since=' + position : '')));
    lane.source.onopen = () => {
      if (position) setTimeout(note, 500);
      [missed, gap] = [0, false];
      lane.set('live', 'live');
    };
    lane.source.onmessage = (event) => {
      const [epoch, offset] = position.split(':').map(Number);
      const [newEpoch, newOffset] = event.lastEventId.split(':').map(Number);
      gap ||= position !== '' && (newEpoch !== epoch || newOffset !== offset + 1);
      position = event.lastEventId;
      missed++;
      lane.arrive(event.data);
    };
    lane.source.addEventListener('reset', (event) => { position = event.lastEventId; gap = true; });
    lane.source.onerror = () => {
      lane.set('away', 'reconnecting');
      if (lane.source.readyState === EventSource.CLOSED) setTimeout(connect, 2000);
    };
  };
  lane.drop = () => { lane.source.close(); lane.set('away', 'reconnecting'); setTimeout(connect, 1000); };
  connect();
}

async function runLongPollLane(lane) {
  const backoff = new Backoff();
  let position = '';
  let dropped = false;
  lane.drop = () => { dropped = true; lane.abort.abort(); };
  for (;;) {
    lane.abort = new AbortController();
    try {
      // The first poll, and the first after an interruption, does not wait: it tells at once that the server is
      // there, what was missed, and the position from which nothing will be.
      const timeout = lane.state.dataset.state === 'live' ? 25 : 0;
      const query = '?timeout=' + timeout + (position ? '&since=' + position : '');
      const answer = await fetch(here(lanePath + query), { signal: lane.abort.signal, cache: 'no-store' });
      if (!answer.ok) throw new Error(String(answer.status));
      const page = await answer.json();
      backoff.reset();
      lane.set('live', 'live');
      if (dropped || !page.recovered) {
        const missed = page.publications.length;
        noteRecovery(page.recovered ? `Long poll: recovered, ${missed} missed` : `Long poll: a gap after ${position}`,
          page.recovered, missed);
        dropped = false;
      }
      for (const publication of page.publications) lane.arrive(typeof publication.data === 'string' ? publication.data : JSON.stringify(publication.data ?? ''));
      position = page.position;
    } catch {
      lane.set('away', 'reconnecting');
      await sleep(dropped ? 1000 : backoff.next());
    }
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
  $('counter-value').textContent = offset ?? 0;
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
const lanes = [];
function checkReady() {
  const followed = [...live.channels.values()];
  const ready = followed.length === 2 && followed.every((channel) => channel.seen)
    && lanes.length === 3 && lanes.every((lane) => lane.state.dataset.state === 'live');
  document.body.dataset.ready ||= ready ? 'true' : '';
}

async function start() {
  try {
    const [chat, counter] = await Promise.all([readHistory('demo-chat'), readHistory('demo-counter')]);
    chat.publications.forEach(showChat);
    showCount({ epoch: counter.epoch, offset: counter.offset ?? 0 });
    live.follow('demo-chat', chat.position, showChat);
    live.follow('demo-counter', counter.position, showCount);
  } catch {
    $('notice').textContent = 'The server cannot be reached; trying again.';
    return setTimeout(start, 2000);
  }
  $('notice').textContent = '';
  live.connect();
  lanes.push(new Lane('websocket', 'WebSocket'), new Lane('eventsource', 'EventSource'), new Lane('longpoll', 'Long poll'));
  runWebSocketLane(lanes[0]);
  runEventSourceLane(lanes[1]);
  runLongPollLane(lanes[2]);
  showStats();
  setInterval(showStats, 2000);
}

let stamps = 0;
const sendStamp = () => publish('demo-lanes', { from: self, n: ++stamps, sent: clock() });
let timer = null;

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
$('lanes-send').onclick = sendStamp;
$('lanes-auto').onchange = (event) => {
  clearInterval(timer);
  timer = event.target.checked ? setInterval(sendStamp, 1000) : null;
};
$('recovery-drop').onclick = () => {
  live.socket.close();
  for (const lane of lanes) lane.drop();
};
start();
