"""The module `js`."""

import asyncio

import js
from pyodide.ffi import JsException, create_once_callable, to_js


def js_object(value):
    return to_js(value, dict_converter=js.Object.fromEntries)


async def check_objects(env, ctx):
    made = js.Object.fromEntries(to_js([["a", 1], ["b", 2]]))
    assert made.a == 1
    assert list(js.Object.keys(made)) == ["a", "b"]
    assert list(js.Object.values(made)) == [1, 2]
    assert [list(pair) for pair in js.Object.entries(made)] == [["a", 1], ["b", 2]]
    made.c = 3
    assert made.c == 3
    assert js.Object.fromEntries({"x": "y"}.items()).x == "y"
    both = js.Object.assign(js.Object.new(), made)
    assert both.b == 2
    assert made.to_py() == {"a": 1, "b": 2, "c": 3}
    assert list(made.object_keys()) == ["a", "b", "c"]
    assert list(made.object_values()) == [1, 2, 3]
    assert [tuple(pair) for pair in made.object_entries()] == [("a", 1), ("b", 2), ("c", 3)]
    assert made.as_object_map()["a"] == 1
    assert hasattr(made, "a")
    assert not hasattr(made, "nothing")


async def check_json(env, ctx):
    assert js.JSON.stringify(js_object({"a": [1, None, True]})) == '{"a":[1,null,true]}'
    assert js.JSON.parse('{"a": {"b": [1]}}').a.b[0] == 1
    assert js.JSON.stringify(to_js([1, 2])) == "[1,2]"


async def check_arrays(env, ctx):
    array = js.Array.new()
    array.push(1)
    array.push("two")
    assert len(array) == 2
    assert array[1] == "two"
    assert js.Array.of(1, 2).to_py() == [1, 2]
    assert getattr(js.Array, "from")(to_js([1, 2])).to_py() == [1, 2]
    assert js.Array.isArray(array)
    numbers = to_js([3, 1, 2])
    assert list(numbers.slice(1)) == [1, 2]
    assert numbers.length == 3
    assert numbers.to_py() == [3, 1, 2]
    assert numbers.includes(3)
    assert numbers.join("-") == "3-1-2"


async def check_collections(env, ctx):
    found = js.Map.new(to_js([["a", 1], ["b", 2]]))
    assert found.get("a") == 1
    assert found.size == 2
    found.set("c", 3)
    assert found.has("c")
    assert found.to_py() == {"a": 1, "b": 2, "c": 3}
    things = js.Set.new(to_js([1, 2, 2]))
    assert things.size == 2
    assert things.has(2)
    assert things.to_py() == {1, 2}
    assert js.Number.new("1234").valueOf() == js.Number.new("1234").to_py() == 1234
    assert js.Number("7") == 7
    assert js.RegExp.new("ab+c", "i").test("xABBC")


async def check_dates(env, ctx):
    date = js.Date.new(1000)
    assert date.getTime() == 1000
    assert date.toISOString() == "1970-01-01T00:00:01.000Z"
    assert js.Date.now() + 100 > js.Date.now()
    assert js.Date.new("2026-01-01T00:00:00Z").valueOf() == 1767225600000


async def check_errors(env, ctx):
    error = js.Error.new("message")
    assert error.message == "message"
    assert error.name == "Error"
    try:
        js.JSON.parse("{")
    except JsException as caught:
        assert caught.name == "SyntaxError"
        assert isinstance(caught.message, str)
    else:
        raise AssertionError("not JSON")
    js.Error.stackTraceLimit = 50


