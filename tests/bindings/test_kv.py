"""KV namespaces: each row of docs/bindings.md, in a world and over crashes."""

from __future__ import annotations

import asyncio
import math
from types import SimpleNamespace

import pytest
from perdure.bindings import kv_bucket
from perdure.bindings.kv import KvNamespace
from perdure.bindings.kv_bucket import PIECE_BYTES
from perdure.bindings.kv_rules import VALUE_BYTES_MAX
from perdure.engine.errors import BindingError, ConfigError, InvalidArgument, Overloaded, PerdureError
from perdure.testing import World
from perdure.testing.virtual import run

from .programs import WITH_OBJECT, folder

KV = {"kv_namespaces": [{"binding": "KV", "id": "one"}, {"binding": "OTHER", "id": "two"}, {"binding": "OWN"}]}
SOURCE = """
import json
from workers import DurableObject, Response, WorkerEntrypoint


class Room(DurableObject):
    async def copy(self, key, value):
        await self.ctx.storage.put(key, value)
        self.env.KV.put(key, value)  # not awaited
        return await self.env.KV.get(key)


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        await self.env.KV.put("bar", "baz")
        bar = await self.env.KV.get("bar")
        return Response(bar)
"""


@pytest.fixture
def program(tmp_path):
    return folder(tmp_path / "app", SOURCE, **KV, **WITH_OBJECT)


@pytest.fixture
def kv_world(program):
    """Runs a test's coroutine function on `env.KV` in a world of two shards."""

    def with_world(test):
        async def inside():
            async with World(program, shards=2) as world:
                await test(world, world.env.KV)

        run(inside())

    return with_world


def test_the_example_of_the_public_documentation(kv_world):
    async def test(world, kv):
        response = await world.fetch("/")
        assert await response.text() == "baz"

    kv_world(test)


# ---------------------------------------------------------------------- reading
VALUES = {
    "text": ("hé", {}, "hé"),
    "text by name": ("hé", {"type": "text"}, "hé"),
    "json": ('{"a": [1, {"b": null}]}', {"type": "json"}, {"a": [1, {"b": None}]}),
    "arrayBuffer": (b"\x00\xff", {"type": "arrayBuffer"}, b"\x00\xff"),
    "bytes as text": (b"\xff", {}, "\ufffd"),
    "a number is written as text": (42, {}, "42"),
    "a memoryview": (memoryview(b"abc"), {}, "abc"),
    "empty": ("", {}, ""),
    "cacheTtl": ("x", {"cacheTtl": 30}, "x"),
    "cache_ttl": ("x", {"cache_ttl": 60}, "x"),
}


@pytest.mark.parametrize("row", VALUES)
def test_values(kv_world, row):
    value, options, expected = VALUES[row]

    async def test(_world, kv):
        await kv.put("k", value)
        assert await kv.get("k", **options) == expected  # keyword arguments
        assert await kv.get("k", options) == expected  # a dict
        assert await kv.get("k", SimpleNamespace(**options)) == expected  # an object with attributes
        if "type" in options:
            assert await kv.get("k", options["type"]) == expected  # the type alone
        found = await kv.getWithMetadata("k", **options)
        assert (found.value, found.metadata, found["cacheStatus"]) == (expected, None, None)

    kv_world(test)


def test_json_reads_with_attributes(kv_world):
    async def test(_world, kv):
        await kv.put("k", '{"user": {"name": "ann"}}')
        assert (await kv.get("k", "json")).user.name == "ann"
        await kv.put("k", "{")
        with pytest.raises(PerdureError, match="SyntaxError"):
            await kv.get("k", "json")

    kv_world(test)


def test_a_missing_key(kv_world):
    async def test(_world, kv):
        for kind in ("text", "json", "arrayBuffer", "stream"):
            assert await kv.get("none", kind) is None
            found = await kv.getWithMetadata("none", kind)
            assert (found.value, found.metadata) == (None, None)
        await kv.delete("none")

    kv_world(test)


