// A textarea bound to a Yjs text, with the cursors of the others. y-websocket's provider does the rest: it comes back by itself.
import * as Y from 'yjs';
import {WebsocketProvider} from 'y-websocket';

const $ = (id) => document.getElementById(id);
const NAMES = ['Otter', 'Heron', 'Lynx', 'Wren', 'Marten', 'Ibex', 'Finch', 'Badger', 'Plover', 'Hare'];
const TINTS = ['#f59e8b', '#f6c453', '#9fd356', '#5fd0b5', '#6cc4f5', '#a5a8ff', '#e39af0', '#f58fb8'];
const pick = (list) => list[Math.floor(Math.random() * list.length)];

const name = decodeURIComponent(location.hash.slice(1)) || 'notes';
document.title = $('title').textContent = name;
addEventListener('hashchange', () => location.reload());

const doc = new Y.Doc();
const text = doc.getText('text');
const provider = new WebsocketProvider(`${location.origin.replace('http', 'ws')}/document`, encodeURIComponent(name), doc, {disableBc: true});
const {awareness} = provider;
const area = $('text');

provider.on('status', ({status}) => {
  $('state').textContent = status === 'connected' ? 'saved as you type' : 'offline: what you write is kept';
  $('state').classList.toggle('live', status === 'connected');
});

// ---------------------------------------------------------------- the text
let shown = '';

area.addEventListener('input', () => {
  const now = area.value;
  let start = 0, end = 0;
  while (start < shown.length && start < now.length && shown[start] === now[start]) start++;
  while (end < shown.length - start && end < now.length - start && shown[shown.length - 1 - end] === now[now.length - 1 - end]) end++;
  const gone = shown.length - start - end, come = now.slice(start, now.length - end);
  shown = now;
  doc.transact(() => {
    if (gone) text.delete(start, gone);
    if (come) text.insert(start, come);
  }, area);
});

text.observe((event) => {
  if (event.transaction.origin === area) return draw();
  let {selectionStart: from, selectionEnd: to, scrollTop} = area, at = 0;
  for (const {retain = 0, insert = '', delete: gone = 0} of event.delta) {
    at += retain;
    const moved = (place) => place > at ? Math.max(at, place - gone) + (insert ? insert.length : 0) : place;
    [from, to] = [moved(from), moved(to)];
    at += insert.length;
  }
  area.value = shown = text.toString();
  area.setSelectionRange(from, to);
  area.scrollTop = scrollTop;
  draw();
});

// ---------------------------------------------------------------- who is here
const me = JSON.parse(sessionStorage.getItem('me') ?? 'null') ?? {name: pick(NAMES), tint: pick(TINTS)};
$('name').value = me.name;
$('name').oninput = () => { me.name = $('name').value.trim() || 'Somebody'; tell(); };

function tell() {
  sessionStorage.setItem('me', JSON.stringify(me));
  awareness.setLocalStateField('user', {...me});
  const place = (at) => Y.relativePositionToJSON(Y.createRelativePositionFromTypeIndex(text, at));
  awareness.setLocalStateField('cursor', document.activeElement === area ? [place(area.selectionStart), place(area.selectionEnd)] : null);
}
document.addEventListener('selectionchange', () => { if (document.activeElement === area) tell(); });
area.addEventListener('blur', tell);
addEventListener('pagehide', () => awareness.setLocalState(null));

function tinted(tag, tint, content) {
  const made = document.createElement(tag);
  made.style.setProperty('--tint', /^#[0-9a-f]{6}$/.test(tint) ? tint : '#a5a8ff');
  made.append(content);
  return made;
}

function draw() {
  const people = [], places = [];
  for (const [client, {user, cursor}] of awareness.getStates()) {
    if (!user) continue;
    people.push(tinted('li', user.tint, client === doc.clientID ? `${user.name} (you)` : String(user.name)));
    if (!cursor || client === doc.clientID) continue;
    const [from, to] = cursor.map((place) => Y.createAbsolutePositionFromRelativePosition(Y.createRelativePositionFromJSON(place), doc)?.index);
    if (from !== undefined && to !== undefined) places.push({from, to, user});
  }
  $('people').replaceChildren(...people);
  places.sort((one, other) => one.from - other.from);
  const parts = [], all = text.toString();
  let at = 0;
  for (const {from, to, user} of places) {
    const start = Math.max(at, from);
    parts.push(all.slice(at, start));
    const flag = tinted('i', user.tint, '');
    flag.append(Object.assign(document.createElement('b'), {textContent: user.name}));
    if (to > start) parts.push(tinted('mark', user.tint, all.slice(start, to)));
    parts.push(flag);
    at = Math.max(start, to);
  }
  $('mirror').replaceChildren(...parts, all.slice(at), '\n');
  $('mirror').scrollTop = area.scrollTop;
}
area.addEventListener('scroll', () => { $('mirror').scrollTop = area.scrollTop; });
awareness.on('change', draw);
tell();
draw();
