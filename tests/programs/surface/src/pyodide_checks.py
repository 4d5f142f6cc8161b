"""The module `pyodide`."""

import asyncio
import datetime

import js
import pyodide
from pyodide.code import relaxed_call
from pyodide.ffi import (
    JsBuffer,
    JsException,
    JsProxy,
    create_once_callable,
    create_proxy,
    destroy_proxies,
    jsnull,
    run_sync,
    to_js,
)
from pyodide.http import FetchResponse, pyfetch
from pyodide.webloop import WebLoop


async def check_version(env, ctx):
    assert pyodide.__version__ != "0.26.0a2"
    assert pyodide.__version__.startswith("0.28.")
    assert isinstance(asyncio.get_event_loop(), WebLoop)


async def check_to_js(env, ctx):
    nested = to_js({"a": {"b": [1, {"c": 2}]}}, dict_converter=js.Object.fromEntries)
    assert nested.a.b[1].c == 2
    mapped = to_js({"a": 1})
    assert mapped.get("a") == 1
    assert to_js(5) == 5
    assert to_js("x") == "x"
    assert to_js(b"ab").to_bytes() == b"ab"
    assert to_js([1, (2, 3)]).to_py() == [1, [2, 3]]

    def convert(value, convert_one, cache):
        if isinstance(value, datetime.date):
            return js.Date.new(value.isoformat())
        return value

    dates = to_js({"at": datetime.date(2026, 1, 1)}, default_converter=convert, dict_converter=js.Object.fromEntries)
    assert dates.at.getTime() == 1767225600000
    proxies = js.Array.new()
    kept = to_js([lambda: 1], pyproxies=proxies)
    assert kept[0]() == 1
    destroy_proxies(proxies)
    assert isinstance(nested, JsProxy)
    assert isinstance(js.Uint8Array.new(2), JsBuffer)


async def check_proxies(env, ctx):
    proxy = create_proxy(lambda x: x + 1)
    assert proxy(1) == 2
    other = proxy.copy()
    proxy.destroy()
    assert other(2) == 3
    try:
        proxy(1)
    except Exception:
        pass
    else:
        raise AssertionError("called after destroy")
    buffer = create_proxy(b"bytes").getBuffer()
    assert buffer is not None
    once = create_once_callable(lambda: "once")
    assert once() == "once"
    try:
        once()
    except Exception:
        pass
    else:
        raise AssertionError("called twice")


async def check_run_sync(env, ctx):
    def plain():
        return run_sync(later()) + 1

    async def later():
        await asyncio.sleep(0.01)
        return 41

    assert plain() == 42
    assert run_sync(js.Response.new("sync").text()) == "sync"


async def check_errors(env, ctx):
    try:
        js.URL.new("no url")
    except JsException as error:
        assert error.name == "TypeError"
        assert error.message
        assert isinstance(error.stack, str)
        assert str(error).startswith("TypeError: ")
    else:
        raise AssertionError("that is no URL")


async def check_null(env, ctx):
    assert js.JSON.parse("null") in (jsnull, None)
    assert not jsnull


async def check_http(env, ctx):
    response = await pyfetch("https://api.test/json", method="GET")
    assert isinstance(response, FetchResponse)
    assert response.status == 200
    assert (await response.json())["ok"] is True
    text = await (await pyfetch("https://api.test/x")).string()
    assert text == "plain"


async def check_relaxed(env, ctx):
    assert relaxed_call(lambda a: a, 1, 2, 3) == 1