def test_several_keys_at_once(kv_world):
    async def test(_world, kv):
        await kv.put("a", '"x"', metadata={"n": 1})
        await kv.put("b", "[1]")
        assert await kv.get(["a", "none", "b"]) == {"a": '"x"', "none": None, "b": "[1]"}
        assert list(await kv.get(["b", "a"], "json")) == ["b", "a"]
        found = await kv.get_with_metadata(["a", "none"], type="json")
        assert found == {"a": {"value": "x", "metadata": {"n": 1}}, "none": None}
        await kv.put("c", "no json")
        with pytest.raises(BindingError, match="KV GET_BULK failed: 400 .*non-json value"):
            await kv.get(["a", "c"], "json")
        with pytest.raises(BindingError, match="maximum of 100 keys"):
            await kv.get([str(n) for n in range(101)])
        with pytest.raises(BindingError, match="is not a valid type"):
            await kv.get(["a"], "arrayBuffer")

    kv_world(test)


# ---------------------------------------------------------------------- what is refused
REFUSED = {
    "an empty key": (lambda kv: kv.get(""), InvalidArgument, "Key name cannot be empty."),
    "the key .": (lambda kv: kv.put(".", "x"), InvalidArgument, '"." is not allowed as a key name.'),
    "the key ..": (lambda kv: kv.delete(".."), InvalidArgument, '".." is not allowed as a key name.'),
    "a key above 512 bytes": (
        lambda kv: kv.get("é" * 257),
        BindingError,
        "KV GET failed: 414 UTF-8 encoded length of 514 exceeds key length limit of 512.",
    ),
    "a key that is no text": (lambda kv: kv.get(None), InvalidArgument, "a KV key is a text"),
    "an unknown type": (
        lambda kv: kv.get("k", "blob"),
        InvalidArgument,
        'Unknown response type. Possible types are "text", "arrayBuffer", "json", and "stream".',
    ),
    "a cacheTtl below 30": (lambda kv: kv.get("k", cacheTtl=29), BindingError, "Cache TTL must be at least 30."),
    "a value that is none": (
        lambda kv: kv.put("k", {"a": 1}),
        InvalidArgument,
        "KV put() accepts only strings, ArrayBuffers, ArrayBufferViews, and ReadableStreams as values.",
    ),
    "None as a value": (lambda kv: kv.put("k", None), InvalidArgument, "KV put() accepts only"),
    "a value above 25 MiB": (
        lambda kv: kv.put("k", bytes(VALUE_BYTES_MAX + 1)),
        BindingError,
        "KV PUT failed: 413 Value length of 26214401 exceeds limit of 26214400.",
    ),
    "metadata above 1,024 bytes": (
        lambda kv: kv.put("k", "v", metadata="x" * 1023),
        BindingError,
        "KV PUT failed: 413 Metadata length of 1025 exceeds limit of 1024.",
    ),
    "expirationTtl below 60": (
        lambda kv: kv.put("k", "v", expirationTtl=59),
        BindingError,
        "KV PUT failed: 400 Invalid expiration_ttl of 59. Expiration TTL must be at least 60.",
    ),
    "expirationTtl of nothing": (lambda kv: kv.put("k", "v", expirationTtl=0), BindingError, "integer greater than 0"),
    "expirationTtl that is no number": (
        lambda kv: kv.put("k", "v", {"expirationTtl": math.nan}),
        BindingError,
        "Invalid expiration_ttl of nan",
    ),
    "an expiration in the past": (
        lambda kv: kv.put("k", "v", expiration=1_000),
        BindingError,
        "integer greater than the current number of seconds since the UNIX epoch",
    ),
    "an expiration too soon": (
        lambda kv: kv.put("k", "v", expiration=1_767_225_600 + 59),
        BindingError,
        "Expiration times must be at least 60 seconds in the future.",
    ),
    "a limit of 0": (lambda kv: kv.list(limit=0), BindingError, "Invalid key_count_limit of 0. Please specify"),
    "a limit of 1,001": (lambda kv: kv.list(limit=1001), BindingError, "specify an integer less than 1000."),
    "a cursor of nobody": (lambda kv: kv.list(cursor="?"), BindingError, "Invalid cursor"),
    "options that are no object": (lambda kv: kv.put("k", "v", 60), InvalidArgument, "options must be an object"),
}


@pytest.mark.parametrize("row", REFUSED)
def test_what_is_refused(kv_world, row):
    call, error, phrase = REFUSED[row]

    async def test(_world, kv):
        with pytest.raises(error) as caught:
            await call(kv)
        assert phrase in str(caught.value)
        assert (await kv.list()).keys == []

    kv_world(test)


