// One channel over every tongue at once: what arrives, how long it took, and what comes after all when the network was cut.

const LANES_PATH = 'channels/demo-lanes';
// Upper ends of the bars, in ms; the last has none.
const BOUNDS = [0.5, 1, 2, 4, 8, 16, 32, 64];
// A quantile of fewer is chance.
const ENOUGH = { p50: 10, p99: 100 };
const MEASURED_MAX = 1000;
const CUT_MS = 3000;
const CUT_MESSAGES = 10;

const barOf = (time) => {
  const index = BOUNDS.findIndex((bound) => time <= bound);
  return index < 0 ? BOUNDS.length : index;
};

const lanes = [];
let cut = null;

// Where one tongue's arrivals are shown.
class Lane {
  times = [];
  count = 0;
  liveSince = 0;
  // Of what was sent while the network was cut.
  came = new Set();
  // Some of what was missed is not kept any more.
  hasGap = false;

  constructor(id, title, because) {
    const card = $('lane').content.cloneNode(true).firstElementChild;
    card.id = 'lane-' + id;
    card.querySelector('h3').textContent = title;
    this.state = card.querySelector('.state');
    this.list = card.querySelector('ol');
    this.bars = card.querySelector('.bars');
    [this.state.id, this.list.id, this.bars.id] = ['state', 'list', 'bars'].map((part) => `lane-${id}-${part}`);
    for (const part of card.querySelectorAll('[data-part]')) {
      part.id = `lane-${id}-${part.dataset.part}`;
      this[part.dataset.part + 'Node'] = part;
    }
    for (const name of [...BOUNDS, '+']) {
      const bar = element('span', '');
      bar.append(element('i', ''), element('small', name));
      this.bars.append(bar);
    }
    $('lanes').append(card);
    this.row = document.createElement('tr');
    this.row.id = 'cut-' + id;
    this.reason = because;
    this.row.append(element('td', title), element('td', '–'), element('td', because));
    $('cut-rows').append(this.row);
    this.measure();
    lanes.push(this);
  }

  set(state, text) {
    if (state === 'live' && this.state.dataset.state !== 'live') this.liveSince = clock();
    setState(this.state, state, text);
    checkReady();
  }

  because(text) {
    this.reason = text;
    this.showReason();
  }

  showReason() {
    this.row.children[2].textContent = this.hasGap ? 'more was missed than is kept, and it was told so' : this.reason;
  }

  // The server says that what it still has is not all.
  gap(isOne = true) {
    this.hasGap = isOne;
    this.showReason();
  }

  arrive(data) {
    const now = clock();
    let stamp = data;
    if (typeof data === 'string') try { stamp = JSON.parse(data); } catch { stamp = {}; }
    const line = document.createElement('li');
    const mine = stamp && stamp.from === self && Number.isFinite(stamp.sent);
    const late = mine && (stamp.cut || stamp.sent < this.liveSince);
    const took = mine && !late ? now - stamp.sent : null;
    const shown = typeof data === 'string' ? data : JSON.stringify(data);
    line.append(element('span', mine ? '#' + stamp.n : shown.length > 16 ? shown.slice(0, 15) + '…' : shown),
      element('span', took !== null ? took.toFixed(1) + ' ms' : late ? 'recovered' : 'not ours'));
    this.list.prepend(line);
    while (this.list.children.length > 3) this.list.lastChild.remove();
    this.countNode.textContent = (++this.count).toLocaleString();
    if (took !== null) this.measure(took);
    if (mine && stamp.cut && stamp.cut === cut?.number) {
      this.came.add(stamp.n);
      this.showCut();
    }
  }

