"""A program that uses `js` and `pyodide` as those of the reference do, on a cluster in virtual time."""

from __future__ import annotations

import textwrap

import pytest
from perdure.engine.errors import PerdureError
from perdure.testing import World
from perdure.testing.virtual import run

PROGRAM = """
import asyncio
import datetime
import json

import js
from js import (
    AbortController, AbortSignal, Date, Headers, JSON, Object, Promise, Response as JsResponse, URL, Uint8Array,
    WebSocketPair, caches, clearInterval, clearTimeout, console, crypto, queueMicrotask, scheduler, setInterval, setTimeout,
)
from pyodide.ffi import JsException, JsProxy, create_once_callable, create_proxy, jsnull, run_sync, to_js
from workers import DurableObject, Response, WorkerEntrypoint


def as_js(value):
    return to_js(value, dict_converter=Object.fromEntries)


class Room(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.seen = []

    # ---------------------------------------------------------------- values
    async def keep_messages(self):
        await self.ctx.storage.put("messages", to_js([{"text": "hi", "n": 1}]))
        await self.ctx.storage.put(as_js({"a": {"b": [1]}, "date": Date.new(0)}))
        await self.ctx.storage.put("bytes", Uint8Array.of(1, 2))
        await self.ctx.storage.put("null", jsnull)
        found = await self.ctx.storage.get("messages")
        date = (await self.ctx.storage.get("date")).astimezone(datetime.UTC)
        return [found.to_py(), (await self.ctx.storage.get("a")).b, date.year, bytes(await self.ctx.storage.get("bytes")),
                await self.ctx.storage.get("null")]

    async def rows(self):
        sql = self.ctx.storage.sql
        sql.exec("create table t(a, b, c)")
        sql.exec("insert into t values(?, ?, ?)", jsnull, Uint8Array.of(7), "x")
        row = sql.exec("select a, b, c, typeof(b) as kind from t").one()
        return [row.a, bytes(row.b), row.c, row.kind]

    async def result(self):
        return as_js({"list": [1, {"x": 2}], "when": Date.new(5), "set": {1}})

    async def take(self, value, options=None):
        return [type(value).__name__, value, options]

    async def alarm_in(self, ms):
        await self.ctx.storage.setAlarm(Date.now() + ms)
        return await self.ctx.storage.getAlarm() - Date.now()

    async def alarm(self):
        self.seen.append("alarm")

    async def caught(self):
        try:
            self.ctx.storage.sql.exec("select * from missing")
        except JsException as error:
            return [error.name, "no such table" in error.message, isinstance(error, Exception)]

    async def raises(self):
        raise js.TypeError.new("as asked")

    # ---------------------------------------------------------------- time
    async def timers(self):
        def note(*args):
            self.seen.append(args)
            self.ctx.storage.kv.put("noted", len(self.seen))

        async def slow():
            await asyncio.sleep(1)
            self.seen.append("slow")
            if len(self.seen) > 3:
                clearInterval(self.every)

        setTimeout(create_once_callable(note), 2000, "late", 1)
        never = setTimeout(note, 1000)
        clearTimeout(never)
        clearTimeout(None)
        self.every = setInterval(slow, 1000)
        setTimeout(lambda: 1 / 0, 10)
        queueMicrotask(lambda: self.seen.append("microtask"))
        return isinstance(never, int)

    async def blocking_timer(self):
        def work():
            run_sync(asyncio.sleep(1))
            self.seen.append("blocked")

        setTimeout(work, 10)

    async def log(self):
        return [list(each) if isinstance(each, tuple) else each for each in self.seen]

    async def noted(self):
        return await self.ctx.storage.get("noted")

    async def waits(self):
        began = Date.now()
        await scheduler.wait(1500)
        return Date.now() - began

    async def signals(self):
        told = []
        controller = AbortController.new()
        controller.signal.addEventListener("abort", lambda event: told.append(event.type))
        controller.signal.onabort = lambda: told.append("onabort")
        joined = AbortSignal.any([controller.signal, AbortSignal.timeout(60_000)])
        controller.abort(js.Error.new("stop"))
        controller.abort()
        try:
            joined.throwIfAborted()
        except JsException as error:
            told.append(error.message)
        late = AbortSignal.timeout(100)
        await scheduler.wait(200)
        return [*told, controller.signal.aborted, late.reason.name]

    async def promises(self):
        found = await Promise.all([Promise.resolve(1), self.noted(), 3])
        raced = await Promise.race([asyncio.sleep(5, "slow"), asyncio.sleep(1, "fast")])
        first = await Promise.any([Promise.reject("no"), asyncio.sleep(1, "yes")])
        settled = await Promise.allSettled([Promise.reject(js.Error.new("bad")), 1])
        told = await Promise.reject("why").catch(lambda error: str(error))
        made = await Promise.new(lambda resolve, reject: setTimeout(resolve, 10, "made"))
        ended = []
        await Promise.resolve(1).finally_(lambda: ended.append("finally"))
        then = await Promise.resolve(2).then(lambda value: value + 1)
        return [list(found), raced, first, [each.status for each in settled], told, made, ended, then]

    # ---------------------------------------------------------------- the rest
    async def log_lines(self):
        console.log("seen", 1, {"a": True}, None)
        console.warn("%s has %d %%", "it", 4.7, "more")
        console.error(js.Error.new("bad"))

    def sync_block(self):
        return run_sync(self.env.ROOM.getByName("other").waits())

    async def call_back(self, function, data):
        return [await function(data.n), data.n]

    async def gives_back(self):
        made = JsResponse.new("body", status=202, headers={"x": "1"})
        return as_js({"response": made, "blob": js.Blob.new(["b"], type="text/plain"), "headers": Headers.new({"a": "b"})})

    async def asks_other(self):
        other = self.env.ROOM.getByName("other")
        proxy = create_proxy(lambda n: n + 1)
        found = await other.call_back(proxy, as_js({"n": 1, "when": Date.new(0)}))
        proxy.destroy()
        given = await other.gives_back()
        response = given.response
        return [found, response.status, await response.text(), await given.blob.text(), given["headers"].get("a")]

    async def sockets(self):
        client, server = WebSocketPair.new()
        kinds = [isinstance(end, (js.WebSocket, JsProxy)) for end in (client, server, 5)]
        try:
            client.send("too early")
        except JsException as error:
            return [*kinds, js.WebSocket.OPEN, client.readyState, "before sending messages" in error.message]

    async def evaluates(self):
        js.eval("1")

    async def fetch(self, request):
        url = URL.new(request.url)
        body = await request.text()
        return JsResponse.new(f"{request.method} {url.pathname} {url.searchParams.get('q')} {body}", status=201,
                              headers=Headers.new({"x-a": "1"}))


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        path = URL.new(request.url).pathname
        if path == "/json":
            return JsResponse.json(as_js({"a": [1, None]}), headers=[["x-b", "2"]])
        if path == "/options":
            return JsResponse.new("gone", as_js({"status": 410, "statusText": "Gone now", "headers": {"x-c": "3"}}))
        if path == "/headers":
            headers = Headers.new([["b", "2"], ["a", "1"]])
            headers.append("a", 3)
            headers.append("set-cookie", "x=1")
            headers.append("Set-Cookie", "y=2")
            return Response.json([[list(pair) for pair in headers], headers.get("A"), headers.get("none"),
                                  headers.getSetCookie(), headers.has("B"), dict(request.headers)["x-own"]])
        if path == "/stub":
            answer = await self.env.ROOM.getByName("a").fetch(js.Request.new(f"https://x/path?q=5", method="POST", body="b"))
            return JsResponse.new(await answer.text(), {"status": answer.status, "headers": answer.headers})
        if path == "/cache":
            cached = await caches.default.match(request)
            await caches.default.put(request, JsResponse.new("x"))
            return Response(str(cached))
        if path == "/outside":
            answer = await js.fetch("https://api.test/v1", as_js({"method": "PUT", "body": "sent", "headers": {"x-d": "4"}}))
            return Response.json([answer.status, answer.ok, (await answer.json()).to_py(), answer.headers.get("x-e"),
                                  isinstance(answer, JsProxy)])
        if path == "/then":
            return await js.fetch("https://api.test/v1").then(lambda answer: answer.text()).then(lambda text: Response(text))
        console.log("from the Worker")
        return Response("?", status=404)
"""


