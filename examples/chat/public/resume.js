// A WebSocket that carries on where it was: docs/resume.md. One ES module, no dependencies.
//
//   const room = new Resuming('/room/lobby/live', {
//     onreset(snapshot) {},          // forget what you had; the stream begins here
//     onmessage(data, cursor) {},    // an entry of the stream, once and in order; cursor is null for what is not kept
//     onstate(state) {},             // 'connecting', 'live', 'offline', 'ended'
//   });
//   room.send(data);                 // arrives once, whatever connections die; throws when too many are waiting
//   room.tell(data);                 // now or never
//
// `State` decides and touches nothing: what happened goes in, what to do comes out. `Resuming` does it.

export const VERSION = 1;
const FIRST_MS = 250, FIRST_SENT_AWAY_MS = 4000, LONGEST_MS = 30000, BROKEN = 1011, BROKEN_MAX = 3;
const SENT_AWAY = [1012, 1013], FINAL = [1000, 1002, 1003, 1007, 1008, 1009, 1010];
const REST = 0, DIALLING = 1, OPEN = 2, OVER = 3;
const PATIENCE = {quiet_ms: 15000, answer_ms: 10000, steady_ms: 10000, unsent_max: 1000};

export function waitMs(attempt, code, chance) {
  const first = SENT_AWAY.includes(code) ? FIRST_SENT_AWAY_MS : FIRST_MS;
  return Math.floor(chance * Math.min(LONGEST_MS, first * 2 ** Math.min(attempt, 16)));
}

const isFinal = (code, broken) => FINAL.includes(code) || (code >= 4000 && code <= 4999) || broken >= BROKEN_MAX;

function objectOf(text) {
  try {
    const found = JSON.parse(text);
    return found !== null && typeof found === 'object' && !Array.isArray(found) ? found : {};
  } catch {
    return {};
  }
}

export class State {
  constructor(client, chance, {log = null, cursor = null, patience = {}} = {}) {
    Object.assign(this, {client, log, cursor, patience: {...PATIENCE, ...patience}});
    this.state = 'connecting';
    this.unsent = [];                // [number, message] of those that are not acknowledged
    this.number = 0;
    this.dueMs = null;               // when to call tick()
    this.chance = chance;
    this.phase = REST;
    this.welcomed = this.asked = this.pinged = false;
    this.last = this.failures = this.broken = this.liveMs = 0;
    this.out = [];
  }

  start(now) {
    if (this.phase === REST) this.#dial(now);
    return this.#effects();
  }

  send(data) {
    if (this.unsent.length >= this.patience.unsent_max) throw new Error(`${this.unsent.length} messages wait to be acknowledged`);
    if (data === undefined) throw new TypeError('undefined cannot be sent');
    const message = JSON.stringify({from: this.client, n: this.number + 1, data});
    this.unsent.push([++this.number, message]);
    if (this.welcomed) this.out.push(['send', message]);
    return this.#effects();
  }

  tell(data) {
    if (this.welcomed) this.out.push(['send', JSON.stringify({data})]);
    return this.#effects();
  }

  stop() {
    this.#end('stopped');
    return this.#effects();
  }

  hint(now) {
    if (this.phase === REST && this.dueMs !== null) this.#dial(now);
    else if (this.phase === OPEN && this.welcomed && !this.pinged) this.#ping(now);
    return this.#effects();
  }

  opened(now) {
    if (this.phase === DIALLING) {
      this.phase = OPEN;
      this.#ask();
      this.dueMs = now + this.patience.answer_ms;
    }
    return this.#effects();
  }

  closed(now, code) {
    if (this.phase === DIALLING || this.phase === OPEN) {
      if (this.state === 'live' && now - this.liveMs >= this.patience.steady_ms) this.failures = 0;
      if (code === BROKEN) this.broken += 1;
      this.phase = REST;
      if (isFinal(code, this.broken)) this.#end(`closed with ${code}`);
      else this.#lost(now, code);
    }
    return this.#effects();
  }

  tick(now) {
    if (this.dueMs === null || now < this.dueMs) return [];
    if (this.phase === REST) this.#dial(now);
    else if (this.welcomed && !this.pinged) this.#ping(now);
    else {
      this.out.push(['drop', 1000]);
      return this.closed(now, 1006);
    }
    return this.#effects();
  }

  text(now, text) {
    if (this.phase !== OPEN) return [];
    if (this.welcomed) {
      this.pinged = false;
      this.dueMs = now + this.patience.quiet_ms;
    }
    const found = objectOf(text);
    if ('refused' in found) this.#end(String(found.refused));
    else if ('welcome' in found) this.#welcome(now, found);
    else if (!this.welcomed) ;       // what came for all before the welcome: the welcome brings it
    else if ('c' in found) this.#entry(now, found);
    else if ('ack' in found) this.#acknowledged(found.ack, true);
    else if ('data' in found) this.out.push(['message', found.data, null]);
    return this.#effects();
  }

