"""What can be stored comes back equal and of the same type; what cannot is refused before anything is stored (spec: rpc)."""

from __future__ import annotations

import asyncio
import datetime
import enum
import math
import re
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from perdure.engine.entries import decode, encode, value_of
from perdure.engine.errors import DataCloneError, InvalidArgument, PerdureError
from perdure.engine.limits import Limits
from perdure.engine.values import UNDEFINED, Buffer, JsDict, JsList, pack, unpack

from .box import Box

LIMITS = Limits()
UTC = datetime.UTC
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(1 << 200), 1 << 200),
    st.sampled_from(
        [1 << 53, (1 << 53) + 1, (1 << 63) - 1, 1 << 63, -(1 << 63), -(1 << 63) - 1, (1 << 64) - 1, 1 << 64]
    ),
    st.floats(),
    st.text(st.characters(exclude_categories=[]), max_size=8),
    st.binary(max_size=300),
)
times = st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2200, 1, 1))
members = st.one_of(st.integers(-(1 << 70), 1 << 70), st.text(max_size=3), st.binary(max_size=3), st.none(), times)
values = st.recursive(
    st.one_of(scalars, times, st.sets(members, max_size=4), st.sets(st.frozensets(members, max_size=2), max_size=2)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=4), inner, max_size=4)),
    max_leaves=12,
)


def same(stored: object, read: object) -> bool:
    """Equal, of the same kind, all the way down. Datetimes to the millisecond; frozensets come back as sets but inside sets."""
    if isinstance(stored, datetime.datetime):
        return isinstance(read, datetime.datetime) and datetime.timedelta() <= stored - read < datetime.timedelta(
            milliseconds=1
        )
    if isinstance(stored, float):
        return type(read) is float and (stored == read or (math.isnan(stored) and math.isnan(read)))
    if isinstance(stored, bytes):
        return isinstance(read, Buffer) and stored == read
    if isinstance(stored, list):
        return type(read) is JsList and len(stored) == len(read) and all(map(same, stored, read))
    if isinstance(stored, dict):
        return (
            type(read) is JsDict and list(stored) == list(read) and all(same(stored[key], read[key]) for key in stored)
        )
    if isinstance(stored, set):
        plain = {
            each.replace(microsecond=each.microsecond // 1000 * 1000) if isinstance(each, datetime.datetime) else each
            for each in stored
        }
        if any(isinstance(each, frozenset) for each in stored):
            return type(read) is set and len(read) == len(stored)
        return type(read) is set and plain == read
    return type(stored) is type(read) and stored == read


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(values)
def test_what_is_stored_is_what_is_read(value) -> None:
    """Through the cache, through the bytes of the table, and over a call."""
    entry = encode("k", value, LIMITS)
    assert same(value, value_of(entry))
    assert same(value, unpack(pack(value)))
    from perdure.engine.entries import data_of

    assert same(value, value_of(decode(data_of(entry))))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.lists(values, max_size=8))
def test_what_an_object_stores_it_reads_later(tmp_path_factory, stored) -> None:
    async def write(ctx):
        for number, value in enumerate(stored):
            ctx.storage.put(f"{number}", value)

    async def read(ctx):
        found = await ctx.storage.list()
        for number, value in enumerate(stored):
            assert same(value, await ctx.storage.get(f"{number}"))
            assert same(value, found[f"{number}"])

    async def run():
        folder = tmp_path_factory.mktemp("box")
        for script in (write, read, read):
            async with Box.on(folder) as box:  # a new resident each time: nothing is cached
                await box.do(script)

    asyncio.run(run())


class Shade(enum.IntEnum):
    RED = 1


class Words(str):
    __slots__ = ()


SPECIAL = {
    "memoryview": (memoryview(b"abcd")[1:3], b"bc"),
    "buffer": (Buffer(b"ab"), b"ab"),
    "frozenset": (frozenset({1}), {1}),
    "set-of-frozensets": ({frozenset({1, 2}), 3}, {frozenset({1, 2}), 3}),
    "big-ints-in-sets": ({1 << 70, -(1 << 80)}, {1 << 70, -(1 << 80)}),
    "big-ints-deep": (
        {"a": [{"b": {1 << 65}}], "c": JsDict(d=1 << 66)},
        {"a": [{"b": {1 << 65}}], "c": {"d": 1 << 66}},
    ),
    "big-int-of-5000-digits": (10**5000, 10**5000),
    "dict-subclass": (JsDict(a=JsList([1])), {"a": [1]}),
    "int-enum": (Shade.RED, 1),
    "str-subclass": (Words("w"), "w"),
    "bool-stays-bool": ([True, False], [True, False]),
    "int-keys": (
        {1: "a", None: "b", False: "c", 2.0: "d", 1 << 70: "e"},
        {"1": "a", "false": "c", "null": "b", "2": "d", str(1 << 70): "e"},
    ),
    "undefined-inside": ([UNDEFINED, {"a": UNDEFINED}], [None, {"a": None}]),
    "bytes-inside": ({"a": [b"x", {b"y"}]}, {"a": [b"x", {b"y"}]}),
    "first-day": (datetime.datetime(1, 1, 2), datetime.datetime(1, 1, 2)),
    "last-moment": (datetime.datetime.max, datetime.datetime(9999, 12, 31, 23, 59, 59, 999000)),
}


