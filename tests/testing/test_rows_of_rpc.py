"""Rows of docs/compatibility.md about calls that no other test holds (spec: rpc)."""

from __future__ import annotations

import asyncio
import datetime
import re

import pytest
from perdure.engine.errors import PerdureError
from perdure.sdk import aliases, js
from perdure.sdk.workers import DurableObject, RpcTarget
from perdure.testing import World
from perdure.testing.virtual import run


class Target(RpcTarget):
    def one(self, value):
        return value


class Host(DurableObject):
    count = 5

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.own = 5
        self.calls = 0

    @property
    def limit(self):
        return 5

    async def echo(self, value):
        return value

    async def target(self):
        return Target()

    async def increment(self, *_more):
        self.calls += 1
        return self.calls

    async def sends_what_cannot_be_cloned(self, what):
        from pyodide.ffi import JsException

        made = {"instance": Target.__new__(type("X", (), {})), "complex": 1j, "range": range(3)}[what]
        try:
            await self.env.Host.getByName("other").echo(made)
        except JsException as error:
            return str(error)


def in_world(work):
    aliases.install()

    async def main():
        async with World([Host]) as world:
            await work(world.namespace("Host").getByName("a"))

    run(main())


WHEN = datetime.datetime(2026, 1, 2, 3, 4, 5, 678901)


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        (None, None),
        ([None, {"a": None}], [None, {"a": None}]),
        (lambda: [js.undefined, {"a": js.undefined}], [None, {"a": None}]),
        (True, True),
        (1.5, 1.5),
        (2**53 + 1, 2**53 + 1),
        ("ü", "ü"),
        ([1, [2]], [1, [2]]),
        ({1: "one", None: 2}, {"1": "one", "null": 2}),
        (lambda: js.Map.new([[1, "one"]]), {"1": "one"}),
        ({1, 2}, {1, 2}),
        (WHEN, WHEN.replace(microsecond=678000)),
        (lambda: js.Date.new(WHEN.timestamp() * 1000), WHEN.replace(microsecond=678000)),
    ],
)
def test_values_of_calls(sent, received) -> None:
    async def work(a):
        found = await a.echo(sent() if callable(sent) else sent)
        assert found == received
        assert isinstance(found, type(received))
        assert isinstance(found, bool) == isinstance(received, bool)
        if isinstance(found, datetime.datetime):
            assert found.tzinfo is None

    in_world(work)


@pytest.mark.parametrize("kind", ["bytes", "memoryview", "ArrayBuffer", "Uint8Array", "Int16Array", "DataView"])
def test_every_kind_of_buffer_arrives_as_a_memoryview(kind: str) -> None:
    async def work(a):
        array = js.Uint8Array.new([104, 105])
        found = await a.echo(
            {
                "bytes": b"hi",
                "memoryview": memoryview(b"hi"),
                "ArrayBuffer": array.buffer,
                "Uint8Array": array,
                "Int16Array": js.Int16Array.new(array.buffer),
                "DataView": js.DataView.new(array.buffer),
            }[kind]
        )
        assert isinstance(found, memoryview)
        assert bytes(found) == b"hi"

    in_world(work)


def test_a_dict_of_a_call_has_attributes() -> None:
    async def work(a):
        found = await a.echo({"a": {"b": 1}})
        assert isinstance(found, dict)
        assert found.a.b == found["a"]["b"] == 1

    in_world(work)


async def later() -> None:
    pass


def test_what_is_refused_before_a_call() -> None:
    async def work(a):
        for value, kind in (
            ((1,), "tuple"),
            ([(1, 2, 3)], "tuple"),
            ({"t": (1, 2)}, "tuple"),
            (bytearray(b"x"), "bytearray"),
        ):
            with pytest.raises(TypeError, match=f"^<class '{kind}'> cannot be sent over RPC$"):
                a.echo(value)
        coroutine = later()
        with pytest.raises(TypeError, match="^Awaitable <class 'coroutine'> cannot be sent over RPC$"):
            a.echo(coroutine)
        coroutine.close()
        with pytest.raises(TypeError, match="^RegExp cannot be sent over RPC$"):
            a.echo(js.RegExp.new("a"))

    in_world(work)


