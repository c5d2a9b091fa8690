// What the server says each second, and what is made of it.
const MINUTES_MS = 120_000;
const HOUR_MS = 3_600_000;
// Memory that the kernel takes for an idle connection and its poll, as measured on Linux 6.18.
const KERNEL_BYTES = 4_200;

let first = null;
let seconds = [];
let hour = [];
let events = [];
let troublesOfHour = [];
let before = null;
let turnsBefore = [];
let isHour = false;

const sum = (list, read) => list.reduce((total, one) => total + read(one), 0);
const setting = (name) => name.split('.').reduce((value, key) => value?.[key], first?.config);
function settingText(name) {
  const value = setting(name);
  return value === undefined ? name : `${name} = ${Array.isArray(value) ? JSON.stringify(value) : value}`;
}

// Notes that something has happened; what goes on is one event that grows.
function note(at, kind, count, text, governed) {
  const last = events.find((event) => event.kind === kind);
  if (last && count && at - last.until < 60_000) {
    last.until = at;
    last.count += count;
    return;
  }
  events.unshift({ at, until: at, kind, count, text, governed });
  events = events.filter((event) => at - event.until < HOUR_MS).slice(0, 100);
}

function handleFirst(said) {
  first = said;
  const perSecond = said.sample_ms / 1000;
  hour = said.past.map((row) => ({ at: row.unix_ms, connections: row.connections,
    deliveries: row.deliveries / perSecond, publications: row.publications / perSecond, load: row.busy_permille / 1000 }));
  [events, seconds, before, turnsBefore, troublesOfHour] = [[], [], null, [], []];
  for (const row of said.past) noteTroubles(row.unix_ms, Object.entries(row.troubles));
}

function noteTroubles(at, counts) {
  for (const [index, count] of counts) {
    const { label, setting: governed } = first.troubles[index];
    note(at, label, count, label, governed);
    troublesOfHour.push({ at, index: Number(index), count });
  }
  troublesOfHour = troublesOfHour.filter((trouble) => at - trouble.at < HOUR_MS);
}

// What has been counted since the snapshot before, per second, of shards that were there then as well.
function rates(now) {
  const dt = before ? (now.unix_ms - before.unix_ms) / 1000 : 0;
  const then = new Map(before?.shards.map((shard) => [shard.shard, shard]));
  const rate = (field) => dt > 0
    ? sum(now.shards, (shard) => Math.max(0, shard[field] - (then.get(shard.shard)?.[field] ?? shard[field]))) / dt : 0;
  const loads = now.shards.map((shard) => {
    const old = then.get(shard.shard);
    return old && dt > 0 ? Math.min(1, Math.max(0, shard.busy_us_total - old.busy_us_total) / dt / 1e6) : 0;
  });
  return { dt, rate, loads };
}

function handleNow(now) {
  const { dt, rate, loads } = rates(now);
  const point = { at: now.unix_ms, connections: sum(now.shards, (shard) => shard.connections),
    deliveries: rate('deliveries_total'), publications: rate('publications_total'), load: Math.max(0, ...loads) };
  if (dt > 0) {
    seconds.push(point);
    seconds = seconds.filter((one) => point.at - one.at < MINUTES_MS);
    growHour(point);
    noteChanges(now);
  }
  showState(now);
  showTiles(now, point, rate);
  showCharts();
  showShards(now, loads);
  showMemory(now, point.connections);
  showBounds(now);
  showBusiest(now);
  showOrigins(now);
  showTroubles(now, dt);
  showEvents();
  showExtras(now);
  document.body.dataset.ready = dt > 0;
  before = now;
}

// The hour goes on in the page, in samples as long as the server's.
function growHour(point) {
  const last = hour.at(-1)?.at ?? seconds[0].at;
  if (point.at - last < first.sample_ms) return;
  const since = seconds.filter((one) => one.at > last);
  const mean = (field) => sum(since, (one) => one[field]) / since.length;
  hour.push({ at: point.at, connections: point.connections, deliveries: mean('deliveries'),
    publications: mean('publications'), load: mean('load') });
  hour = hour.filter((one) => point.at - one.at < HOUR_MS);
}

