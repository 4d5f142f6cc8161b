// A list in a TinyBase store, as npm has it; its own synchroniser carries it to everybody. The page works the same without a connection.
import {createMergeableStore} from '/vendor/tinybase/min/mergeable-store/index.js';
import {createWsSynchronizer} from '/vendor/tinybase/min/synchronizers/synchronizer-ws-client/index.js';

const $ = (id) => document.getElementById(id);
const name = location.hash.slice(1) || 'shopping';
addEventListener('hashchange', () => location.reload());

const store = createMergeableStore();

// ---------------------------------------------------------------- the list
const made = new Map();

function rowOf(id) {
  const line = document.createElement('li');
  line.innerHTML = `<input type="checkbox"><input class="text" maxlength="80"><span class="count"><button type="button" aria-label="One less">−</button>
    <output></output><button type="button" aria-label="One more">+</button></span><button type="button" aria-label="Remove">✕</button>`;
  const [done, text] = line.querySelectorAll('input'), [less, more, remove] = line.querySelectorAll('button');
  const count = (by) => store.setCell('items', id, 'count', Math.max(1, (store.getCell('items', id, 'count') ?? 1) + by));
  done.onchange = () => store.setCell('items', id, 'done', done.checked);
  text.oninput = () => store.setCell('items', id, 'text', text.value);
  less.onclick = () => count(-1);
  more.onclick = () => count(1);
  remove.onclick = () => store.delRow('items', id);
  return {line, done, text, out: line.querySelector('output')};
}

function show() {
  const rows = store.getTable('items');
  const ids = Object.keys(rows).filter((id) => 'text' in rows[id]).sort((one, other) => (rows[one].at ?? 0) - (rows[other].at ?? 0) || (one < other ? -1 : 1));
  for (const [id, {line}] of made) if (!ids.includes(id)) { line.remove(); made.delete(id); }
  ids.forEach((id, at) => {
    if (!made.has(id)) made.set(id, rowOf(id));
    const {line, done, text, out} = made.get(id), {text: said, done: ready = false, count = 1} = rows[id];
    if ($('items').children[at] !== line) $('items').insertBefore(line, $('items').children[at] ?? null);
    if (text.value !== said) text.value = said;
    done.checked = ready;
    line.classList.toggle('done', ready);
    done.setAttribute('aria-label', `${said}: done`);
    text.setAttribute('aria-label', `Item: ${said}`);
    out.textContent = count > 1 ? `× ${count}` : '';
  });
  $('empty').hidden = ids.length > 0;
  const title = store.getValue('title') ?? 'Shopping list';
  if ($('title').value !== title) $('title').value = title;
  document.title = title;
}
store.addTablesListener(show);
store.addValuesListener(show);
$('title').oninput = () => store.setValue('title', $('title').value);
document.querySelector('form').onsubmit = (event) => {
  event.preventDefault();
  store.setRow('items', crypto.randomUUID().slice(0, 8), {text: $('new').value, done: false, count: 1, at: Date.now()});
  event.target.reset();
};
show();

// ---------------------------------------------------------------- the connection
let socket, synchronizer, away = false, tries = 0;

async function connect() {
  socket = new WebSocket(`${location.origin.replace('http', 'ws')}/store/${encodeURIComponent(name)}`);
  const mine = socket;
  socket.onclose = async () => {
    if (mine !== socket) return;
    $('state').textContent = away ? 'offline: changes wait here' : 'connecting again';
    $('state').classList.remove('live');
    await synchronizer?.destroy();
    synchronizer = undefined;
    if (!away) setTimeout(connect, Math.min(5_000, 200 * 2 ** tries++) * (0.5 + Math.random()));
  };
  const opened = await createWsSynchronizer(store, mine, 2).catch(() => undefined);
  if (!opened || mine.readyState !== WebSocket.OPEN) return;
  synchronizer = opened;
  await synchronizer.startSync();
  tries = 0;
  $('state').textContent = 'in step with everybody';
  $('state').classList.add('live');
}

$('away').onclick = () => {
  away = !away;
  $('away').textContent = away ? 'Go online' : 'Go offline';
  $('away').setAttribute('aria-pressed', away);
  if (away) socket.close(1000);
  else connect();
};
connect();
