"""Remote methods between a Worker, its named entrypoint and an object; every kind of value the documentation lists."""

import asyncio
from datetime import datetime
from http import HTTPMethod

import js
from pyodide.ffi import JsException, JsProxy, run_sync, to_js
from workers import (
    Blob,
    DurableObject,
    Request,
    Response,
    WorkerEntrypoint,
    python_from_rpc,
    python_to_rpc,
    wait_until,
    waitUntil,
)

FROM_ENTRIES = js.Object.fromEntries


class Mixin:
    def from_mixin(self):
        return 1234


class Custom:
    pass


class Echo(WorkerEntrypoint):
    async def identity(self, value):
        assert not isinstance(value, JsProxy)
        return value

    async def same(self, value):
        return value

    async def call(self, function, *args):
        return await function(*args)

    async def is_request(self, value):
        return isinstance(value, Request)

    async def is_response(self, value):
        assert isinstance(value, Response)
        return value

    async def options(self, first, options):
        return [first, options["second"], options.third]

    async def maker(self):
        count = 0

        def increment(by=1):
            nonlocal count
            count += by
            return count

        return increment

    async def kept(self, function):
        return [await function(1), await function(5)]


class Counter(DurableObject, Mixin):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.value = 0
        self.text = "not a method"

        async def load():
            self.value = await self.ctx.storage.get("value") or 0

        self.ctx.blockConcurrencyWhile(load)

    async def increment(self, by=1):
        self.value += by
        await self.ctx.storage.put("value", self.value)
        return self.value

    def blocking(self, value):
        run_sync(asyncio.sleep(0.01))
        return value + 1

    def mutate(self, value):
        value["seen"] = True

    async def own(self):
        value = {"a": 1}
        self.mutate(value)
        return value

    async def fails(self):
        raise ValueError("this one fails")

    async def echo_through(self, value):
        return await self.env.ECHO.identity(value)

    async def subscribe(self, callback):
        return [await callback(number) for number in range(3)]

    def _hidden(self):
        return "private"

    async def section(self):
        async def work():
            await self.ctx.storage.put("section", "done")
            return 42

        return [await self.ctx.blockConcurrencyWhile(work), await self.ctx.storage.get("section")]


async def error_of(awaitable):
    try:
        await awaitable
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "none"


async def error_in(function):
    try:
        await function()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "none"


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        route = js.URL.new(request.url).pathname.strip("/")
        return Response.json(await getattr(self, route)())

    async def values(self):
        echo = self.env.ECHO
        now = datetime.now()
        back = await echo.identity(now)
        nested = await echo.identity({"a": 1, "b": None, "c": {"d": None, "list": [1, 2.5, "x"]}})
        made = await echo.identity(js.Map.new([[1, "one"], [2, "two"]]))
        error = await echo.identity(js.Error.new("message"))
        answer = await echo.is_response(Response("body of a response"))
        raw = await echo.is_response(js.Response.new("of js"))
        return {
            "plain": [await echo.identity(value) for value in ["t", [1, 2], {"key": 42}, 42, 1.5, False, True, None]],
            "date": isinstance(back, datetime) and abs((back - now).total_seconds()) < 0.001,
            "dates": all(isinstance(at, datetime) for at in await echo.identity([js.Date.new(), now])),
            "set": sorted(await echo.identity({3, 1, 2})) + sorted(await echo.identity(js.Set.new([4, 5]))),
            "bytes": [
                isinstance(await echo.identity(value), memoryview)
                for value in [
                    b"binary",
                    memoryview(b"view"),
                    js.ArrayBuffer.new(8),
                    js.DataView.new(js.ArrayBuffer.new(16)),
                    js.Int16Array.of("10", "24"),
                    js.Uint8Array.new(to_js([1, 2])),
                ]
            ],
            "map": made["1"] + made["2"],
            "undefined": await echo.identity(js.undefined),
            "number": await echo.identity(js.Number.new("1234")),
            "nested": nested,
            "attribute": nested.c.list[1],
            "error": [isinstance(error, Exception), str(error)],
            "object": (await echo.identity(to_js({"foo": 42}, dict_converter=FROM_ENTRIES))).foo,
            "request": await echo.is_request(Request("https://test.com", method=HTTPMethod.POST)),
            "response": [await answer.text(), await raw.text()],
            "kwargs": await echo.options("one", second=2, third=3),
            "normal": python_from_rpc(python_to_rpc({"x": [1]})),
        }

    async def functions(self):
        echo = self.env.ECHO
        calls = 0

        def count():
            nonlocal calls
            calls += 1
            return calls

        async def later(number):
            await asyncio.sleep(0)
            return number * 10

        increment = await echo.maker()
        try:
            length = len(increment)
        except TypeError as error:
            length = str(error)
        return {
            "called": [await echo.call(count), await echo.call(count), await echo.call(lambda: "lambda")],
            "async": await self.env.COUNTER.getByName("f").subscribe(later),
            "state": [await increment(2), await increment(), await increment(-5)],
            "bool": bool(increment),
            "length": length,
            "forwarded": await echo.call(increment, 10),
            "stub": await echo.call(self.env.COUNTER.getByName("f").increment, 3),
        }

    async def refused(self):
        echo = self.env.ECHO
        values = {
            "tuple": (1, 2, 3),
            "nested tuple": [(1, 2, 3)],
            "in a dict": {"t": (1, 2)},
            "bytearray": bytearray(b"x"),
            "regexp": js.RegExp.new("ab+c", "i"),
            "class": Custom(),
            "complex": complex(1.5),
            "range": range(3),
        }
        return {name: await error_in(lambda value=value: echo.identity(value)) for name, value in values.items()}

    async def object(self):
        counter = self.env.COUNTER.getByName("a")
        results = await asyncio.gather(*[counter.increment() for _ in range(6)])
        return {
            "increments": results,
            "mixin": await counter.from_mixin(),
            "blocking": await counter.blocking(9),
            "own": await counter.own(),
            "echo": await counter.echo_through({"deep": [1, {"er": None}]}),
            "section": await counter.section(),
            "name": self.env.COUNTER.get(self.env.COUNTER.idFromName("a")).name,
        }

    async def errors(self):
        counter = self.env.COUNTER.getByName("e")
        return {
            "raised": await error_of(counter.fails()),
            "unknown": await error_in(lambda: counter.nothing()),
            "attribute": await error_in(lambda: counter.text()),
            "alarm": await error_in(lambda: counter.alarm()),
            "private": await error_in(lambda: counter._hidden()),
            "arity": await error_in(lambda: counter.increment(1, 2, 3)),
        }

    async def exception(self):
        try:
            await self.env.COUNTER.getByName("e").nothing()
        except JsException as error:
            return {"name": error.name, "message": error.message, "stack": isinstance(error.stack, str)}

    async def behind(self):
        async def late(by):
            await self.env.COUNTER.getByName("w").increment(by)

        self.ctx.waitUntil(late(1))
        waitUntil(late(10))
        wait_until(late(100))
        return {"asked": True}

    async def count(self):
        return await self.env.COUNTER.getByName("w").increment(0)

    async def blob(self):
        blob = await self.env.ECHO.same(Blob(["some ", "text"], content_type="text/x"))
        return [await blob.text(), blob.content_type]