function noteChanges(now) {
  const then = new Map(before.shards.map((shard, at) => [shard.shard, before.troubles[at]]));
  const counts = first.troubles.map((_, index) => sum(now.shards.map((shard, at) => ({ shard, at })),
    ({ shard, at }) => now.troubles[at][index] - (then.get(shard.shard)?.[index] ?? now.troubles[at][index])));
  noteTroubles(now.unix_ms, [...counts.entries()].filter(([, count]) => count > 0));
  if (!now.is_ready && before.is_ready) note(now.unix_ms, 'leave', 0, now.is_broker_away ? 'not ready: the broker that joins the nodes is away' : 'the server is not ready: load balancers are told to send nobody', now.is_broker_away ? 'broker.url' : 'server.lame_duck_ms');
  if (now.is_draining && !before.is_draining) note(now.unix_ms, 'drain', 0, 'draining: clients are told to go', 'server.drain_ms');
  const silent = now.shards_expected - now.shards.length;
  const wasSilent = before.shards_expected - before.shards.length;
  if (silent > 0 && wasSilent === 0) note(now.unix_ms, 'silent', 0, `${silent} of ${now.shards_expected} shards did not answer in time`, '');
  if (silent === 0 && wasSilent > 0) note(now.unix_ms, 'silent', 0, 'all shards answer again', '');
}

function showState(now) {
  const silent = now.shards_expected - now.shards.length;
  const state = $('state');
  state.dataset.state = silent || !now.is_ready ? 'warn' : 'live';
  state.textContent = silent ? `${silent} of ${now.shards_expected} shards do not answer`
    : now.is_draining ? 'draining' : now.is_ready ? 'live' : now.is_broker_away ? 'the broker is away' : 'not ready';
  if (now.process) $('about').firstChild.textContent = `Version ${now.process.version}, up ${span(now.process.uptime_ms)}. `;
}

function showTiles(now, point, rate) {
  const most = sum(now.shards, (shard) => shard.connections_max);
  $('now-connections').textContent = whole(point.connections);
  $('of-connections').textContent = `of ${whole(most)} (limits.connections_max)`;
  $('now-deliveries').textContent = short(point.deliveries);
  $('of-deliveries').textContent = `${bytes(rate('sent_bytes_total'))}/s sent`;
  $('now-publications').textContent = short(point.publications);
  $('of-publications').textContent = `${whole(sum(now.shards, (shard) => shard.subscriptions))} subscriptions`;
  $('now-load').textContent = `${Math.round(point.load * 100)} %`;
  const kinds = first.legend.sessions.map((kind, at) => [kind, sum(now.shards, (shard) => shard.sessions[at])]);
  $('of-load').textContent = `${now.shards.length} shards`;
  $('now-connections').title = kinds.map(([kind, count]) => `${kind.replace('_', ' ')}: ${whole(count)}`).join('\n');
}

function showCharts() {
  // Before the page was opened there are the server's samples.
  const points = isHour ? hour : [...hour.filter((one) => !(one.at >= seconds[0]?.at)), ...seconds];
  const to = seconds.at(-1)?.at ?? Date.now();
  const from = to - (isHour ? HOUR_MS : MINUTES_MS);
  for (const field of ['connections', 'deliveries', 'load']) {
    const line = points.map((point) => ({ at: point.at, value: point[field] })).filter((point) => point.at >= from);
    const most = Math.max(0, ...line.map((point) => point.value));
    const top = field === 'load' ? 1 : ceiling(most);
    draw($(`chart-${field}`), line, from, to, top, 3 * first.sample_ms);
    const said = field === 'load' ? `most ${Math.round(most * 100)} %, scale to 100 %` : `most ${short(most)}, scale to ${short(top)}`;
    $(`chart-${field}-top`).textContent = said;
    $(`chart-${field}`).setAttribute('aria-label', `${field} over ${isHour ? 'an hour' : 'two minutes'}: ${said}`);
  }
  for (const label of document.querySelectorAll('[data-part="from"]')) label.textContent = isHour ? '1 h ago' : '2 min ago';
}

// The bound under which a part of the turns of the last ten seconds stayed.
function quantile(counts, part) {
  const total = sum(counts, (count) => count);
  if (total === 0) return null;
  let seen = 0;
  const at = counts.findIndex((count) => (seen += count) >= part * total);
  return first.turn_us_bounds[at] ?? Infinity;
}
const atMost = (us) => us === Infinity ? `>${time(first.turn_us_bounds.at(-1))}` : us === null ? '–' : `≤${time(us)}`;

