// Numbers and lines: how they are written and drawn. Nothing that came from elsewhere is ever parsed as HTML.
'use strict';
const $ = (id) => document.getElementById(id);

function element(name, text, className) {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

const whole = (number) => Math.round(number).toLocaleString('en');
// A rate: few digits, whatever its size.
function short(number) {
  if (number >= 1e6) return (number / 1e6).toFixed(number >= 1e7 ? 1 : 2) + ' M';
  if (number >= 1e5) return Math.round(number / 1000) + ' k';
  if (number >= 10 || number === 0) return whole(number);
  return number < 0.05 ? '<0.1' : number.toFixed(1);
}
function bytes(number) {
  if (number < 1024) return `${whole(number)} B`;
  const units = ['KiB', 'MiB', 'GiB', 'TiB'];
  let at = -1;
  do { number /= 1024; at += 1; } while (number >= 1024 && at < units.length - 1);
  return `${number.toFixed(number < 10 ? 2 : number < 100 ? 1 : 0)} ${units[at]}`;
}
function time(us) {
  if (us === null) return '–';
  return us < 1000 ? `${us} µs` : `${us / 1000} ms`;
}
function span(ms) {
  const minutes = Math.floor(ms / 60000);
  if (minutes < 1) return `${Math.floor(ms / 1000)} s`;
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}
const clock = (ms) => new Date(ms).toLocaleTimeString('en-GB');

// The upper end of a scale: a round number that holds the most.
function ceiling(most) {
  if (most <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].find((step) => step * power >= most) * power;
}

// Draws points of {at, value} that lie between two times. Where nothing is known for long, there is no line.
function draw(svg, points, from, to, top, gapMs) {
  const x = (at) => (at - from) / (to - from) * 600;
  const y = (value) => 118 - Math.min(1, value / top) * 114;
  const pieces = [];
  for (const [number, point] of points.entries()) {
    const isNew = number === 0 || point.at - points[number - 1].at > gapMs;
    if (isNew) pieces.push([]);
    pieces.at(-1).push(`${x(point.at).toFixed(1)} ${y(point.value).toFixed(1)}`);
  }
  const line = pieces.map((piece) => 'M' + piece.join('L')).join('');
  const area = pieces.map((piece) => {
    const [first, last] = [piece[0], piece.at(-1)].map((point) => point.split(' ')[0]);
    return `M${first} 118L${piece.join('L')}L${last} 118Z`;
  }).join('');
  const paths = svg.children.length ? [...svg.children] : ['area', 'line'].map((name) => {
    const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
    path.setAttribute('class', name);
    svg.append(path);
    return path;
  });
  paths[0].setAttribute('d', area);
  paths[1].setAttribute('d', line);
}

// A bar from 0 to 1.
function bar(part) {
  const track = element('span', '', 'track');
  const fill = element('i', '', part > 0.9 ? 'bad' : part > 0.7 ? 'warn' : '');
  fill.style.width = `${Math.min(100, Math.max(0, part) * 100)}%`;
  track.append(fill);
  return track;
}

// Puts rows into a table or list; what there is to say when there are none stands in one.
function fill(parent, rows, empty) {
  if (rows.length) return parent.replaceChildren(...rows);
  if (parent.tagName !== 'TBODY') return parent.replaceChildren(element('li', empty, 'empty'));
  const cell = element('td', empty, 'empty');
  cell.colSpan = 9;
  const row = document.createElement('tr');
  row.append(cell);
  parent.replaceChildren(row);
}

function tableRow(...cells) {
  const row = document.createElement('tr');
  row.append(...cells);
  return row;
}

const number = (text, className = '') => element('td', text, `number ${className}`);
