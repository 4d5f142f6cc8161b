"""`to_js`, proxies of Python values, and what they answer."""

from __future__ import annotations

import array
import datetime

import pytest
from perdure.engine.values import pack, unpack
from perdure.sdk import js
from perdure.sdk.pyodide.ffi import (
    ConversionError,
    JsArray,
    JsCallable,
    JsDoubleProxy,
    JsIterable,
    JsMap,
    JsProxy,
    create_once_callable,
    create_proxy,
    destroy_proxies,
    to_js,
)


@pytest.mark.parametrize("value", [None, True, 3, 1.5, "text", js.undefined])
def test_simple_values_stay(value):
    assert to_js(value) is value


def test_containers():
    made = to_js({"a": [1, (2, 3)], "s": {1}, "b": b"xy", 5: None})
    assert isinstance(made, JsMap)
    assert isinstance(made.get("a"), JsArray)
    assert made.get("a") == [1, [2, 3]]
    assert isinstance(made.get("s"), js.Set)
    assert isinstance(made.get("b"), js.Uint8Array)
    assert made.to_py() == {"a": [1, [2, 3]], "s": {1}, "b": b"xy", 5: None}


def test_the_converter_of_dicts():
    made = to_js({"a": {"b": [{"c": 1}]}}, dict_converter=js.Object.fromEntries)
    assert made.a.b[0].c == 1
    assert isinstance(made.a.b[0], JsProxy)
    assert isinstance(made, dict)
    assert made.to_py() == {"a": {"b": [{"c": 1}]}}


def test_buffers_keep_their_kind():
    assert isinstance(to_js(array.array("f", [1.5])), js.Float32Array)
    assert to_js(array.array("h", [-2]))[0] == -2
    assert isinstance(to_js(bytearray(b"x")), js.Uint8Array)


def test_depth_and_what_is_shared():
    inner = [1]
    made = to_js([inner, inner])
    assert made[0] is made[1]
    circle: list[object] = []
    circle.append(circle)
    around = to_js(circle)
    assert around[0] is around
    assert to_js([[1]], depth=1)[0] == [1]
    assert type(to_js([[1]], depth=1)[0]) is list


def test_what_has_no_counterpart():
    when = datetime.datetime(2026, 1, 1)
    assert to_js({"when": when}).get("when") is when
    proxies: list[object] = []
    to_js([object(), len], pyproxies=proxies)
    assert [type(proxy) for proxy in proxies] == [JsDoubleProxy, JsDoubleProxy]
    destroy_proxies(proxies)
    with pytest.raises(ConversionError):
        to_js([object()], create_pyproxies=False)
    made = to_js([when], default_converter=lambda value, convert, cache: convert([value.year]))
    assert made == [[2026]]


def test_what_is_converted_travels():
    value = {"messages": [{"role": "user", "n": 1}], "data": b"x"}
    assert unpack(pack(to_js(value))) == value
    assert unpack(pack(to_js(value, dict_converter=js.Object.fromEntries))) == value


def test_a_proxy_is_used_like_its_value_until_it_is_destroyed():
    calls: list[object] = []
    proxy = create_proxy(calls.append)
    proxy(1)
    copy = proxy.copy()
    proxy.destroy()
    copy(2)
    assert calls == [1, 2]
    with pytest.raises(RuntimeError, match="already been destroyed"):
        proxy(3)
    items = create_proxy([1, 2])
    assert [len(items), items[0], list(items), bool(items)] == [2, 1, [1, 2], True]
    assert items.unwrap() is items.to_py()
    assert isinstance(items, JsProxy)
    assert isinstance(items, JsIterable)
    assert isinstance(copy, JsCallable)
    buffer = create_proxy(b"ab").getBuffer()
    assert buffer.data.to_bytes() == b"ab"
    buffer.release()


def test_a_function_that_can_be_called_once():
    once = create_once_callable(lambda: 5)
    assert once() == 5
    with pytest.raises(RuntimeError, match="already been destroyed"):
        once()


def test_plain_results_are_no_proxies():
    found = unpack(pack({"a": [1]}))
    assert isinstance(found, dict)
    assert not isinstance(found, JsProxy)
    assert found.to_py(depth=2) == {"a": [1]}
    assert found.a.object_entries() == [["0", 1]]


def test_what_arrives_becomes_python_s():
    from perdure.sdk.workers import python_from_rpc, python_to_rpc

    plain = {"a": [1, {"b": {2}}], "c": b"x"}
    assert python_from_rpc(plain) is plain
    found = python_from_rpc(
        to_js(
            {1: [js.Uint8Array.of(1), js.Date.new(0), js.undefined, {"x": (1, 2)}], "s": {3}, "o": js.Object.new(k=1)}
        )
    )
    assert type(found).__name__ == "JsDict"
    data, date, nothing, inner = found["1"]
    assert type(data) is memoryview
    assert isinstance(date, datetime.datetime)
    assert nothing is None
    assert inner.x == [1, 2]
    assert [found.s, found.o.k] == [{3}, 1]
    assert not isinstance(inner, JsProxy)
    circle = js.Array.of(1)
    circle.push(circle)
    around = python_from_rpc(circle)
    assert around[1] is around
    for bad, text in (
        ((1, 2), "tuple"),
        ([{"t": (1,)}], "tuple"),
        (bytearray(b"x"), "bytearray"),
        (js.RegExp.new("a"), "RegExp"),
    ):
        with pytest.raises(TypeError, match=text):
            python_to_rpc(bad)
    made = to_js({"a": 1})
    assert python_to_rpc(made) is made