  #welcome(now, found) {
    if (!this.asked) return;
    this.asked = false;
    if (found.reset || this.cursor === null) {
      this.log = found.log;
      this.cursor = found.cursor;
      this.out.push(['reset', found.snapshot ?? null, this.log, this.cursor]);
    }
    this.last = found.last;
    found.entries.forEach((data, at) => this.#take(found.cursor + 1 + at, data));
    this.#acknowledged(found.seen, false);
    if (!this.welcomed) {
      this.welcomed = true;
      this.dueMs = now + this.patience.quiet_ms;
      for (const [, message] of this.unsent) this.out.push(['send', message]);
    }
    this.#goOn(now);
  }

  #entry(now, found) {
    if (this.#take(found.c, found.data)) this.#goOn(now);
    else if (found.c > this.cursor) {
      this.last = Math.max(this.last, found.c);
      this.#ask();
    }
  }

  #take(cursor, data) {
    if (cursor !== this.cursor + 1) return false;
    this.cursor = cursor;
    this.out.push(['message', data, cursor]);
    return true;
  }

  #goOn(now) {
    if (this.cursor < this.last) this.#ask();
    else if (this.state !== 'live') {
      this.state = 'live';
      this.liveMs = now;
      this.out.push(['state', 'live']);
    }
  }

  #acknowledged(number, progress) {
    while (this.unsent.length && this.unsent[0][0] <= number) this.unsent.shift();
    if (progress) this.broken = 0;
  }

  #ask() {
    if (this.asked) return;
    this.asked = true;
    this.out.push(['send', JSON.stringify({hello: VERSION, client: this.client, log: this.log, cursor: this.cursor})]);
  }

  #ping(now) {
    this.pinged = true;
    this.dueMs = now + this.patience.answer_ms;
    this.out.push(['send', 'ping']);
  }

  #dial(now) {
    this.phase = DIALLING;
    this.dueMs = now + this.patience.answer_ms;
    this.out.push(['dial']);
  }

  #lost(now, code) {
    this.#rest(REST);
    const state = this.state === 'live' ? 'connecting' : 'offline';
    this.dueMs = now + waitMs(this.failures, code, this.chance());
    this.failures += 1;
    if (state !== this.state) {
      this.state = state;
      this.out.push(['state', state]);
    }
  }

  #end(why) {
    if (this.phase === OVER) return;
    if (this.phase === DIALLING || this.phase === OPEN) this.out.push(['drop', 1000]);
    this.#rest(OVER);
    this.state = 'ended';
    this.out.push(['state', 'ended'], ['ended', why]);
  }

  #rest(phase) {
    this.phase = phase;
    this.dueMs = null;
    this.welcomed = this.asked = this.pinged = false;
  }

  #effects() {
    const found = this.out;
    this.out = [];
    return found;
  }
}

export class Resuming {
  #state; #socket = null; #timer = null; #url; #on; #hint;

  // `from`: a `position` kept from before. `patience`: see PATIENCE above.
  constructor(url, {onmessage, onreset, onstate, onended, from = {}, patience = {}} = {}) {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    const client = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
    this.#url = new URL(url, location.href);
    this.#url.protocol = this.#url.protocol.replace('http', 'ws');
    this.#on = {message: onmessage, reset: onreset, state: onstate, ended: onended};
    this.#state = new State(client, Math.random, {...from, patience});
    this.#hint = () => document.visibilityState === 'visible' && this.#do(this.#state.hint(performance.now()));
    addEventListener('online', this.#hint);
    addEventListener('pageshow', this.#hint);
    document.addEventListener('visibilitychange', this.#hint);
    queueMicrotask(() => this.#do(this.#state.start(performance.now())));
  }

  get state() { return this.#state.state; }
  get position() { return {log: this.#state.log, cursor: this.#state.cursor}; }
  get unsent() { return this.#state.unsent.length; }

  send(data) {
    this.#do(this.#state.send(data));
    return this.#state.number;
  }

  tell(data) { this.#do(this.#state.tell(data)); }

  stop() {
    removeEventListener('online', this.#hint);
    removeEventListener('pageshow', this.#hint);
    document.removeEventListener('visibilitychange', this.#hint);
    this.#do(this.#state.stop());
  }

  #do(effects) {
    clearTimeout(this.#timer);
    if (this.#state.dueMs !== null) {
      const wait = Math.max(0, this.#state.dueMs - performance.now());
      this.#timer = setTimeout(() => this.#do(this.#state.tick(performance.now())), wait + 1);
    }
    for (const [what, ...rest] of effects) {
      if (what === 'dial') this.#dial();
      else if (what === 'send') this.#socket?.send(rest[0]);
      else if (what === 'drop') this.#drop(rest[0]);
      else this.#on[what]?.(...rest);
    }
  }

  #dial() {
    this.#drop(1000);
    const socket = this.#socket = new WebSocket(this.#url);
    const mine = (act) => (event) => socket === this.#socket && this.#do(act(event, performance.now()));
    socket.onopen = mine((_, now) => this.#state.opened(now));
    socket.onmessage = mine(({data}, now) => typeof data === 'string' ? this.#state.text(now, data) : []);
    socket.onclose = mine(({code}, now) => {
      this.#socket = null;
      return this.#state.closed(now, code);
    });
  }

  #drop(code) {
    const socket = this.#socket;
    this.#socket = null;             // its events no longer matter
    socket?.close(code);
  }
}
