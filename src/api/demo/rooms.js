// Rooms, and who is in them: the presence of a channel.

const ROOMS = ['harbour', 'pier', 'tower'];
const MEMBERS_SHOWN = 6;

const rooms = new Map();
// The room this page is in.
let inside = null;

class Room {
  members = new Map();

  constructor(name) {
    this.channel = 'demo-room-' + name;
    const card = $('room').content.cloneNode(true).firstElementChild;
    card.id = 'room-' + name;
    card.querySelector('h3').textContent = name;
    this.number = card.querySelector('.hint');
    this.list = card.querySelector('ul');
    this.button = card.querySelector('button');
    this.button.onclick = () => this.press();
    $('rooms').append(card);
    this.show();
    live.follow(this.channel, {
      presence: true,
      hear: (kind, push) => this.hear(kind, push),
      begun: () => inside === this && this.enter(),
    });
  }

  enter() {
    live.send('enter', { channel: this.channel, info: { name: $('chat-name').value.trim().slice(0, 32) || 'somebody' } });
  }

  press() {
    if (live.socket.readyState !== WebSocket.OPEN) return;
    const left = inside;
    inside = left === this ? null : this;
    if (left) live.send('leave', { channel: left.channel });
    if (inside) this.enter();
    for (const room of rooms.values()) room.show();
  }

  hear(kind, push) {
    if (kind === 'presence') this.members = new Map(push.members.map((member) => [member.user ?? member.guest, member]));
    if (kind === 'enter' || kind === 'update') this.members.set(push.user ?? push.guest, push);
    if (kind === 'leave') this.members.delete(push.user ?? push.guest);
    if (kind === 'entered') this.mine = push.guest ?? push.user;
    this.show();
  }

  show() {
    const all = [...this.members];
    this.number.textContent = all.length === 1 ? '1 here' : `${all.length.toLocaleString()} here`;
    const shown = all.slice(0, MEMBERS_SHOWN).map(([id, { info }]) =>
      element('li', String(info?.name ?? 'somebody').slice(0, 32) + (id === this.mine && inside === this ? ' (you)' : '')));
    if (all.length > MEMBERS_SHOWN) shown.push(element('li', `and ${all.length - MEMBERS_SHOWN} more`));
    this.list.replaceChildren(...shown);
    this.button.textContent = inside === this ? 'Leave' : 'Enter';
  }
}

function openRooms() {
  for (const name of ROOMS) rooms.set(name, new Room(name));
  // Nobody is known to be anywhere while nothing is heard.
  live.onGone.push({ gone: () => { for (const room of rooms.values()) { room.members.clear(); room.show(); } } });
}