@pytest.fixture
def program(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "entry.py").write_text(textwrap.dedent(PROGRAM))
    (tmp_path / "wrangler.jsonc").write_text(
        '{"name": "room", "main": "src/entry.py", "compatibility_date": "2026-10-01",'
        ' "durable_objects": {"bindings": [{"name": "ROOM", "class_name": "Room"}]},'
        ' "migrations": [{"tag": "v1", "new_sqlite_classes": ["Room"]}]}'
    )
    return tmp_path


def in_world(test):
    """The test with a world of the program, and the stub of one object."""

    def inside(program):
        async def work():
            async with World(program) as world:
                await test(world, world.namespace("Room").getByName("a"))

        run(work())

    inside.__name__ = test.__name__
    inside.__doc__ = test.__doc__
    return inside


@in_world
async def test_storage_takes_what_to_js_makes(world, room):
    messages, inner, year, data, null = await room.keep_messages()
    assert messages == [{"text": "hi", "n": 1}]
    assert inner == [1]
    assert year == 1970
    assert data == b"\1\2"
    assert null is None


@in_world
async def test_sql_takes_null_and_buffers(world, room):
    assert await room.rows() == [None, b"\7", "x", "blob"]


@in_world
async def test_values_cross_calls_both_ways(world, room):
    found = await room.result()
    assert found["list"] == [1, {"x": 2}]
    assert found["when"].timestamp() == pytest.approx(0.005)
    assert found["set"] == {1}
    from perdure.sdk.pyodide.ffi import to_js

    kind, value, options = await room.take(to_js({"a": 1}), key=to_js([1]))
    assert [kind, value, options] == ["JsDict", {"a": 1}, {"key": [1]}]


