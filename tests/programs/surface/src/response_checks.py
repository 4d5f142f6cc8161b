"""workers.Response."""

import http.client
from http import HTTPStatus

import js
from pyodide.ffi import to_js
from workers import Blob, FetchResponse, FormData, Response


def raises(kind, phrase, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except kind as error:
        assert phrase in str(error), str(error)
    else:
        raise AssertionError(f"no {kind.__name__}")


class Plain:
    pass


async def check_bodies(env, ctx):
    assert await Response("text").text() == "text"
    assert await Response(b"bytes").text() == "bytes"
    assert Response(None, status=204).body is None
    form = await Response(FormData({"a": "b"})).form_data()
    assert form["a"] == "b"
    assert await Response(js.Blob.new(to_js(["of js"]))).text() == "of js"
    assert await Response(js.URLSearchParams.new("a=1&b=2")).text() == "a=1&b=2"
    assert await Response(js.Response.new("x").body).text() == "x"
    assert await Response(js.Response.new("y", status=201)).text() == "y"
    raises(TypeError, "Unsupported type in Response: Plain", Response, Plain())


async def check_buffers(env, ctx):
    eight = js.Uint8Array.new(to_js([1, 2, 3, 4, 5, 6, 7, 8]))
    bodies = [
        eight,
        eight.buffer,
        js.DataView.new(eight.buffer),
        js.Uint8ClampedArray.new(to_js([1, 2, 3, 4])),
        js.Int8Array.new(to_js([1, -1, 2, -2])),
        js.Uint16Array.new(to_js([1, 2])),
        js.Int16Array.new(to_js([1, -2])),
        js.Uint32Array.new(to_js([1, 2])),
        js.Int32Array.new(to_js([1, -2])),
        js.Float32Array.new(to_js([1.5, -2.5])),
        js.Float64Array.new(to_js([1.5])),
        eight.subarray(1),
    ]
    for body in bodies:
        length = int(body.byteLength)
        buffer = await Response(body).buffer()
        assert int(buffer.byteLength) == length, body


async def check_options(env, ctx):
    raises(ValueError, "Expected no options when constructing Response", Response, js.Response.new("x"), status=201)
    raises(TypeError, "Received unexpected type for headers argument", Response, "x", headers=42)
    response = Response("x", HTTPStatus.CREATED, "Made", {"X-Number": 123, "X-Bool": True})
    assert (response.status, response.status_text) == (201, "Made")
    assert response.headers["x-number"] == "123"
    assert response.headers["X-Bool"] == "true"
    assert isinstance(response.headers, http.client.HTTPMessage)
    assert response.headers.get("content-type") == "text/plain;charset=UTF-8"
    assert Response(b"x").headers.get("content-type") is None
    pairs = Response("x", headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("x", "1"), ("x", "2")])
    assert pairs.headers.get_all("set-cookie") == ["a=1", "b=2"]
    assert pairs.headers["x"] == "1, 2"
    headers = js.Headers.new()
    headers.append("x-of-js", "yes")
    assert Response("x", headers=headers).headers["x-of-js"] == "yes"


async def check_members(env, ctx):
    response = Response('{"n": [1, 2]}', headers={"Content-Type": "application/json"})
    assert isinstance(response, FetchResponse)
    assert response.ok is True
    assert response.url == ""
    assert response.type == "default"
    assert response.redirected is False
    assert response.body_used is False
    assert response.js_object is not None
    assert response.js_response is not None
    copy = response.clone()
    assert await response.json() == {"n": [1, 2]}
    assert response.body_used is True
    assert await copy.bytes() == b'{"n": [1, 2]}'
    try:
        await response.text()
    except OSError as error:
        assert "Body already used" in str(error)
    else:
        raise AssertionError("read twice")
    view = await Response(b"view").memoryview()
    assert bytes(view) == b"view"
    blob = await Response("blob", headers={"Content-Type": "a/b"}).blob()
    assert isinstance(blob, Blob)
    assert await blob.text() == "blob"
    other = Response("a", status=201, status_text="Created", headers={"x": "1"}).replace_body("b")
    assert (other.status, other.status_text, other.headers["x"], await other.text()) == (201, "Created", "1", "b")
    Response("fine").raise_for_status()
    raises(Exception, "404", Response("gone", status=404).raise_for_status)


async def check_archive(env, ctx):
    import io
    import os
    import tempfile
    import zipfile

    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("inside.txt", "kept")
    with tempfile.TemporaryDirectory() as folder:
        await Response(made.getvalue()).unpack_archive(extract_dir=folder, format="zip")
        with open(os.path.join(folder, "inside.txt")) as file:
            assert file.read() == "kept"


async def check_static(env, ctx):
    moved = Response.redirect("https://example.com/x")
    assert (moved.status, moved.headers["location"]) == (302, "https://example.com/x")
    assert Response.redirect("https://example.com/x", HTTPStatus.PERMANENT_REDIRECT).status == 308
    raises(ValueError, "", Response.redirect, "", HTTPStatus.BAD_GATEWAY)
    raises(ValueError, "", Response.redirect, "https://example.com", 200)
    assert await Response.json({"obj": {"field": 123}}, status=404).text() == '{"obj": {"field": 123}}'
    assert await Response.from_json("test").text() == '"test"'
    assert Response.json(1, headers={"Content-Type": "42"}).headers["content-type"] == "42"
    assert Response.json(1, headers={"content-TYPE": "43"}).headers["content-type"] == "43"
    assert Response.json(1, headers={"x": "42"}).headers["content-type"] == "application/json"
    assert Response.from_json([], 201, "Made", [("x", "y")]).status_text == "Made"
    raises(TypeError, "Object of type Plain is not JSON serializable", Response.json, Plain())
    raises(TypeError, "Object of type set is not JSON serializable", Response.json, {1})


async def check_repr(env, ctx):
    assert repr(Response.json([])) == "Response(status=200, status_text='OK', content_type='application/json')"