async def check_buffers(env, ctx):
    buffer = js.ArrayBuffer.new(8)
    view = js.DataView.new(buffer)
    view.setInt16(0, 258)
    octets = js.Uint8Array.new(buffer)
    assert (octets[0], octets[1], octets.length, octets.byteLength) == (1, 2, 8, 8)
    assert js.Int16Array.of("10", "24").to_py().tolist() == [10, 24]
    assert js.Uint8Array.new(to_js(b"abc")).to_bytes() == b"abc"
    assert bytes(js.Uint8Array.new(to_js(b"abc")).to_memoryview()) == b"abc"
    assert octets.buffer.byteLength == 8
    assert octets.slice(0, 2).to_bytes() == b"\1\2"
    assert js.Uint8Array.new(4).length == 4
    kinds = [js.Uint8ClampedArray, js.Int8Array, js.Uint16Array, js.Int32Array, js.Uint32Array, js.Float32Array]
    for kind in [*kinds, js.Float64Array]:
        assert list(kind.of(1, 2)) == [1, 2]
    text = js.TextDecoder.new().decode(js.TextEncoder.new().encode("é"))
    assert text == "é"


async def check_urls(env, ctx):
    url = js.URL.new("/b?x=1&x=2#h", "https://user@a.test:8443/a")
    assert url.href == "https://user@a.test:8443/b?x=1&x=2#h"
    assert (url.protocol, url.host, url.port, url.search, url.hash) == (
        "https:",
        "a.test:8443",
        "8443",
        "?x=1&x=2",
        "#h",
    )
    assert list(url.searchParams.getAll("x")) == ["1", "2"]
    assert url.searchParams.get("none") is None or str(url.searchParams.get("none")) == "jsnull"
    params = js.URLSearchParams.new(js_object({"a": "1"}))
    params.append("b", "2 3")
    assert params.toString() == "a=1&b=2+3"


async def check_tasks(env, ctx):
    seen = []
    js.queueMicrotask(create_once_callable(lambda: seen.append("microtask")))
    js.setTimeout(create_once_callable(lambda: seen.append("timeout")), 5)
    stopped = js.setTimeout(create_once_callable(lambda: seen.append("never")), 5)
    js.clearTimeout(stopped)
    await asyncio.sleep(0.05)
    assert seen == ["microtask", "timeout"], seen
    assert js.undefined is None or js.undefined is not None


async def check_console_math_crypto(env, ctx):
    js.console.log("log", 1)
    js.console.error("error")
    js.console.warn("warn")
    js.console.info(js_object({"a": 1}))
    assert js.Math.floor(1.7) == 1
    assert 0 <= js.Math.random() < 1
    assert js.Math.max(1, 3) == 3
    assert len(js.crypto.randomUUID()) == 36
    random = js.crypto.getRandomValues(js.Uint8Array.new(8))
    assert random.length == 8
    digest = await js.crypto.subtle.digest("SHA-256", js.TextEncoder.new().encode("abc"))
    assert digest.to_bytes().hex().startswith("ba7816bf")
    try:
        js.eval("1 + 1")
    except Exception:
        pass
    else:
        raise AssertionError("there is no JavaScript here")


async def check_bodies(env, ctx):
    request = js.Request.new("https://a.test/", js_object({"method": "POST", "body": "x", "headers": {"a": "b"}}))
    assert (request.method, await request.text()) == ("POST", "x")
    response = js.Response.new("x", js_object({"status": 201, "headers": {"a": "b"}}))
    assert (response.status, response.headers.get("a"), response.ok) == (201, "b", True)
    assert (await js.Response.json(js_object({"a": 1})).json()).a == 1
    assert js.Response.redirect("https://a.test/", 301).status == 301
    blob = js.Blob.new(to_js(["a", "b"]), js_object({"type": "x/y"}))
    assert (blob.size, blob.type, await blob.text()) == (2, "x/y", "ab")
    stream = js.ReadableStream.new(js_object({"start": lambda controller: controller.close()}))
    assert (await stream.getReader().read()).done
    transform = js.TransformStream.new()
    assert transform.readable is not None
    assert transform.writable is not None


async def check_promises(env, ctx):
    seen = []
    await js.Response.new("text").text().then(lambda text: seen.append(text))
    failing = js.fetch("https://down.test/")
    await failing.catch(lambda error: seen.append("caught"))
    assert seen == ["text", "caught"]
    assert await js.Promise.resolve(7) == 7
