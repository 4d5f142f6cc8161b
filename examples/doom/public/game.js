// One player: says 20 times a second what is pressed, moves at once by the same rules as the arena, and shows the others a little late,
// between the ticks that have come. What no tick has used is said again, so a crash of the server loses nothing that was pressed.
import {facing, pressed, turn} from '/keys.js';
import {draw, map} from '/view.js';
import {build, FIRE, walk} from '/walk.js';

const $ = (id) => document.getElementById(id);
const LATE_TICKS = 2, WAITING_MAX = 24;
const name = decodeURIComponent(location.hash.slice(1)) || 'foundry';
const game = globalThis.arena = {facing, seen: [], you: '', rows: [], kits: [], names: {}, ticks: [], waiting: [], number: 0, here: null, before: null, drift: {x: 0, y: 0}, kick: 0, state: {}, offset: 0};
let socket, tickMs = 50, tries = 0, ready = 0;

const hue = (key) => (parseInt(key, 16) % 12) * 30;
const row = (tick, key) => tick?.players.find(([which]) => which === key);

// ---------------------------------------------------------------- what comes
function connect() {
  socket = new WebSocket(`${location.origin.replace('http', 'ws')}/arena/${encodeURIComponent(name)}?name=${encodeURIComponent($('name').value)}`);
  socket.onmessage = ({data}) => hear(JSON.parse(data));
  socket.onclose = ({code}) => {
    game.you = '';
    if (code === 4000) return say('You were away. Reload to come back.');
    say('Connecting again');
    setTimeout(connect, Math.min(4_000, 200 * 2 ** tries++));
  };
}

function hear(told) {
  if (told.you) {
    Object.assign(game, {you: told.you, rows: told.rows, places: told.kits, ticks: [], waiting: [], number: 0, here: null});
    tickMs = told.tick_ms;
    tries = 0;
    build(told.rows);
    say('');
  } else if (told.names) {
    game.names = told.names;
    board();
  } else if (told.players) {
    tick(told);
  }
}

function tick(told) {
  const mine = row(told, game.you), now = performance.now(), offset = now - told.tick * tickMs;
  game.ticks.push(told);
  if (game.ticks.length > 40) game.ticks.shift();
  game.offset = game.ticks.length === 1 || Math.abs(offset - game.offset) > 300 ? offset : game.offset + (offset - game.offset) * 0.1;
  game.kits = told.kits;
  for (const event of told.events) happened(event);
  if (!mine) return;
  const [, x, y, angle, health, frags, deaths, seen] = mine;
  game.waiting = game.waiting.filter(([number]) => number > seen);
  const first = !game.here, anew = told.events.some(([what, who]) => what === 'spawn' && who === game.you);
  if (first) facing.angle = angle;
  let here = {x, y};
  if (health > 0) for (const [, keys, towards] of game.waiting) here = walk(here, towards, keys);
  if (first || anew) game.drift = {x: 0, y: 0}, game.before = here;
  else game.drift = {x: game.drift.x + game.here.x - here.x, y: game.drift.y + game.here.y - here.y};
  game.here = here;
  if (health !== game.health || frags !== game.frags || deaths !== game.deaths) Object.assign(game, {health, frags, deaths}), board();
}

function happened([what, who, by]) {
  const title = (key) => (key === game.you ? 'you' : game.names[key] ?? 'somebody');
  if (what === 'shot') game.state[who] = {state: 'fire', until: performance.now() + 120};
  if (what === 'hit') {
    game.state[who] = {state: 'hurt', until: performance.now() + 120};
    if (who === game.you) flash($('hurt'));
    if (by === game.you) { $('cross').classList.add('hit'); setTimeout(() => $('cross').classList.remove('hit'), 120); }
  }
  if (what === 'frag') {
    const line = document.createElement('li');
    line.textContent = `${title(by)} got ${title(who)}`;
    $('feed').append(line);
    setTimeout(() => line.remove(), 5_000);
    if (who === game.you) say(`${title(by)} got you`), setTimeout(() => say(''), 1_800);
  }
}