@in_world
async def test_functions_and_messages_cross_calls(world, room):
    assert await room.asks_other() == [[2, 1], 202, "body", "b", "b"]


@in_world
async def test_an_alarm_by_the_clock_of_javascript(world, room):
    assert await room.alarm_in(1000) == 1000
    await world.advance(seconds=2)
    assert await room.log() == ["alarm"]


@in_world
async def test_errors_of_the_runtime_are_js_exceptions(world, room):
    assert await room.caught() == ["Error", True, True]
    with pytest.raises(PerdureError) as caught:
        await room.raises()
    assert [caught.value.name, caught.value.message] == ["TypeError", "as asked"]
    with pytest.raises(PerdureError, match="EvalError"):
        await room.evaluates()
    assert await room.sockets() == [True, True, False, 1, 1, True]


@in_world
async def test_timers_are_events_of_their_object(world, room):
    assert await room.timers()
    await world.advance(seconds=10)
    assert await room.log() == ["microtask", ["late", 1], "slow", "slow"]
    assert await room.noted() == 2
    uncaught = [line for line in world.log if line.event == "console"]
    assert len(uncaught) == 1
    assert uncaught[0].level == "error"
    assert "ZeroDivisionError" in str(uncaught[0].fields["text"])


@in_world
async def test_the_callback_of_a_timer_may_block(world, room):
    await room.blocking_timer()
    await world.advance(seconds=5)
    assert await room.log() == ["blocked"]


@in_world
async def test_a_timer_goes_with_its_object(world, room):
    await room.timers()
    await world.crash(room)
    room = world.namespace("Room").getByName("a")
    await world.advance(seconds=10)
    assert await room.log() == []


@in_world
async def test_waiting(world, room):
    assert await room.waits() == 1500
    assert await room.sync_block() == 1500