function showShards(now, loads) {
  turnsBefore.push(new Map(now.shards.map((shard) => [shard.shard, shard.turn_us])));
  turnsBefore = turnsBefore.slice(-11);
  fill($('shards'), now.shards.map((shard, at) => {
    const old = turnsBefore[0].get(shard.shard);
    const turns = shard.turn_us.map((count, index) => count - (old?.[index] ?? 0));
    const load = element('td', '');
    const both = element('span', '', 'bar');
    both.append(bar(loads[at]), element('b', `${Math.round(loads[at] * 100)} %`));
    load.append(both);
    const name = element('td', `${shard.shard}`);
    name.title = `core ${shard.core}`;
    return tableRow(name, load, number(whole(shard.connections)), number(atMost(quantile(turns, 0.5)), 'minor'),
      number(atMost(quantile(turns, 0.99))), number(whole(shard.mesh_depth), 'minor'));
  }), 'no shard answers');
}

function showMemory(now, connections) {
  const tables = Math.max(0, ...now.shards.map((shard) => shard.connection_bytes));
  const known = now.process?.kernel_bytes;
  const isCounted = known != null && connections >= 1000;
  const kernel = isCounted ? known / connections : KERNEL_BYTES;
  const whole = tables + kernel;
  document.querySelector('#memory-bar [data-part="tables"]').style.width = `${Math.max(1.5, tables / whole * 100)}%`;
  document.querySelector('#memory-bar [data-part="kernel"]').style.width = `${kernel / whole * 100}%`;
  $('memory-tables').textContent = bytes(tables);
  $('memory-kernel-name').textContent = isCounted ? 'kernel, as the control group counts it' : 'kernel, as measured on Linux 6.18';
  $('memory-kernel').textContent = isCounted ? bytes(kernel) : `about ${bytes(kernel)}`;
  $('memory-resident').textContent = now.process ? bytes(now.process.resident_bytes) : '–';
  $('memory-each').textContent = now.process && connections >= 1000 ? bytes(now.process.resident_bytes / connections) : '–';
  $('memory-note').textContent = connections >= 1000
    ? 'An idle connection that follows one channel takes the first two. The rest of the process is history, state, what waits, and what a shard has before anybody comes.'
    : 'An idle connection that follows one channel takes the first two. With a thousand connections the whole can be divided by their number.';
}

function showBounds(now) {
  const total = (field) => sum(now.shards, (shard) => shard[field]);
  const rows = [
    ['waiting to be sent', total('send_queue_bytes'), 'limits.send_bytes_max', bytes],
    ['history kept', total('history_bytes'), 'limits.history_bytes_max', bytes],
    ['state kept', total('state_bytes'), 'limits.state_bytes_max', bytes],
    ['input that has begun and not ended', total('partial_input_bytes'), 'limits.partial_input_bytes_max', bytes],
    ['channels', total('channels'), 'limits.channels_max', whole],
    ['messages that wait for other shards', total('mesh_depth'), '', whole],
  ];
  fill($('bounds'), rows.map(([name, value, key, write]) => {
    const row = document.createElement('li');
    const head = element('div', '', 'row spread');
    const most = key ? setting(key) : 0;
    head.append(element('span', name), element('b', most ? `${write(value)} of ${write(most)}` : write(value)));
    row.append(head);
    if (most) row.append(bar(value / most));
    if (key) row.append(element('code', key));
    return row;
  }), '');
}

function showBusiest(now) {
  fill($('busiest'), now.busiest.slice(0, 10).map((one) => tableRow(element('td', one.channel, 'name'),
    number(short(one.publications)), number(short(one.deliveries)))), 'nothing is published');
}

function showOrigins(now) {
  fill($('origins'), now.origins.slice(0, 10).map((one) => tableRow(element('td', one.address, 'name'),
    element('td', one.hops ? [one.is_secure ? 'https' : 'http', one.host ?? ''].join('://') : '–'),
    element('td', one.hops?.join(', ') || '–'), number(whole(one.connections)))), 'nobody is here');
}

function showTroubles(now, dt) {
  const totals = first.troubles.map((_, index) => sum(now.troubles, (counts) => counts[index]));
  const then = before ? first.troubles.map((_, index) => sum(before.troubles, (counts) => counts[index])) : totals;
  const rows = first.troubles.map((trouble, index) => ({ ...trouble, total: totals[index],
    rate: dt > 0 ? Math.max(0, totals[index] - then[index]) / dt : 0,
    hour: sum(troublesOfHour.filter((one) => one.index === index), (one) => one.count) }));
  fill($('troubles'), rows.filter((row) => row.total).map((row) => {
    const name = element('td', row.label, 'name');
    if (row.setting) name.append(element('code', settingText(row.setting)));
    return tableRow(name, number(short(row.rate)), number(whole(row.hour)), number(whole(row.total)));
  }), 'nothing was refused, and nothing has failed');
}

