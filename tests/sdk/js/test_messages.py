"""Requests and responses in JavaScript's style: views of those of the SDK, promises, and what is thrown."""

from __future__ import annotations

import asyncio

import pytest
from perdure.engine.errors import PerdureError
from perdure.engine.values import Buffer
from perdure.sdk import headers as sdk_headers
from perdure.sdk import js
from perdure.sdk.form_data import FormData
from perdure.sdk.pyodide.ffi import JsException, JsProxy
from perdure.sdk.request import Request
from perdure.sdk.response import Response


def test_both_styles_of_a_message_have_one_body() -> None:
    async def read() -> None:
        request = Request("https://a.test", method="POST", body='{"name": {"first": "ann"}}')
        view = request.js_object
        assert isinstance(view, js.Request)
        assert not isinstance(request, JsProxy)
        assert (await view.json()).name.first == "ann"
        assert request.body_used
        with pytest.raises(OSError, match="Body already used"):
            await request.text()
        response = Response("x")
        assert await response.text() == "x"
        assert response.js_object.bodyUsed

    asyncio.run(read())


def test_both_styles_of_a_message_have_the_same_headers() -> None:
    response = Response("x", headers={"A": "1"})
    assert list(response.headers) == ["A", "content-type"]
    response.js_object.headers.set("B", "2")
    assert response.headers["b"] == "2"
    response.headers["c"] = "3"
    assert response.js_object.headers.get("c") == "3"
    assert [name for name, _ in response.js_object.headers] == ["a", "b", "c", "content-type"]
    assert type(response.headers) is sdk_headers.Headers
    assert response.to_wire().headers == [
        ("A", "1"),
        ("content-type", "text/plain;charset=UTF-8"),
        ("B", "2"),
        ("c", "3"),
    ]


def test_what_reads_a_body_gives_promises() -> None:
    async def read() -> None:
        seen: list[object] = []
        await js.Response.new("text").text().then(seen.append)
        await js.Response.new('{"a": 1}').json().then(lambda found: seen.append(found.a))
        await js.Response.new("{").json().catch(lambda error: seen.append(error.name))
        buffer = await js.Request.new("https://a.test", method="POST", body=b"ab").arrayBuffer()
        assert seen == ["text", 1, "SyntaxError"]
        assert buffer.byteLength == 2
        js.Response.new("nobody waits").text()

    asyncio.run(read())


def test_what_javascript_throws_is_a_js_exception() -> None:
    throwing = {
        "TypeError": [
            lambda: js.URL.new("no url"),
            lambda: js.Request.new("no url"),
            lambda: js.Request.new("https://a.test", method="GET", body="x"),
            lambda: js.Headers.new([["bad name", "x"]]),
        ],
        "RangeError": [lambda: js.Response.new("x", status=99), lambda: js.Response.redirect("https://a.test", 200)],
    }
    for name, calls in throwing.items():
        for call in calls:
            with pytest.raises(JsException) as caught:
                call()
            assert caught.value.name == name
            assert isinstance(caught.value, PerdureError)


def test_no_options_beside_a_request_of_javascript() -> None:
    made = js.Request.new("https://a.test", method="PUT")
    assert Request(made).method == "PUT"
    assert js.Request.new(made, method="POST").method == "POST"
    for of_js in (made, Request("https://a.test").js_object):
        with pytest.raises(ValueError, match="Expected no options"):
            Request(of_js, method="POST")


def test_lists_that_javascript_would_give_are_in_its_style() -> None:
    form = FormData({"a": "1"})
    form.append("a", "2")
    headers = js.Headers.new([["set-cookie", "a=1"]])
    params = js.URLSearchParams.new("a=1&a=2")
    for found, plain in (
        (form.getAll("a"), ["1", "2"]),
        (headers.getSetCookie(), ["a=1"]),
        (params.getAll("a"), ["1", "2"]),
    ):
        assert found.to_py() == plain
        assert found.length == len(plain)


def test_number_objects() -> None:
    whole, broken = js.Number.new("1234"), js.Number.new("1.5")
    assert whole.valueOf() == whole.to_py() == whole == 1234
    assert broken.valueOf() == broken.to_py() == broken == 1.5
    assert (whole.toString(), broken.toString()) == ("1234", "1.5")


def test_buffers_pass_for_memoryviews_and_for_bytes() -> None:
    buffer = Buffer(b"abcd")
    assert isinstance(buffer, memoryview)
    assert isinstance(buffer, bytes)
    assert not isinstance(buffer, JsProxy)
    assert (buffer.nbytes, buffer.itemsize, buffer.format, buffer.shape, buffer.readonly) == (4, 1, "B", (4,), True)
    assert buffer.cast("H").tolist() == memoryview(b"abcd").cast("H").tolist()
    with buffer as held:
        assert held.tobytes() == held.obj == b"abcd"
    buffer.release()
    assert bytes(buffer.toreadonly()) == b"abcd"
