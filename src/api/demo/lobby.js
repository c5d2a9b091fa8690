// A lobby whose tables are rooms. Players tell each other who they are and what they show; the server only carries it.
const TABLES = ['red', 'green', 'blue', 'amber'];
const BEATS = { rock: 'scissors', paper: 'rock', scissors: 'paper' };

let socket;
let seat = null;
let rival = null;
let hands = {};
const score = { won: 0, lost: 0 };
const cards = new Map();

function start() {
  socket = connect('/demo-lobby');
  $('name').value = guest;
  for (const table of TABLES) addCard(table);
  socket.on('connect', () => (seat ? sit(seat) : showTables()));
  socket.on('tables', showTables);
  socket.on('here', (player) => {
    if (player.table !== seat || player.id === socket.id) return;
    rival = player;
    if (player.asks) sayHere(false);
    showGame('Choose.');
  });
  socket.on('show', (player) => {
    if (player.table !== seat) return;
    hands[player.id === socket.id ? 'mine' : 'theirs'] = player.hand;
    judge();
  });
  for (const button of $('hands').children) {
    button.onclick = () => !hands.mine && say('show', { hand: button.dataset.hand });
  }
  setInterval(() => socket.connected && !document.hidden && showTables(), 3000);
}

function addCard(table) {
  const card = $('table').content.cloneNode(true).firstElementChild;
  card.id = 'table-' + table;
  card.querySelector('h3').textContent = table;
  const button = card.querySelector('button');
  button.onclick = () => (seat === table ? stand() : sit(table));
  cards.set(table, { line: card.querySelector('.hint'), button });
  $('tables').append(card);
}

const say = (event, what) => ask(socket, 'publish', seat, event, { table: seat, id: socket.id, ...what });
const sayHere = (asks) => say('here', { name: $('name').value.trim() || 'somebody', asks });

async function sit(table) {
  if (seat && seat !== table) await stand();
  if (!await ask(socket, 'join', table)) return;
  [seat, rival, hands] = [table, null, {}];
  showGame('Waiting for somebody to sit down.');
  await sayHere(true);
  socket.emit('tables');
  showTables();
}

async function stand() {
  await ask(socket, 'leave', seat);
  [seat, rival, hands] = [null, null, {}];
  $('game').hidden = true;
  socket.emit('tables');
  showTables();
}

async function showTables() {
  for (const table of TABLES) {
    const before = rival;
    const answer = await ask(socket, 'presence', table);
    if (!answer) return;
    const { line, button } = cards.get(table);
    line.textContent = `${answer.count} of 2`;
    button.textContent = seat === table ? 'Leave' : 'Sit down';
    button.disabled = seat !== table && answer.count >= 2;
    // A count that was asked for before they came may arrive after their first words.
    if (seat === table && rival && rival === before && answer.count < 2) {
      [rival, hands] = [null, {}];
      showGame('The other one has left. Waiting for somebody to sit down.');
    }
  }
}

function showGame(text) {
  $('game').hidden = false;
  $('hands').hidden = !rival;
  $('game-title').textContent = `Table ${seat}: you ${score.won}, ${rival ? String(rival.name).slice(0, 32) : 'nobody'} ${score.lost}`;
  $('game-line').textContent = text;
}

function judge() {
  const { mine, theirs } = hands;
  if (!mine || !theirs) return showGame(mine ? `You chose ${mine}.` : 'The other one has chosen.');
  hands = {};
  const won = BEATS[mine] === theirs;
  if (won) score.won++;
  if (BEATS[theirs] === mine) score.lost++;
  const verdict = won ? 'you win' : mine === theirs ? 'nobody wins' : 'you lose';
  showGame(`${mine} against ${String(theirs).slice(0, 32)}: ${verdict}. Again?`);
}