  measure(took) {
    if (took !== undefined) this.times.push(took);
    if (this.times.length > MEASURED_MAX) this.times.shift();
    const sorted = [...this.times].sort((a, b) => a - b);
    const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))].toFixed(1);
    this.p50Node.textContent = sorted.length >= ENOUGH.p50 ? at(0.5) : '–';
    this.p99Node.textContent = sorted.length >= ENOUGH.p99 ? at(0.99) : '–';
    const missing = sorted.length < ENOUGH.p50 ? `p50 from ${ENOUGH.p50} on` : sorted.length < ENOUGH.p99 ? `p99 from ${ENOUGH.p99} on` : `slowest ${at(1)} ms`;
    this.noteNode.textContent = `${sorted.length.toLocaleString()} measured, ${missing}`;
    const counts = Array(BOUNDS.length + 1).fill(0);
    for (const time of sorted) counts[barOf(time)]++;
    const most = Math.max(1, ...counts);
    counts.forEach((count, index) => { this.bars.children[index].firstChild.style.height = `${count && Math.max(4, count / most * 100)}%`; });
    this.bars.setAttribute('aria-label', sorted.length ? `${sorted.length} measured, from ${at(0)} to ${at(1)} ms` : 'nothing measured');
  }

  showCut() {
    Object.assign(this.row.dataset, { sent: cut.sent, came: this.came.size });
    this.row.children[1].textContent = `${this.came.size} of ${cut.sent}`;
  }
}

function runWebSocketLane(lane) {
  const backoff = new Backoff();
  const connect = () => {
    lane.socket = new WebSocket(socketUrl(LANES_PATH));
    lane.socket.onopen = () => { backoff.reset(); lane.set('live', 'live'); };
    lane.socket.onmessage = (event) => typeof event.data === 'string' && lane.arrive(event.data);
    lane.socket.onclose = () => { lane.set('away', 'reconnecting'); comeBack(backoff, connect); };
  };
  lane.drop = () => lane.socket.close();
  connect();
}

function runCommandsLane(lane) {
  live.follow('demo-lanes', {
    hear: (kind, push) => kind === 'push' && lane.arrive(push.data),
    begun: (recovered) => {
      if (!recovered) lane.gap();
      lane.set('live', 'live');
    },
  });
  live.onGone.push({ gone: () => lane.set('away', 'reconnecting') });
  lane.drop = () => live.socket.close();
}

// Socket.IO as its clients speak it, over a WebSocket (github.com/socketio/socket.io-protocol).
function runSocketIoLane(lane, path) {
  const backoff = new Backoff();
  let session = {};
  const handle = (text) => {
    const body = (prefix) => (text.startsWith(prefix) ? JSON.parse(text.slice(prefix.length) || '{}') : null);
    if (text === '2') return lane.socket.send('3');
    if (text.startsWith('0')) return lane.socket.send('40' + (session.pid ? JSON.stringify(session) : ''));
    const entered = body('40');
    if (entered) {
      const isRecovered = session.pid !== undefined && entered.pid === session.pid;
      session = { pid: entered.pid, offset: isRecovered ? session.offset : undefined };
      lane.because(entered.pid ? 'its session was kept for it' : 'connectionStateRecovery is off here');
      return isRecovered ? lane.set('live', 'live') : lane.socket.send('420["join","demo-lanes"]');
    }
    const acknowledged = body('430');
    if (acknowledged) return acknowledged[0].error ? lane.set('away', 'refused') : lane.set('live', 'live');
    const [name, data, offset] = body('42') ?? [];
    if (typeof offset === 'string') session.offset = offset;
    if (name === 'message') lane.arrive(data);
  };
  const connect = () => {
    lane.socket = new WebSocket(socketUrl(path + '?EIO=4&transport=websocket'));
    lane.socket.onopen = () => backoff.reset();
    lane.socket.onmessage = (event) => typeof event.data === 'string' && handle(event.data);
    lane.socket.onclose = () => { lane.set('away', 'reconnecting'); comeBack(backoff, connect); };
  };
  lane.drop = () => lane.socket.close();
  connect();
}

