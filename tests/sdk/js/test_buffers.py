"""Buffers, typed arrays and views; encodings."""

from __future__ import annotations

import pytest
from perdure.engine.values import Buffer, pack, unpack
from perdure.sdk import js
from perdure.sdk.pyodide.ffi import JsBuffer, JsException, JsProxy, JsTypedArray, to_js


def test_views_of_one_buffer_see_each_other():
    buffer = js.ArrayBuffer.new(8)
    small, large = js.Uint8Array.new(buffer, 2, 4), js.Uint16Array.new(buffer)
    small.set([1, 2, 3])
    assert list(large) == [0, 0x0201, 3, 0]
    assert small.byteOffset == 2
    assert small.buffer is buffer
    part = small.subarray(1, 3)
    part[0] = 9
    assert list(small) == [1, 9, 3, 0]
    copy = small.slice(1, 3)
    copy[0] = 7
    assert list(small) == [1, 9, 3, 0]
    assert [small.length, small.byteLength, len(large), large.BYTES_PER_ELEMENT] == [4, 4, 4, 2]


@pytest.mark.parametrize(
    ("kind", "given", "kept"),
    [
        (js.Uint8Array, [1, 256, -1, 3.9, "4", None], [1, 0, 255, 3, 4, 0]),
        (js.Int8Array, [127, 128, -129], [127, -128, 127]),
        (js.Uint8ClampedArray, [300, -5, 2.6], [255, 0, 3]),
        (js.Int16Array, [40_000], [-25_536]),
        (js.Uint32Array, [-1], [4_294_967_295]),
        (js.Int32Array, [2**31], [-(2**31)]),
        (js.Float32Array, [1.5, "x"], [1.5, pytest.approx(float("nan"), nan_ok=True)]),
        (js.Float64Array, [0.1], [0.1]),
    ],
)
def test_numbers_are_wrapped_as_in_javascript(kind, given, kept):
    assert list(kind.new(given)) == kept
    assert list(kind.of(*given)) == kept


def test_from_bytes_and_back():
    data = js.Uint8Array.new(b"abc")
    assert bytes(data) == data.to_bytes() == b"abc"
    assert bytes(data.to_py()) == b"abc"
    assert data.to_memoryview().tolist() == [97, 98, 99]
    assert data.to_string() == "abc"
    assert js.Uint8Array.new(Buffer(b"xy")).to_bytes() == b"xy"
    assert js.Uint8Array.new(memoryview(b"xy")).to_bytes() == b"xy"
    assert js.Uint8Array.new(js.Uint16Array.of(1, 2)) == js.Uint8Array.of(1, 2)
    target = js.Uint8Array.new(3)
    target.assign(b"123")
    assert target.to_bytes() == b"123"
    with pytest.raises(ValueError, match="4 bytes"):
        target.assign(b"1234")
    into = bytearray(3)
    target.assign_to(into)
    assert into == b"123"
    assert data[1] == 98
    assert data[-1] == 99
    assert data[0:2] == js.Uint8Array.of(97, 98)
    assert data == b"abc"


def test_out_of_range():
    with pytest.raises(JsException, match="RangeError"):
        js.Uint16Array.new(js.ArrayBuffer.new(3))
    with pytest.raises(JsException, match="RangeError"):
        js.Uint16Array.new(js.ArrayBuffer.new(4), 1)
    with pytest.raises(JsException, match="RangeError"):
        js.Uint8Array.new(2).set([1, 2, 3])
    with pytest.raises(JsException, match="RangeError"):
        js.ArrayBuffer.new(-1)
    with pytest.raises(JsException, match="outside the bounds"):
        js.DataView.new(js.ArrayBuffer.new(3)).getUint32(0)
    with pytest.raises(IndexError):
        js.Uint8Array.new(2)[2]


def test_a_view_of_any_number():
    view = js.DataView.new(js.ArrayBuffer.new(8))
    view.setUint16(0, 0x0102)
    view.setUint16(2, 0x0102, True)
    view.setInt8(4, -1)
    assert view.buffer.to_bytes()[:5] == b"\x01\x02\x02\x01\xff"
    assert [view.getUint16(2), view.getUint8(4), view.getInt8(4)] == [0x0201, 255, -1]
    view.setFloat64(0, 1.5)
    assert view.getFloat64(0) == 1.5
    assert js.ArrayBuffer.isView(view)
    assert not js.ArrayBuffer.isView(view.buffer)


@pytest.mark.parametrize(
    "value",
    [js.ArrayBuffer.new(2), js.Uint8Array.of(0, 0), js.DataView.new(js.ArrayBuffer.new(2)), js.Uint16Array.of(0)],
)
def test_buffers_travel_as_bytes(value):
    assert unpack(pack(value)) == b"\0\0"
    assert unpack(pack({"a": [value]})) == {"a": [b"\0\0"]}
    assert isinstance(value, JsBuffer)
    assert isinstance(value, JsProxy)
    assert isinstance(value, JsTypedArray) == (type(value) in (js.Uint8Array, js.Uint16Array))


def test_what_calls_return_is_a_buffer_too():
    assert isinstance(Buffer(b"x"), JsBuffer)
    assert isinstance(to_js(Buffer(b"x")), JsProxy)


def test_texts_as_bytes():
    assert js.TextEncoder.new().encode("é").to_bytes() == "é".encode()
    assert js.TextEncoder.new().encode("\ud800").to_bytes() == "\ufffd".encode()
    room = js.Uint8Array.new(3)
    assert js.TextEncoder.new().encodeInto("aéé", room) == {"read": 2, "written": 3}
    decoder = js.TextDecoder.new("utf-8")
    assert decoder.decode(js.Uint8Array.of(0xC3), stream=True) == ""
    assert decoder.decode(js.Uint8Array.of(0xA9)) == "é"
    assert decoder.decode(b"\xef\xbb\xbfa\xff") == "a\ufffd"
    assert js.TextDecoder.new("utf-8", ignoreBOM=True).decode(b"\xef\xbb\xbfa") == "\ufeffa"
    assert js.TextDecoder.new("latin1").encoding == "windows-1252"
    with pytest.raises(JsException, match="TypeError"):
        js.TextDecoder.new("utf-8", {"fatal": True}).decode(b"\xff")
    with pytest.raises(JsException, match="RangeError"):
        js.TextDecoder.new("no-such")


def test_base64():
    assert js.btoa("aÿ") == "Yf8="
    assert js.atob("Yf8=") == js.atob(" Yf8 ") == "aÿ"
    for bad in ("Y", "a=b=", "é"):
        with pytest.raises(JsException, match="InvalidCharacterError"):
            js.atob(bad)
    with pytest.raises(JsException, match="InvalidCharacterError"):
        js.btoa("€")