let shownEvents = '';
function showEvents() {
  const shown = JSON.stringify(events);
  if (shown === shownEvents) return;
  shownEvents = shown;
  fill($('events'), events.map((event) => {
    const row = document.createElement('li');
    const said = element('span', event.count ? `${whole(event.count)} ${event.text}` : event.text);
    if (event.governed) said.append(element('code', settingText(event.governed)));
    const at = element('time', clock(event.at));
    if (event.until > event.at) at.title = `until ${clock(event.until)}`;
    row.append(at, said);
    return row;
  }), 'nothing of note');
}

// Sections of what not every server has.
function showExtras(now) {
  const total = (field) => sum(now.shards, (shard) => shard[field]);
  const at = (field, index) => sum(now.shards, (shard) => shard[field][index]);
  const handshakes = first.legend.tls_handshakes_total.map((name, index) => [name, at('tls_handshakes_total', index)]);
  const done = handshakes[0][1] + handshakes[1][1];
  const tried = sum(handshakes, ([, count]) => count);
  const hooks = first.legend.hooks_total.map((name, index) => [name.replaceAll('_', ' '), at('hooks_total', index)]);
  const extras = {
    presence: [total('members'), [['members of channels', whole(total('members'))],
      ['limits.presence_members_max', whole(setting('limits.presence_members_max'))]]],
    'state-keys': [total('state_keys'), [['keys and counters', whole(total('state_keys'))],
      ['memory', bytes(total('state_bytes'))]]],
    tls: [tried, [['handshakes in progress', whole(total('tls_handshakes_in_progress'))],
      ['mean time of one, in work', done ? `${(total('tls_handshake_us_total') / tried / 1000).toFixed(2)} ms` : '–'],
      ...handshakes.filter(([, count]) => count).map(([name, count]) => [name.replaceAll('_', ' '), whole(count)])]],
    socketio: [total('sockets') + total('engine_sessions'), [['sockets', whole(total('sockets'))],
      ['sessions', whole(total('engine_sessions'))]]],
    hooks: [sum(hooks, ([, count]) => count), [['waiting for an answer', whole(total('hooks_waiting'))],
      ...hooks.filter(([, count]) => count).map(([name, count]) => [name, whole(count)])]],
  };
  for (const [id, [count, pairs]] of Object.entries(extras)) {
    $(id).hidden = !count;
    const rows = pairs.map(([name, value]) => {
      const row = document.createElement('div');
      row.append(element('dt', name), element('dd', value));
      return row;
    });
    $(id).querySelector('dl').replaceChildren(...rows);
  }
}

function handle(line) {
  const said = JSON.parse(line);
  if (said.first) handleFirst(said.first);
  if (said.now && first) handleNow(said.now);
}

// Reads the stream until it ends. An EventSource could show no key.
async function follow() {
  const headers = $('key').value ? { Authorization: `Bearer ${$('key').value}` } : {};
  const answer = await fetch('dashboard/live', { headers, cache: 'no-store' });
  if (!answer.ok) {
    const { error } = await answer.json();
    if (answer.status !== 401 && answer.status !== 403) throw new Error(error.message);
    $('key-form').hidden = false;
    $('key-notice').textContent = $('key').value ? error.message : '';
    setState('wait', 'a key is needed');
    $('key').focus();
    return false;
  }
  $('key-form').hidden = true;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ''; ;) {
    const { value, done } = await reader.read();
    if (done) return true;
    const lines = (rest + value).split('\n');
    rest = lines.pop();
    for (const line of lines) if (line.startsWith('data: ')) handle(line.slice(6));
  }
}

function setState(state, text) {
  $('state').dataset.state = state;
  $('state').textContent = text;
}

async function start() {
  try {
    if (!await follow()) return;
    setState('away', 'the server has ended the stream; trying again');
  } catch (error) {
    setState('away', error instanceof TypeError ? 'the server cannot be reached; trying again' : `${error.message}`);
  }
  setTimeout(start, 1500 + Math.random() * 1000);
}

$('key-form').onsubmit = (event) => {
  event.preventDefault();
  start();
};
for (const [id, hourly] of [['span-minutes', false], ['span-hour', true]]) {
  $(id).onclick = () => {
    isHour = hourly;
    $('span-minutes').setAttribute('aria-pressed', !hourly);
    $('span-hour').setAttribute('aria-pressed', hourly);
    if (first) showCharts();
  };
}
start();
