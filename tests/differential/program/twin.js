// The JavaScript twin: a Worker that runs one row of the table a request, and the class whose objects the rows use.
// Values are told in the form that program/twin.py tells them in.
import { DurableObject, RpcTarget } from "cloudflare:workers";
import { rows } from "./rows.js";

const FLAGS = ["remote", "retryable", "overloaded", "durableObjectReset"];

function toldError(error) {
  if (!(error instanceof Error)) return { name: "not an error", message: String(error) };
  const told = { name: error.name, message: error.message };
  for (const flag of FLAGS) if (error[flag]) told[flag] = true;
  return told;
}

function told(value) {
  if (value === null || value === undefined) return null;
  if (typeof value === "bigint") return { $number: String(value) };
  if (typeof value === "number") return Number.isFinite(value) ? value : { $number: String(value) };
  if (typeof value === "string" || typeof value === "boolean") return value;
  if (typeof value === "function") return { $function: true };
  if (value instanceof ArrayBuffer) return { $bytes: Buffer.from(value).toString("hex") };
  if (ArrayBuffer.isView(value)) return { $bytes: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("hex") };
  if (value instanceof Date) return { $date: value.getTime() };
  if (value instanceof Error) return { $error: toldError(value) };
  if (value instanceof Map) return { $map: [...value].map(([key, each]) => [String(key), told(each)]) };
  if (value instanceof Set) return { $set: [...value].map(told).sort() };
  if (Array.isArray(value)) return value.map(told);
  return { $map: Object.entries(value).map(([key, each]) => [key, told(each)]) };
}

async function outcome(work) {
  try {
    return { value: told(await work()) };
  } catch (error) {
    return { error: toldError(error) };
  }
}

const everywhere = {
  now: () => Date.now(),
  sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
  outcome,
  Target: class extends RpcTarget {
    #count;
    own = () => "an instance's own";
    constructor(count) { super(); this.#count = count; }
    fetch(url) { return "fetched " + url; }
    increment(by = 1) { return (this.#count += by); }
    get count() { return this.#count; }
  },
};

// A WebSocket to an object, and what it has heard: ["message", data], ["close", code, reason, wasClean].
async function connect(stub, headers) {
  const response = await stub.fetch("http://x/", { headers: { Upgrade: "websocket", ...headers } });
  const ws = response.webSocket;
  const events = [];
  const client = {
    ws, response, events,
    listen: () => {
      ws.addEventListener("message", (event) => events.push(["message", event.data]));
      ws.addEventListener("close", (event) => events.push(["close", event.code, event.reason, event.wasClean]));
      ws.binaryType = "arraybuffer";
      ws.accept();
    },
    heard: async (count) => {
      for (let tries = 0; tries < 150 && events.length < count; tries++) await everywhere.sleep(20);
      return events;
    },
  };
  if (ws && !headers?.quiet) client.listen();
  return client;
}

class Base extends DurableObject {
  property = 42;
  made = "an instance's own";
  log = [];
  #count = 0;

  constructor(ctx, env) {
    super(ctx, env);
    const part = this.#row().parts.constructor_;
    if (part) part(this.#scope());
  }

  #row() {
    return rows[(this.ctx.id.name ?? "").split("/")[0]] ?? { parts: {} };
  }
  #scope(more) {
    const { ctx, env } = this;
    const storage = ctx.storage;
    const upgrade = (tags) => {
      const pair = new WebSocketPair();
      ctx.acceptWebSocket(pair[1], tags);
      return new Response(null, { status: 101, webSocket: pair[0] });
    };
    return {
      ...everywhere, ctx, env, storage, self: this, told, upgrade, pairOf: () => Object.values(new WebSocketPair()),
      get sql() { return storage.sql; }, get kv() { return storage.kv; }, ...more,
    };
  }

  async inside() {
    return JSON.stringify(await outcome(() => this.#row().run(this.#scope())));
  }
  async part(name, argument) {
    return this.#row().parts[name](this.#scope({ argument }));
  }
  async alarm(info) {
    return this.#row().parts.alarm?.(this.#scope({ info }));
  }
  async fetch(request) {
    return this.#row().parts.fetch(this.#scope({ request }));
  }

  async webSocketMessage(ws, said) {
    return this.#row().parts.message?.(this.#scope({ ws, said }));
  }
  async webSocketClose(ws, ...ending) {
    return this.#row().parts.closed?.(this.#scope({ ws, ending }));
  }
  async webSocketError(ws, problem) {
    return this.#row().parts.failed?.(this.#scope({ ws, problem }));
  }

  echo(value) { return value; }
  add(a, b) { return a + b; }
  async slow(value, ms) { await everywhere.sleep(ms); return value; }
  increment(by = 1) { return (this.#count += by); }
  get(key) { return "get " + key; }
  put(key, value) { return "put " + key + " " + value; }
  delete(key) { return "delete " + key; }
  list() { return "list"; }
  own_id() { return this.ctx.id.toString(); }
  kind(value) { return value === null || value === undefined ? "none" : Array.isArray(value) ? "list" : typeof value; }
  nothing() {}
  boom(message) { throw new Error(message); }
  bad_type(message) { throw new TypeError(message); }
  out_of_range(message) { throw new RangeError(message); }
  get title() { return "of the class"; }
  target(count) { return new everywhere.Target(count); }
  counter() { let count = 0; return (by) => (count += by); }
  async call(callback, argument) { return await callback(argument); }
  async use(target) { return [await target.increment(), await target.increment(4)]; }
}

export class Twin extends Base {}
export class Legacy extends Base {}
export class Plain extends DurableObject {
  async try_alarm(when) { return await this.ctx.storage.setAlarm(when); }
}
export class NoBase {
  constructor() {}
  async fetch() { return new Response("fetched"); }
  echo(value) { return value; }
}

export default {
  async fetch(request, env) {
    const { name } = await request.json();
    const row = rows[name];
    const ns = row.legacy ? env.LEGACY : env.TWIN;
    const stub = ns.getByName(name);
    if (row.where === "object") return new Response(await stub.inside());
    const scope = {
      ...everywhere, env, ns, stub, connect, pairOf: () => Object.values(new WebSocketPair()),
      again: () => ns.getByName(name),
      other: (suffix) => ns.getByName(`${name}/${suffix}`),
      inside: (part, argument) => stub.part(part, argument),
      until: async (part) => {
        for (let tries = 0; tries < 400; tries++) {
          try {
            const found = await ns.getByName(name).part(part);
            if (found) return found;
          } catch (error) {
            if (!error.durableObjectReset) throw error;
          }
          await everywhere.sleep(50);
        }
        throw new Error(`${part} gave nothing in time`);
      },
    };
    return Response.json(await outcome(() => row.run(scope)));
  },
};
