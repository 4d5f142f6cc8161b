"""The Python twin: a Worker that runs one row of the table a request, and the class whose objects the rows use.

Values are told in the form that program/twin.js tells them in.
"""

import asyncio
import datetime
import json
import math
import time

from js import WebSocketPair, WebSocketRequestResponsePair  # noqa: F401 - as the next
from workers import DurableObject, Request, Response, RpcTarget, WorkerEntrypoint  # noqa: F401 - rows use what is imported here

ROWS = {}  # the rows of the table follow at the end of the generated file
FLAGS = ("remote", "retryable", "overloaded", "durableObjectReset")


def told_error(error):
    name = getattr(error, "name", None) or type(error).__name__
    if name not in ("TypeError", "RangeError", "SyntaxError", "DataCloneError") and not hasattr(error, "message"):
        name = "Error" if name in ("Exception", "ValueError", "RuntimeError", "KeyError") else name
    found = {"name": name, "message": getattr(error, "message", None) or str(error)}
    found.update({flag: True for flag in FLAGS if getattr(error, flag, False)})
    return found


def told(value):
    if value is None or repr(value) == "undefined":
        return None
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else {"$number": str(value)}
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return {"$number": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
    if isinstance(value, bytes | bytearray | memoryview):
        return {"$bytes": bytes(value).hex()}
    if isinstance(value, datetime.datetime):
        return {"$date": round(value.timestamp() * 1000)}
    if isinstance(value, BaseException):
        return {"$error": told_error(value)}
    if isinstance(value, dict):
        return {"$map": [[key, told(each)] for key, each in value.items()]}
    if isinstance(value, set | frozenset):
        return {"$set": sorted((told(each) for each in value), key=str)}
    if isinstance(value, list | tuple):
        return [told(each) for each in value]
    if callable(value):
        return {"$function": True}
    return {"$other": type(value).__name__}


class Target(RpcTarget):
    def __init__(self, count):
        self._count = count
        self.own = lambda: "an instance's own"

    def increment(self, by=1):
        self._count += by
        return self._count

    @property
    def count(self):
        return self._count

    def fetch(self, url):
        return f"fetched {url}"


async def settled(value):
    """What a row gives, awaited where it can be."""
    return await value if hasattr(value, "__await__") else value


async def outcome(work):
    try:
        return {"value": told(await settled(work()))}
    except Exception as error:
        return {"error": told_error(error)}


def now():
    return round(time.time() * 1000)


async def sleep(ms):
    await asyncio.sleep(ms / 1000)


class Scope:
    """What the code of a row finds by name."""

    def __init__(this, **names):
        this.__dict__.update(names, now=now, sleep=sleep, outcome=outcome, told=told, Target=Target)


class Client:
    """A WebSocket to an object, and what it has heard: ["message", data], ["close", code, reason, wasClean]."""

    def __init__(this, response):
        this.response, this.ws, this.events = response, response.web_socket, []

    def listen(this):
        events, ws = this.events, this.ws
        ws.addEventListener("message", lambda event: events.append(["message", event.data]))
        ws.addEventListener("close", lambda event: events.append(["close", event.code, event.reason, event.wasClean]))
        ws.accept()

    async def heard(this, count):
        for _ in range(150):
            if len(this.events) >= count:
                break
            await sleep(20)
        return this.events


async def connect(stub, headers=None):
    client = Client(await stub.fetch("http://x/", headers={"Upgrade": "websocket", **(headers or {})}))
    if client.ws is not None and not (headers or {}).get("quiet"):
        client.listen()
    return client


def pairOf():
    return WebSocketPair.new().object_values()


class Base(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.log = []
        self.property = 42
        self.made = "an instance's own"
        self._count = 0
        part = self._row()["parts"].get("constructor_")
        if part:
            part(self._scope())

    def _row(self):
        return ROWS.get((self.ctx.id.name or "").split("/")[0], {"parts": {}})

    def _scope(self, **more):
        storage = self.ctx.storage
        ctx = self.ctx

        def upgrade(tags=None):
            client, server = pairOf()
            ctx.acceptWebSocket(server, *([] if tags is None else [tags]))
            return Response(None, status=101, web_socket=client)

        return Scope(
            ctx=ctx,
            env=self.env,
            storage=storage,
            sql=storage.sql,
            kv=storage.kv,
            self=self,
            upgrade=upgrade,
            pairOf=pairOf,
            **more,
        )

    async def inside(self):
        return json.dumps(await outcome(lambda: self._row()["run"](self._scope())))

    async def part(self, name, argument=None):
        return await settled(self._row()["parts"][name](self._scope(argument=argument)))

    async def alarm(self, info=None):
        part = self._row()["parts"].get("alarm")
        if part:
            await settled(part(self._scope(info=info)))

    async def fetch(self, request):
        return await settled(self._row()["parts"]["fetch"](self._scope(request=request)))

    async def webSocketMessage(self, ws, said):
        await self._part("message", ws=ws, said=said)

    async def webSocketClose(self, ws, *ending):
        await self._part("closed", ws=ws, ending=list(ending))

    async def webSocketError(self, ws, problem):
        await self._part("failed", ws=ws, problem=problem)

    async def _part(self, name, **found):
        part = self._row()["parts"].get(name)
        if part:
            await settled(part(self._scope(**found)))

    def echo(self, value=None):
        return value

    def add(self, a, b):
        return a + b

    async def slow(self, value, ms):
        await sleep(ms)
        return value

    def increment(self, by=1):
        self._count += by
        return self._count

    def get(self, key):
        return f"get {key}"

    def put(self, key, value):
        return f"put {key} {value}"

    def delete(self, key):
        return f"delete {key}"

    def list(self):
        return "list"

    def own_id(self):
        return self.ctx.id.toString()

    def nothing(self):
        pass

    @property
    def title(self):
        return "of the class"

    def target(self, count):
        return Target(count)

    def counter(self):
        count = 0

        def add(by):
            nonlocal count
            count += by
            return count

        return add

    async def call(self, callback, argument):
        return await settled(callback(argument))

    async def use(self, target):
        return [await target.increment(), await target.increment(4)]

    def boom(self, message):
        raise Exception(message)

    def bad_type(self, message):
        raise TypeError(message)

    def out_of_range(self, message):
        raise ValueError(message)


class Twin(Base):
    pass


class Legacy(Base):
    pass


class Plain(DurableObject):
    async def try_alarm(self, when):
        return await self.ctx.storage.setAlarm(when)


async def until(ns, name, part):
    for _ in range(400):
        try:
            found = await ns.getByName(name).part(part)
            if found:
                return found
        except Exception as error:
            if not getattr(error, "durableObjectReset", False):
                raise
        await sleep(50)
    raise Exception(f"{part} gave nothing in time")


class NoBase:
    def __init__(self, ctx, env):
        pass

    async def fetch(self):
        return Response("fetched")

    def echo(self, value):
        return value


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        name = (await request.json())["name"]
        row = ROWS[name]
        ns = self.env.LEGACY if row["legacy"] else self.env.TWIN
        stub = ns.getByName(name)
        if row["where"] == "object":
            return Response(await stub.inside())
        scope = Scope(
            env=self.env,
            ns=ns,
            stub=stub,
            connect=connect,
            pairOf=pairOf,
            again=lambda: ns.getByName(name),
            other=lambda suffix: ns.getByName(f"{name}/{suffix}"),
            inside=lambda part, argument=None: stub.part(part, argument),
            until=lambda part: until(ns, name, part),
        )
        return Response.json(await outcome(lambda: row["run"](scope)))