# ---------------------------------------------------------------------- lists
def test_a_list_is_in_order_over_all_buckets(kv_world):
    async def test(_world, kv):
        names = [f"user:{number:03}" for number in range(150)] + ["é", "z", "\U0001f600", "User"]
        await asyncio.gather(*(kv.put(name, "v") for name in names))
        expected = sorted(names, key=str.encode)
        whole = await kv.list()
        assert [key.name for key in whole.keys] == expected
        assert whole.list_complete is True
        assert "cursor" not in whole
        paged: list[str] = []
        cursor = None
        while True:
            page = await kv.list(limit=7, cursor=cursor)
            paged += [key["name"] for key in page["keys"]]
            if page.list_complete:
                break
            assert len(page.keys) == 7
            cursor = page.cursor
        assert paged == expected
        assert [key.name for key in (await kv.list({"prefix": "user:14"})).keys] == [f"user:14{n}" for n in range(10)]
        assert (await kv.list(prefix="user:14", limit=10)).list_complete is True
        assert (await kv.list(prefix="nobody")).keys == []

    kv_world(test)


def test_a_list_has_expirations_and_metadata(kv_world):
    async def test(world, kv):
        await kv.put("a", "v", expirationTtl=60, metadata={"tag": "x"})
        await kv.put("b", "v")
        found = await kv.list()
        at = int(world.now.timestamp()) + 60
        assert found["keys"] == [{"name": "a", "expiration": at, "metadata": {"tag": "x"}}, {"name": "b"}]
        assert list(dict(found)) == ["keys", "list_complete", "cacheStatus"]  # and it is a dict all the same
        assert found.keys() == {"keys", "list_complete", "cacheStatus"}

    kv_world(test)


# ---------------------------------------------------------------------- expiry
def test_what_has_expired_is_gone_and_its_room_freed(kv_world):
    async def test(world, kv):
        await kv.put("short", "v" * 5_000, {"expirationTtl": 60})
        await kv.put("long", "v", {"expiration": int(world.now.timestamp()) + 3_600})
        await kv.put("kept", "v", {"expirationTtl": 60})
        await kv.put("kept", "w")
        await world.advance(seconds=59)
        assert await kv.get("short") == "v" * 5_000
        await world.advance(seconds=1)
        assert await kv.get("short") is None
        assert [key.name for key in (await kv.list()).keys] == ["kept", "long"]
        assert await kv.get(["short", "kept"]) == {"short": None, "kept": "w"}
        await world.advance(hours=2)
        assert [key.name for key in (await kv.list()).keys] == ["kept"]
        for stub in kv._stubs:
            storage = world.storage(stub)
            try:
                counts = await storage.sql(
                    "select (select count(*) from entries where expires_s is not null) + (select count(*) from leftovers) "
                    "+ (select count(*) from pieces) as n"
                )
            except PerdureError:  # a bucket that nothing was ever put into
                continue
            assert counts == [{"n": 0}]

    kv_world(test)


# ---------------------------------------------------------------------- large values
def test_large_values_and_streams(kv_world):
    async def test(world, kv):
        data = bytes(range(256)) * 14_000  # 3.4 MiB: four pieces

        async def chunks(size):
            for start in range(0, len(data), size):
                yield data[start : start + size]

        await kv.put("whole", data, metadata={"n": 1})
        await kv.put("stream", chunks(100_000))
        for key in ("whole", "stream"):
            assert await kv.get(key, "arrayBuffer") == data
            pieces = [bytes(piece) async for piece in await kv.get(key, "stream")]
            assert b"".join(pieces) == data
            assert max(map(len, pieces)) == PIECE_BYTES
        assert (await kv.getWithMetadata("whole", "stream")).metadata == {"n": 1}

        reader = aiter(await kv.get("whole", "stream"))
        first = bytes(await anext(reader))
        await kv.put("whole", "another")
        assert first + b"".join([bytes(piece) async for piece in reader]) == data  # who reads goes on
        reader = aiter(await kv.get("stream", "stream"))
        await anext(reader)
        await kv.put("stream", "another")
        await world.advance(minutes=3)
        with pytest.raises(BindingError, match="was replaced while it was read"):
            await anext(reader)
        assert await kv.get("whole") == "another"

    kv_world(test)