@in_world
async def test_signals(world, room):
    assert await room.signals() == ["abort", "onabort", "stop", True, "TimeoutError"]


@in_world
async def test_promises(world, room):
    found, raced, first, settled, told, made, ended, then = await room.promises()
    assert found == [1, None, 3]
    assert [raced, first, made, then] == ["fast", "yes", "made", 3]
    assert settled == ["rejected", "fulfilled"]
    assert told == "Error: why"
    assert ended == ["finally"]


@in_world
async def test_lines_of_the_console_are_in_the_log_with_their_object(world, room):
    await room.log_lines()
    lines = [(line.level, line.fields["text"]) for line in world.log if line.event == "console"]
    assert lines == [
        ("info", "seen 1 {'a': True} undefined"),
        ("warning", "it has 4 % more"),
        ("error", "Error: bad"),
    ]
    assert all(line.fields["object"] == "Room/a" for line in world.log if line.event == "console")
    await world.fetch("/nothing")
    assert [line.fields for line in world.log if line.event == "console"][-1] == {"text": "from the Worker"}


@in_world
async def test_responses_in_javascripts_style(world, room):
    found = await world.fetch("/json")
    assert [await found.text(), found.headers["content-type"], found.headers["x-b"]] == [
        '{"a":[1,null]}',
        "application/json",
        "2",
    ]
    found = await world.fetch("/options")
    assert [found.status, found.headers["x-c"], await found.text()] == [410, "3", "gone"]
    found = await world.fetch("/stub")
    assert [found.status, found.headers["x-a"], await found.text()] == [201, "1", "POST /path 5 b"]
    assert await (await world.fetch("/cache")).text() == "None"


@in_world
async def test_headers_in_javascripts_style(world, room):
    found = await (await world.fetch("/headers", headers={"X-Own": "me"})).json()
    assert found == [
        [["a", "1, 3"], ["b", "2"], ["set-cookie", "x=1"], ["set-cookie", "y=2"]],
        "1, 3",
        None,
        ["x=1", "y=2"],
        True,
        "me",
    ]


@in_world
async def test_fetch_in_javascripts_style(world, room):
    from perdure.sdk.response import Response

    async def answer(request):
        given = await request.text() if request.method == "PUT" else ""
        return Response.json([str(request.method), given, request.headers.get("x-d")], status=203, headers={"x-e": "5"})

    world.on_fetch("https://api.test/", answer)
    assert await (await world.fetch("/outside")).json() == [203, True, ["PUT", "sent", "4"], "5", True]
    assert await (await world.fetch("/then")).text() == '["GET", "", null]'


LEGACY = """
import json

from js import Headers, JSON, Object, Response
from pyodide.ffi import JsProxy, to_js


async def on_fetch(request, env, ctx):
    if request.method == "POST":
        given = await request.json()
        return Response.new(JSON.stringify(to_js({"name": given.name, "proxy": isinstance(given, JsProxy), "py": given.to_py()},
                                                 dict_converter=Object.fromEntries)),
                            headers=to_js({"content-type": "application/json"}, dict_converter=Object.fromEntries))
    headers = Headers.new({"x-method": request.method}.items())
    found = dict(Object.fromEntries(request.headers))
    return Response.new(json.dumps([found["x-own"], request.headers.get("x-own")]), headers=headers)
"""


def test_a_program_of_functions_gets_requests_in_javascripts_style(tmp_path):
    (tmp_path / "entry.py").write_text(LEGACY)
    (tmp_path / "wrangler.jsonc").write_text('{"name": "old", "main": "entry.py", "compatibility_date": "2025-01-01"}')

    async def work():
        async with World(tmp_path) as world:
            found = await world.fetch("/", headers={"x-own": "me"})
            assert [await found.text(), found.headers["x-method"]] == ['["me", "me"]', "GET"]
            found = await world.fetch("/", json={"name": "n", "list": [1]})
            assert await found.text() == '{"name":"n","proxy":true,"py":{"name":"n","list":[1]}}'

    run(work())