// ---------------------------------------------------------------- what goes
function step() {
  if (!game.you || !game.here || game.waiting.length >= WAITING_MAX) return;
  const keys = pressed(), angle = Math.round(facing.angle * 1000) / 1000;
  game.number++;
  game.waiting.push([game.number, keys, angle]);
  game.before = game.here;
  game.stepped = performance.now();
  if (game.health > 0) {
    game.here = walk(game.here, angle, keys);
    if (keys & FIRE && performance.now() > ready) ready = performance.now() + 7 * tickMs, game.kick = 1;
  }
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(game.waiting));
}

// ---------------------------------------------------------------- what is seen
function others() {
  const at = (performance.now() - game.offset) / tickMs - LATE_TICKS, last = game.ticks.at(-1), found = [];
  const from = game.ticks.findLast((tick) => tick.tick <= at) ?? game.ticks[0], to = game.ticks.find((tick) => tick.tick > at) ?? last;
  const part = to.tick > from.tick ? Math.min(1, Math.max(0, (at - from.tick) / (to.tick - from.tick))) : 1;
  for (const [key, x2, y2, angle2, health] of to.players) {
    if (key === game.you) continue;
    const [, x, y, angle] = row(from, key) ?? [key, x2, y2, angle2], leap = Math.hypot(x2 - x, y2 - y) > 1.5;
    const turned = Math.atan2(Math.sin(angle2 - angle), Math.cos(angle2 - angle)), {state = '', until = 0} = game.state[key] ?? {};
    found.push({x: leap ? x2 : x + (x2 - x) * part, y: leap ? y2 : y + (y2 - y) * part, angle: angle + turned * part, hue: hue(key), key,
      state: health <= 0 ? 'down' : until > performance.now() ? state : ''});
  }
  return found;
}

let last = performance.now();
function frame(now) {
  const seconds = Math.min(0.1, (now - last) / 1000);
  last = now;
  turn(seconds);
  game.kick = Math.max(0, game.kick - seconds * 5);
  const fade = Math.exp(-seconds * 10);
  game.drift = {x: game.drift.x * fade, y: game.drift.y * fade};
  if (game.here && game.ticks.length) {
    const part = Math.min(1, (now - (game.stepped ?? now)) / tickMs), between = (one, other) => one + (other - one) * part;
    const me = {x: between(game.before.x, game.here.x) + game.drift.x, y: between(game.before.y, game.here.y) + game.drift.y, angle: facing.angle, kick: game.kick};
    const seen = (game.seen = others());
    draw(me, seen, game.kits.map((at) => game.places[at]));
    map($('map'), game.rows, me, seen);
  }
  requestAnimationFrame(frame);
}

function board() {
  $('health').textContent = Math.max(0, game.health ?? 0);
  const bar = document.querySelector('#life i');
  bar.style.width = `${game.health}%`;
  bar.style.background = game.health > 50 ? '#58d68d' : game.health > 25 ? '#f5c04a' : '#ff5b45';
  const scores = (game.ticks.at(-1)?.players ?? []).map(([key, , , , , frags]) => ({key, frags})).sort((one, other) => other.frags - one.frags);
  $('board').replaceChildren(...scores.map(({key, frags}) => {
    const line = document.createElement('li'), title = document.createElement('span');
    line.style.setProperty('--hue', hue(key));
    line.className = key === game.you ? 'me' : '';
    title.textContent = game.names[key] ?? '…';
    line.append(title, String(frags));
    return line;
  }));
  $('board').hidden = $('map').hidden = $('life').hidden = !game.you;
}

function flash(element) {
  element.style.opacity = 0.9;
  setTimeout(() => { element.style.opacity = 0; }, 120);
}
function say(text) { $('state').textContent = text; }

// ---------------------------------------------------------------- begin
$('arena').textContent = document.title = `The ${name}`;
$('name').value = sessionStorage.getItem('name') ?? '';
$('lobby').showModal();
$('lobby').addEventListener('cancel', (event) => event.preventDefault());
$('lobby').addEventListener('close', () => {
  sessionStorage.setItem('name', $('name').value);
  connect();
  setInterval(step, tickMs);
  setInterval(board, 500);
  requestAnimationFrame(frame);
});
