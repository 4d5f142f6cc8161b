"""workers.Request, fetch, FormData, Blob, File."""

import http.client
from http import HTTPMethod

import js
from pyodide.ffi import JsProxy, to_js
from workers import Blob, File, FormData, Request, Response, fetch


async def check_members(env, ctx):
    request = Request("https://test.com", method=HTTPMethod.POST, body="{}", headers={"A": "b"}, redirect="manual")
    assert repr(request) == "Request(method='POST', url='https://test.com/')"
    assert request.url == "https://test.com/"
    assert request.method == HTTPMethod.POST
    assert request.method == "POST"
    assert isinstance(request.headers, http.client.HTTPMessage)
    assert "a" in request.headers
    assert request.headers.get("A") == "b"
    assert request.body is not None
    assert request.body_used is False
    assert request.cf is None
    assert request.redirect == "manual"
    assert request.referrer in ("", "about:client")
    assert request.keepalive is False
    assert request.js_object.method == "POST"
    for name in (
        "cache",
        "credentials",
        "destination",
        "integrity",
        "is_history_navigation",
        "mode",
        "referrer_policy",
    ):
        getattr(request, name)
    copy = request.clone()
    assert await request.json() == {}
    assert request.body_used is True
    assert (await copy.buffer()).byteLength == 2
    try:
        request.clone()
    except OSError as error:
        assert "Body already used" in str(error)
    else:
        raise AssertionError("cloned after use")


async def check_input(env, ctx):
    made = js.Request.new(
        "https://a.test/x", method="PUT", headers=to_js({"h": "1"}, dict_converter=js.Object.fromEntries)
    )
    request = Request(made)
    assert (request.method, request.headers["h"]) == ("PUT", "1")
    try:
        Request(made, method="GET")
    except ValueError:
        pass
    else:
        raise AssertionError("options beside a request of JavaScript")
    again = Request(request, headers={"h": "2"})
    assert (again.method, again.headers["h"]) == ("PUT", "2")
    assert await Request("https://a.test", method="POST", body=b"raw").bytes() == b"raw"
    assert await (await Request("https://a.test", method="POST", body="foobar").blob()).text() == "foobar"
    odd = Request("https://a.test", method="POST", body="[1.50]")
    assert await odd.json(parse_float=str) == ["1.50"]


async def check_cf(env, ctx):
    of_js = js.Request.new(
        "https://test.com", to_js({"cf": {"colo": "DFW", "country": "US"}}, dict_converter=js.Object.fromEntries)
    )
    cf = Request(of_js).cf
    assert isinstance(cf, JsProxy)
    assert (cf.colo, cf.country) == ("DFW", "US")


async def check_headers(env, ctx):
    headers = js.Headers.new()
    headers.append("Accept-encoding", "deflate")
    headers.append("Accept-encoding", "gzip")
    headers.append("Set-Cookie", "a=b, c=d")
    headers.append("Set-Cookie", "e=f")
    headers.set("User-Agent", "Example, Agent/1.0")
    request = Request("http://example.com", headers=headers)
    assert request.headers.get_all("Accept-encoding") == ["deflate, gzip"]
    assert request.headers.get_all("Set-Cookie") == ["a=b, c=d", "e=f"]
    assert request.headers.get_all("User-Agent") == ["Example, Agent/1.0"]
    pairs = Request("http://example.com", headers=[("Set-Cookie", "s=1"), ("Set-Cookie", "t=2"), ("X", " v ")])
    assert pairs.headers.get_all("Set-Cookie") == ["s=1", "t=2"]
    assert pairs.headers["x"] == "v"
    assert list(headers.getSetCookie()) == ["a=b, c=d", "e=f"]
    assert headers.has("user-agent")
    assert [pair[0] for pair in headers].count("set-cookie") == 2
    assert dict(js.Headers.new(to_js([["a", "1"]]))) == {"a": "1"}


async def check_fetch(env, ctx):
    try:
        await fetch("https://api.test/", {"headers": {}})
    except TypeError as error:
        assert str(error) == "fetch() takes 1 positional argument but 2 were given"
    answer = await fetch("http://x.test/echo", fetcher=env.SELF.fetch, method="POST", body="to self")
    assert isinstance(answer, Response)
    assert await answer.text() == "to self"
    answer = await env.SELF.fetch("http://x.test/echo", method="PUT", body="kw")
    assert (answer.headers["x-method"], await answer.text()) == ("PUT", "kw")
    answer = await env.SELF.fetch(Request("http://x.test/echo", method="POST", body="of a request"))
    assert await answer.text() == "of a request"
    answer = await fetch("https://api.test/x", cf={"cacheTtl": 5}, redirect="manual", foobarbaz=42)
    assert answer.status == 200
    answer = await js.fetch("https://api.test/x", to_js({"method": "POST"}, dict_converter=js.Object.fromEntries))
    assert answer.status == 200
    try:
        await fetch("https://down.test/")
    except OSError:
        pass
    else:
        raise AssertionError("nobody is there")


async def check_form(env, ctx):
    old = js.FormData.new()
    old.append("foobar", 123)
    old.append("key", "lorem ipsum")
    old.append("key", "dolor sit amet")
    form = FormData(old)
    assert form["foobar"] == "123"
    assert form.get_all("key") == ["lorem ipsum", "dolor sit amet"]
    assert form["missing"] is None
    assert len(list(FormData(None).keys())) == 0
    form.append("file", File(["x"], "a.txt"))
    assert form["file"].name == "a.txt"
    request = Request("http://example.com", body=old, method="POST")
    assert (await request.form_data())["foobar"] == "123"
    del form["key"]
    assert "key" not in form


async def check_blob(env, ctx):
    blob = Blob(["some ", b"string"], content_type="text/x", endings="transparent")
    assert (blob.size, blob.content_type) == (11, "text/x")
    assert await blob.slice(0, 4, "a/b").text() == "some"
    assert blob.slice(0, 4, "a/b").content_type == "a/b"
    assert await blob.bytes() == b"some string"
    assert blob.js_object.type == "text/x"
    file = File("my file", filename="test.txt", content_type="text/plain", last_modified=1000)
    assert (file.name, file.content_type, file.last_modified) == ("test.txt", "text/plain", 1000)
    assert js.File.new(to_js(["x"]), "f.txt").name == "f.txt"