@pytest.mark.parametrize(("what", "named"), [("instance", "X"), ("complex", "complex"), ("range", "range")])
def test_what_cannot_be_cloned_is_a_js_exception(what: str, named: str) -> None:
    async def work(a):
        found = await a.sends_what_cannot_be_cloned(what)
        assert found.startswith("DataCloneError")
        assert f'Could not serialize object of type "{named}"' in found

    in_world(work)


RESERVED = ["connect", "alarm", "webSocketMessage", "webSocketClose", "webSocketError", "dup", "constructor"]


@pytest.mark.parametrize("name", RESERVED)
def test_every_reserved_name_of_objects(name: str) -> None:
    async def work(a):
        with pytest.raises(PerdureError, match=re.escape(f"'{name}' is a reserved method")) as caught:
            await getattr(a, name)()
        assert caught.value.name == "TypeError"

    in_world(work)


@pytest.mark.parametrize("name", ["nothing", "own", "env", "ctx", "toString", "hasOwnProperty", "_private"])
def test_every_name_that_is_no_method(name: str) -> None:
    async def work(a):
        with pytest.raises(PerdureError, match=f'does not implement the method "{name}"') as caught:
            await getattr(a, name)()
        assert caught.value.name == "TypeError"

    in_world(work)


def test_a_property_of_an_object_is_read_and_not_called() -> None:
    async def work(a):
        assert (await a.limit, await a.count) == (5, 5)
        for name in ("limit", "count"):
            with pytest.raises(PerdureError, match=f'"{name}" is not a function') as caught:
                await getattr(a, name)()
            assert caught.value.name == "TypeError"

    in_world(work)


def test_the_arity_of_methods_of_targets_is_strict() -> None:
    async def work(a):
        target = await a.target()
        for arguments in ([], [1, 2]):
            with pytest.raises(PerdureError, match=r"TypeError: Target\.one\(\)"):
                await target.one(*arguments)

    in_world(work)


def test_calls_are_in_order_and_awaited_in_any() -> None:
    async def work(a):
        sent = [(), (lambda: 1,), (js.Response.new("x").body,), (), ({"a": [lambda: 2]},), ()]
        calls = [a.increment(*each) for each in sent]
        assert [await call for call in reversed(calls)] == [6, 5, 4, 3, 2, 1]
        assert await asyncio.gather(*(a.increment() for _ in range(2))) == [7, 8]

    in_world(work)


def test_a_stub_of_an_object_is_true_and_has_no_length() -> None:
    async def work(a):
        assert bool(a)
        with pytest.raises(TypeError, match=r"^'Stub' object has no len\(\)$"):
            len(a)
        with pytest.raises(TypeError, match="^'Stub' object is not iterable$"):
            iter(a)

    in_world(work)


PLAIN = """
from workers import Response, WorkerEntrypoint


class Plain:
    def __init__(self, ctx, env):
        self.ctx = ctx

    async def fetch(self, request):
        return Response(f"fetched {self.ctx.id.name}")

    async def method(self):
        return 1


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return await self.env.PLAIN.getByName("a").fetch(request)
"""


def test_a_class_that_derives_from_nothing_is_fetched_and_not_called(tmp_path) -> None:
    (tmp_path / "entry.py").write_text(PLAIN)
    (tmp_path / "wrangler.toml").write_text(
        'name = "w"\nmain = "entry.py"\ncompatibility_date = "2026-01-01"\n'
        '[[durable_objects.bindings]]\nname = "PLAIN"\nclass_name = "Plain"\n'
        '[[migrations]]\ntag = "1"\nnew_sqlite_classes = ["Plain"]\n'
    )
    with World(str(tmp_path)) as world:
        assert world.run(world.fetch("/").text()) == "fetched a"
        with pytest.raises(PerdureError, match="does not support RPC.*must extend DurableObject") as caught:
            world.run(world.namespace("Plain").getByName("a").method())
        assert caught.value.name == "TypeError"