function runEventSourceLane(lane) {
  const backoff = new Backoff();
  let position = '';
  const connect = async () => {
    // A page sees no position before the first event; a poll that does not wait tells it.
    try {
      position ||= (await (await fetch(here(LANES_PATH + '?timeout=0'), { cache: 'no-store' })).json()).position;
    } catch {
      return comeBack(backoff, connect);
    }
    // A stream that broke is reopened by the browser, with Last-Event-ID; one this page opens anew says since.
    lane.source = new EventSource(here(LANES_PATH + (position ? '?since=' + position : '')));
    lane.source.onopen = () => { backoff.reset(); lane.set('live', 'live'); };
    lane.source.onmessage = (event) => {
      position = event.lastEventId;
      lane.arrive(event.data);
    };
    lane.source.addEventListener('reset', (event) => {
      position = event.lastEventId;
      lane.gap();
    });
    lane.source.onerror = () => {
      lane.set('away', 'reconnecting');
      if (lane.source.readyState === EventSource.CLOSED) comeBack(backoff, connect);
    };
  };
  lane.drop = () => { lane.source.close(); lane.set('away', 'reconnecting'); comeBack(backoff, connect); };
  connect();
}

async function runLongPollLane(lane) {
  const backoff = new Backoff();
  let position = '';
  lane.drop = () => lane.abort.abort();
  for (;;) {
    lane.abort = new AbortController();
    try {
      // The first poll, and the first after an interruption, does not wait: it tells at once that the server is
      // there, what was missed, and the position from which nothing will be.
      const timeout = lane.state.dataset.state === 'live' ? 25 : 0;
      const query = '?timeout=' + timeout + (position ? '&since=' + position : '');
      const answer = await fetch(here(LANES_PATH + query), { signal: lane.abort.signal, cache: 'no-store' });
      if (!answer.ok) throw new Error(String(answer.status));
      const page = await answer.json();
      backoff.reset();
      lane.set('live', 'live');
      if (!page.recovered) lane.gap();
      for (const publication of page.publications) lane.arrive(publication.data ?? '');
      position = page.position;
    } catch {
      lane.set('away', 'reconnecting');
      await sleep(backoff.next());
      await network;
    }
  }
}

function openLanes() {
  runWebSocketLane(new Lane('websocket', 'WebSocket', 'plain frames carry no position'));
  runCommandsLane(new Lane('commands', '/ws', 'it says the position it had'));
  const path = document.body.dataset.socketio;
  if (path.length > 1) runSocketIoLane(new Lane('socketio', 'Socket.IO', '–'), path);
  else $('lanes-title').textContent = 'One channel, four tongues';
  runEventSourceLane(new Lane('eventsource', 'EventSource', 'the id of the last event is its position'));
  runLongPollLane(new Lane('longpoll', 'Long poll', 'it says the position it had'));
}

let stamps = 0;
const sendStamp = (more) => publish('demo-lanes', { from: self, n: ++stamps, sent: clock(), ...more });

async function sendHundred() {
  $('lanes-hundred').disabled = true;
  for (let sent = 0; sent < 100; sent++) if (!await sendStamp() || !await sleep(15).then(() => true)) break;
  $('lanes-hundred').disabled = false;
}

async function cutNetwork() {
  $('cut').disabled = true;
  cut = { number: (cut?.number ?? 0) + 1, sent: 0 };
  let heal;
  network = new Promise((resolve) => { heal = resolve; });
  for (const lane of lanes) {
    lane.came.clear();
    lane.gap(false);
    lane.showCut();
    lane.drop();
  }
  const end = sleep(CUT_MS);
  while (lanes.some((lane) => lane.state.dataset.state === 'live')) await sleep(20);
  // Somebody else's network is not cut: what is published goes another way.
  while (cut.sent < CUT_MESSAGES) {
    if (!await sendStamp({ cut: cut.number })) break;
    cut.sent++;
    $('cut-state').textContent = `Cut. ${cut.sent} messages were sent meanwhile.`;
  }
  for (const lane of lanes) lane.showCut();
  await end;
  heal();
  $('cut-state').textContent = `The network is back. ${cut.sent} messages were sent while it was cut.`;
  $('cut').disabled = false;
}

let timer = null;
$('lanes-one').onclick = () => sendStamp();
$('lanes-hundred').onclick = sendHundred;
$('lanes-auto').onchange = (event) => {
  clearInterval(timer);
  timer = event.target.checked ? setInterval(sendStamp, 1000) : null;
};
$('cut').onclick = cutNetwork;