@pytest.mark.parametrize("name", SPECIAL)
def test_edge_34_special_values(name: str) -> None:
    stored, read = SPECIAL[name]
    assert unpack(pack(stored)) == read
    assert value_of(encode("k", stored, LIMITS)) == read


def test_bool_and_number_kinds_survive() -> None:
    found = unpack(pack([True, 1, 1.0]))
    assert [type(value) for value in found] == [bool, int, float]


def test_bytes_offer_both_styles() -> None:
    found = unpack(pack([b"abc"]))[0]
    assert found == b"abc" == memoryview(found)
    assert [found.byteLength, found.to_bytes(), found.tobytes(), bytes(found.to_memoryview())] == [3, *[b"abc"] * 3]
    assert found.slice(1) == b"bc"
    assert type(unpack(pack({"k": b"x"}))["k"]) is Buffer
    assert type(unpack(pack(b"x"))) is Buffer


def test_an_aware_time_is_the_same_moment() -> None:
    zone = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
    stored = datetime.datetime(2026, 5, 6, 7, 8, 9, 123999, tzinfo=zone)
    read = unpack(pack(stored))
    assert read.tzinfo is None
    assert datetime.timedelta() <= stored - read.astimezone(UTC) < datetime.timedelta(milliseconds=1)


def test_errors_are_stored() -> None:
    read = unpack(pack([ValueError("why"), PerdureError("x", name="RangeError", retryable=True)]))
    assert isinstance(read[0], Exception)
    assert str(read[0]) == "Error: why"
    assert read[1].name == "RangeError"
    assert read[1].retryable


async def coroutine_function():
    pass


class Awaitable:
    def __await__(self):
        yield


REFUSED = {
    "tuple": ((1, 2), TypeError, "<class 'tuple'> cannot be sent over RPC"),
    "tuple-in-list": ([(1, 2, 3)], TypeError, "<class 'tuple'> cannot be sent over RPC"),
    "tuple-in-dict": ({"t": (1, 2)}, TypeError, "<class 'tuple'> cannot be sent over RPC"),
    "tuple-in-set": ({(1, 2)}, TypeError, "<class 'tuple'> cannot be sent over RPC"),
    "tuple-beside-big-int": ([1 << 70, (1,)], TypeError, "<class 'tuple'> cannot be sent over RPC"),
    "bytearray": (bytearray(b"x"), TypeError, "<class 'bytearray'> cannot be sent over RPC"),
    "bytearray-nested": ({"a": [bytearray(b"x")]}, TypeError, "<class 'bytearray'> cannot be sent over RPC"),
    "awaitable": (Awaitable(), TypeError, "Awaitable .* cannot be sent over RPC"),
    "regexp": (re.compile("x"), TypeError, "RegExp cannot be sent over RPC"),
    "complex": (1j, DataCloneError, 'DataCloneError: Could not serialize object of type "complex"'),
    "range": (range(3), DataCloneError, 'DataCloneError: Could not serialize object of type "range"'),
    "custom": (threading.Lock(), DataCloneError, 'DataCloneError: Could not serialize object of type "lock"'),
    "function": (coroutine_function, DataCloneError, 'Could not serialize object of type "function"'),
    "date": (datetime.date(2026, 1, 1), DataCloneError, 'Could not serialize object of type "date"'),
    "itself": ("cycle", DataCloneError, "nested too deeply or contains itself"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_edge_33_refused_before_anything_is_stored(tmp_path, name: str) -> None:
    value, kind, text = REFUSED[name]
    if name == "itself":
        value = []
        value.append(value)

    async def script(ctx):
        s = ctx.storage
        for attempt in (
            lambda: s.put("k", value),
            lambda: s.put({"a": 1, "k": value}),
            lambda: s.put({"k": value, "a": 1}),
            lambda: s.kv.put("k", value),
        ):
            with pytest.raises(kind, match=text):
                attempt()
        return len(await s.list())

    async def run():
        async with Box.on(tmp_path) as box:
            assert await box.do(script) == 0

    asyncio.run(run())


def test_undefined_is_no_value() -> None:
    assert not UNDEFINED
    assert repr(UNDEFINED) == "undefined"
    with pytest.raises(InvalidArgument, match="undefined value"):
        encode("k", UNDEFINED, LIMITS)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x93\x01", b"\xc7\x01\x09x", b"\x81\xa1", b"\xd4\x03z"])
def test_malformed_bytes_are_a_typed_error(data: bytes) -> None:
    with pytest.raises(DataCloneError):
        unpack(data)
