// A chat in one room: `join`, `publish` and `presence` are the server's commands; `demo typing` is none, so it goes to
// everybody.
const ROOM = 'demo-chat';

function start() {
  const socket = connect('/');
  let typing;
  socket.on('connect', async () => {
    if (await ask(socket, 'join', ROOM)) showCount(socket);
  });
  socket.on('message', showLine);
  socket.on('demo typing', (name) => {
    clearTimeout(typing);
    $('chat-typing').textContent = `${String(name).slice(0, 32)} is typing …`;
    typing = setTimeout(() => { $('chat-typing').textContent = '\u00a0'; }, 1500);
  });
  $('chat-name').value = guest;
  $('chat-text').oninput = () => socket.connected && socket.volatile.emit('demo typing', $('chat-name').value);
  $('chat-form').onsubmit = async (event) => {
    event.preventDefault();
    const text = $('chat-text').value.trim();
    if (!text) return;
    const said = { name: $('chat-name').value.trim() || 'somebody', text };
    if (await ask(socket, 'publish', ROOM, 'message', said)) $('chat-text').value = '';
  };
  setInterval(() => socket.connected && !document.hidden && showCount(socket), 3000);
  showHistory();
}

// A Socket.IO client said an object; who published to the channel may have said anything.
function showLine(said) {
  if (typeof said === 'string') {
    try { said = JSON.parse(said); } catch { said = { text: said }; }
  }
  const line = document.createElement('li');
  line.append(element('b', String(said?.name ?? 'somebody').slice(0, 32)),
    element('span', String(said?.text ?? '').slice(0, 500)));
  $('chat-log').append(line);
  while ($('chat-log').children.length > 200) $('chat-log').firstChild.remove();
  $('chat-log').scrollTop = $('chat-log').scrollHeight;
}

async function showCount(socket) {
  const answer = await ask(socket, 'presence', ROOM);
  if (answer) $('chat-count').textContent = answer.count;
}

// What was said before is the channel's history.
async function showHistory() {
  const page = await (await fetch(`../channels/${ROOM}/history`, { cache: 'no-store' })).json();
  for (const { data } of page.publications) {
    let said = data;
    try { said = JSON.parse(data); } catch { /* it is a text */ }
    showLine(Array.isArray(said) ? said[1] : said);
  }
}
