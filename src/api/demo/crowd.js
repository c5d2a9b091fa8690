// Many connections that the server opens to itself: what each takes, and how long one message takes to all of them.

let crowd = null;

const perEach = (before, after, open) => (before == null || after == null || !open ? null : Math.max(0, after - before) / open);
const bytes = (count) => (count >= 10000 ? `${(count / 1000).toFixed(1)} kB` : `${Math.round(count).toLocaleString()} B`);
const milliseconds = (us) => (us >= 100000 ? `${Math.round(us / 1000)} ms` : `${(us / 1000).toFixed(1)} ms`);

async function askCrowd(order) {
  try {
    const request = order ? fetch(here('demo/crowd/' + order), { method: 'POST' }) : fetch(here('demo/crowd'), { cache: 'no-store' });
    const answer = await request;
    if (answer.ok) showCrowd(await answer.json());
    else $('crowd-state').textContent = 'This program has no crowd.';
  } catch {
    $('crowd-state').textContent = 'The server cannot be reached.';
  }
}

function showCrowd(now) {
  const wasOpening = crowd?.phase === 'opening';
  crowd = now;
  const wanted = now.wanted.toLocaleString();
  const why = now.why ? ` ${now.why[0].toUpperCase()}${now.why.slice(1)}.` : '';
  const texts = {
    none: why.trim(),
    closed: `WebSockets from a process of its own on this machine, for at most ${now.lifetime_s} seconds.${why}`,
    opening: `Opening ${wanted} …`,
    open: `They follow demo-crowd, and close by themselves after ${now.lifetime_s} seconds.${why}`,
    closing: 'Closing …',
  };
  $('crowd-state').textContent = texts[now.phase];
  $('crowd-toggle').textContent = ['open', 'opening'].includes(now.phase) ? 'Close them' : `Open ${now.wanted ? wanted : '5,000'} connections`;
  $('crowd-toggle').disabled = ['none', 'closing'].includes(now.phase);
  $('crowd-say').disabled = now.phase !== 'open';
  $('crowd-open').textContent = now.open.toLocaleString();
  $('crowd-bar').style.width = `${now.wanted && now.open / now.wanted * 100}%`;
  if (now.phase === 'open') {
    const user = perEach(now.before?.resident_bytes, now.after?.resident_bytes, now.open);
    const kernel = perEach(now.before?.kernel_bytes, now.after?.kernel_bytes, now.open);
    $('crowd-user').textContent = user === null ? '–' : bytes(user);
    $('crowd-kernel').textContent = kernel === null ? 'not told' : bytes(kernel);
  }
  if (now.phase === 'opening') for (const figure of ['user', 'kernel', 'p50', 'last']) $(`crowd-${figure}`).textContent = '–';
  if (now.delivered) {
    $('crowd-p50').textContent = milliseconds(now.delivered.p50_us);
    $('crowd-last').textContent = milliseconds(now.delivered.last_us);
  }
  // The page that has opened it says the first message.
  if (wasOpening && now.phase === 'open' && isOurs) askCrowd('say');
}

let isOurs = false;
async function watchCrowd() {
  for (;;) {
    if (!document.hidden) await askCrowd();
    await sleep(crowd?.phase === 'closed' || crowd?.phase === 'none' ? 2000 : 250);
  }
}

$('crowd-toggle').onclick = () => {
  isOurs = crowd?.phase === 'closed';
  askCrowd(isOurs ? 'open' : 'close');
};
$('crowd-say').onclick = () => askCrowd('say');