def test_a_stream_that_fails_or_is_too_long_changes_nothing(kv_world):
    async def test(world, kv):
        async def broken():
            yield bytes(PIECE_BYTES + 1)
            raise OSError("the client has gone")

        async def endless():
            while True:
                yield bytes(PIECE_BYTES)

        await kv.put("k", "before")
        with pytest.raises(OSError, match="the client has gone"):
            await kv.put("k", broken())
        with pytest.raises(BindingError, match="exceeds limit of 26214400"):
            await kv.put("k", endless())
        assert await kv.get("k") == "before"
        await world.advance(hours=2)
        left = await world.storage(kv._bucket(b"k")).sql("select count(*) as n from pieces")
        assert left == [{"n": 0}]

    kv_world(test)


def test_an_upload_that_rests_for_hours_is_given_up(kv_world):
    async def test(world, kv):
        async def slow(hours):
            yield bytes(2 * PIECE_BYTES)
            await asyncio.sleep(hours * 3_600)
            yield b"the end"

        await kv.put("k", "before")
        await kv.put("k", slow(0.9))
        assert (await kv.get("k", "arrayBuffer"))[-7:] == b"the end"
        with pytest.raises(BindingError, match="KV PUT failed: 503 the upload took so long"):
            await kv.put("k", slow(3))
        assert (await kv.get("k", "arrayBuffer"))[-7:] == b"the end"

    kv_world(test)


def test_much_that_expires_at_once_is_removed_bit_by_bit(kv_world, monkeypatch):
    monkeypatch.setattr(kv_bucket, "_REMOVED_MAX", 2)

    async def test(world, kv):
        await asyncio.gather(*(kv.put(f"k{number}", "v" * 2_000, expirationTtl=60) for number in range(100)))
        await world.advance(seconds=60)
        assert (await kv.list()).keys == []
        await world.advance(minutes=5)
        for stub in kv._stubs:
            left = await world.storage(stub).sql(
                "select (select count(*) from entries) + (select count(*) from pieces) as n"
            )
            assert left == [{"n": 0}]
            assert await world.storage(stub).alarm() is None

    kv_world(test)


# ---------------------------------------------------------------------- failures
def test_a_deploy_is_not_noticed(kv_world):
    async def test(world, kv):
        working = True

        async def work():
            count = 0
            while working:
                await kv.put("k", str(count))
                assert await kv.get("k") == str(count)
                count += 1
            return count

        task = asyncio.ensure_future(work())
        await world.restart()
        await world.restart()
        working = False
        assert await task > 0

    kv_world(test)


def test_nothing_acknowledged_is_lost(kv_world):
    async def test(world, kv):
        await kv.put("k", "v")
        await world.crash(0)
        await world.crash(1)
        assert await kv.get("k") == "v"
        await world.lose_power()
        assert [key.name for key in (await kv.list()).keys] == ["k"]
        await kv.delete("k")
        await world.lose_power()
        assert await kv.get("k") is None

    kv_world(test)


def test_namespaces_are_apart(kv_world):
    async def test(world, kv):
        await kv.put("k", "v")
        assert await world.env.OTHER.get("k") is None
        assert await world.env.OWN.get("k") is None

    kv_world(test)


def test_from_inside_an_object(kv_world):
    async def test(world, kv):
        room = world.namespace("Room").getByName("a")
        assert await room.copy("k", "v") == "v"
        assert await kv.get("k") == "v"

    kv_world(test)


def test_too_many_calls():
    class Full:
        def getByName(self, _name):
            return self

        def _with_retry(self, _policy):
            return self

        def __getattr__(self, _method):
            async def refuse(*_):
                raise Overloaded("4096 wait")

            return refuse

    async def inside():
        kv = KvNamespace(Full(), "one")
        calls = {
            "GET": lambda: kv.get("k"),
            "GET_BULK": lambda: kv.get(["k"]),
            "PUT": lambda: kv.put("k", "v"),
            "DELETE": lambda: kv.delete("k"),
        }
        for operation, call in calls.items():
            with pytest.raises(BindingError, match=f"KV {operation} failed: 429 Too Many Requests") as caught:
                await call()
            assert caught.value.overloaded
        with pytest.raises(BindingError, match="429"):
            await kv.list()
        with pytest.raises(BindingError, match="429"):
            await kv.put("k", bytes(3 * PIECE_BYTES))

    run(inside())


@pytest.mark.parametrize("section", [{"x": 1}, ["KV"], [{"id": "one"}], [{"binding": "KV", "id": 7}]])
def test_configuration_mistakes(tmp_path, section):
    path = folder(tmp_path / "app", SOURCE, kv_namespaces=section, **WITH_OBJECT)
    with pytest.raises(ConfigError, match="kv_namespaces"):
        World(path).start()
