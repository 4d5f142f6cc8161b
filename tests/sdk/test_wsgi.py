"""`wsgi.fetch`: applications as PEP 3333 knows them, in a Worker and inside an object."""

from __future__ import annotations

import asyncio
import sys

import pytest
from perdure.engine.blocking import run_sync
from perdure.engine.durable import DurableObject
from perdure.engine.errors import PerdureError
from perdure.engine.interruption import may_raise
from perdure.sdk import wsgi
from perdure.sdk.entrypoints import WorkerEntrypoint
from perdure.sdk.request import Request

TOLD: list[object] = []


@pytest.fixture(autouse=True)
def _nothing_told():
    TOLD.clear()


class Body:
    """What an application returns, that is no list."""

    def __init__(self, *chunks):
        self.chunks = iter(chunks)

    def __iter__(self):
        return self

    def __next__(self):
        chunk = next(self.chunks)
        if isinstance(chunk, Exception):
            raise chunk
        TOLD.append(chunk)
        return chunk

    def close(self):
        TOLD.append("closed")


def app(environ, start_response):
    """One path a behaviour."""
    return globals()[f"do_{environ['PATH_INFO'][1:]}"](environ, start_response)


def do_environ(environ, start_response):
    TOLD.append(dict(environ))
    start_response("200 Fine", [("Content-Type", "text/plain"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    return [b"ok"]


def do_echo(environ, start_response):
    start_response("200 OK", [])
    length = int(environ.get("CONTENT_LENGTH") or 0)
    return [environ["wsgi.input"].read(length), b"|", environ["wsgi.input"].read()]


def do_stream(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/event-stream")])
    return Body(b"", b"one", b"", b"two", b"three")


def do_generator(environ, start_response):
    """Says its status with its first chunk."""
    start_response("201 Created", [])
    yield b""
    yield b"made"


def do_write(environ, start_response):
    write = start_response("200 OK", [])
    write(b"written ")
    write(b"before ")
    return [b"the body"]


def do_write_only(environ, start_response):
    start_response("200 OK", [])(b"written")
    return []


def do_empty(environ, start_response):
    start_response("200 OK", [])
    return Body()


def do_no_content(environ, start_response):
    start_response("204 No Content", [])
    return Body(b"left out")


def do_nothing(environ, start_response):
    return Body(b"a body, no status")


def do_raises(environ, start_response):
    raise ValueError("before start")


def do_raises_in_body(environ, start_response):
    start_response("200 OK", [])
    return Body(ValueError("at the first chunk"))


def do_breaks_off(environ, start_response):
    start_response("200 OK", [])
    return Body(b"half", ValueError("in the middle"))


def do_error_page(environ, start_response):
    start_response("200 OK", [])
    try:
        raise ValueError("looked bad later")
    except ValueError:
        start_response("500 Oops", [("X-Error", "yes")], sys.exc_info())
    return [b"the error's page"]


def do_error_too_late(environ, start_response):
    start_response("200 OK", [])
    yield b"gone already"
    try:
        raise ValueError("too late")
    except ValueError:
        start_response("500 Oops", [], sys.exc_info())


def do_twice(environ, start_response):
    start_response("200 OK", [])
    start_response("200 OK", [])


def do_frames(environ, start_response):
    """Code that never ends can be interrupted here: nothing of the runtime is between it and who called it."""
    TOLD.append(may_raise(sys._getframe()))
    start_response("200 OK", [])

    def chunks():
        TOLD.append(may_raise(sys._getframe()))
        yield b"a"
        TOLD.append(may_raise(sys._getframe()))

    return chunks()


def do_wait(environ, start_response):
    """Waits for objects in plain code, in the view and in the body."""
    other = environ["workers.env"].TheObject.getByName("b")
    start_response("200 OK", [])
    yield run_sync(other.name_later()).encode()
    yield run_sync(other.name_later()).encode()


def do_count(environ, start_response):
    """Inside an object: storage, from synchronous code."""
    kv = TheObject.now.ctx.storage.kv
    kv.put("n", (kv.get("n") or 0) + 1)
    start_response("200 OK", [])

    def chunks():
        kv.put("n", kv.get("n") + 10)
        yield b"%d" % kv.get("n")
        kv.put("n", kv.get("n") + 100)
        yield b" %d" % kv.get("n")

    return chunks()


class TheObject(DurableObject):
    now: TheObject

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        TheObject.now = self

    async def fetch(self, request):
        return await wsgi.fetch(app, request, self.env)

    async def name_later(self):
        await asyncio.sleep(1)
        return self.ctx.id.name


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return await wsgi.fetch(app, request, self.env)


def stub(world):
    return world.namespace("TheObject").getByName("a")


async def ask(world, where, path, **options):
    """The response of the Worker, or of an object."""
    if where == "object":
        return await stub(world).fetch(f"http://localhost/{path}", **options)
    return await world.fetch(f"/{path}", **options)


both = pytest.mark.parametrize("where", ["worker", "object"])
pytestmark = pytest.mark.perdure(env={"GREETING": "hello"})


@both
async def test_the_environ(world, where) -> None:
    headers = {"X-Two-Words": "Ä", "Content-Type": "text/x", "Cookie": "a=1"}
    response = await ask(world, where, "environ?a=1&b=%20", method="POST", headers=headers, body="12345")
    assert await response.text() == "ok"
    assert (response.status, response.headers.get_all("set-cookie")) == (200, ["a=1", "b=2"])
    [environ] = TOLD
    assert environ.pop("workers.env").GREETING == "hello"
    assert environ.pop("wsgi.errors") is sys.stderr
    assert environ.pop("wsgi.input").read() == b"12345"
    assert environ == {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/environ",
        "QUERY_STRING": "a=1&b=%20",
        "CONTENT_TYPE": "text/x",
        "CONTENT_LENGTH": "5",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost",
        "HTTP_X_TWO_WORDS": "Ä",
        "HTTP_COOKIE": "a=1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input_terminated": True,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


def test_the_environ_of_paths_headers_and_other_requests() -> None:
    environ = wsgi.build_environ(Request("https://host:8443/a%20b/%C3%A4?q=%41"), None, b"")
    assert environ["PATH_INFO"].encode("latin-1").decode() == "/a b/ä"
    assert (environ["QUERY_STRING"], environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("q=%41", "host", "8443")
    assert (environ["wsgi.url_scheme"], environ["HTTP_HOST"]) == ("https", "host:8443")
    assert wsgi.build_environ(Request("https://host"), None, b"")["SERVER_PORT"] == "443"
    assert "CONTENT_LENGTH" not in environ

    class Foreign:
        url, method, headers, body = "http://example.com/", "GET", [("Header1", "a"), ("header1", "b")], None

    mine = Request("http://example.com/", headers=[("Header1", "a"), ("Header1", "b")])
    for request in (Foreign(), mine):
        assert wsgi.build_environ(request, None, b"")["HTTP_HEADER1"] == "a, b"
    Foreign.headers = [("Cookie", "a=1"), ("cookie", "b=2")]
    assert wsgi.build_environ(Foreign(), None, b"")["HTTP_COOKIE"] == "a=1; b=2"


@pytest.mark.usefixtures("world")
async def test_a_url_that_is_not_absolute() -> None:
    class Relative:
        url, method, headers, body = "/path", "GET", [], None

    with pytest.raises(ValueError, match="Request URL is not absolute"):
        await wsgi.fetch(app, Relative(), None)


@both
async def test_the_body_of_the_request_can_be_read(world, where) -> None:
    assert await (await ask(world, where, "echo", method="POST", body="ä")).text() == "ä|"
    assert await (await ask(world, where, "echo", method="POST")).text() == "|"

    async def parts():
        yield b"in "
        yield b"parts"

    assert await (await stub(world).fetch("http://x/echo", method="POST", body=parts())).text() == "in parts|"


@both
async def test_a_body_is_streamed_and_closed(world, where) -> None:
    response = await ask(world, where, "stream")
    assert response.headers["content-type"] == "text/event-stream"
    assert await response.text() == "onetwothree"
    assert TOLD == [b"", b"one", b"", b"two", b"three", "closed"]


async def test_the_next_chunk_is_made_when_the_one_before_was_taken(world) -> None:
    body = (await ask(world, "object", "stream")).to_wire().body
    await world.settle()
    assert TOLD == [b"", b"one"]
    assert await anext(body) == b"one"
    await world.settle()
    assert TOLD == [b"", b"one"]
    assert await anext(body) == b"two"
    await body.aclose()
    await world.settle()
    assert TOLD[-1] == "closed"


@both
async def test_a_generator_says_its_status_when_it_runs(world, where) -> None:
    response = await ask(world, where, "generator")
    assert (response.status, await response.text()) == (201, "made")


@both
@pytest.mark.parametrize(("path", "text"), [("write", "written before the body"), ("write_only", "written")])
async def test_what_is_written_goes_first(world, where, path, text) -> None:
    assert await (await ask(world, where, path)).text() == text


@both
@pytest.mark.parametrize(("path", "status"), [("empty", 200), ("no_content", 204)])
async def test_no_body(world, where, path, status) -> None:
    response = await ask(world, where, path)
    assert (response.status, await response.bytes()) == (status, b"")
    assert TOLD[-1] == "closed"


@both
@pytest.mark.parametrize(
    ("path", "error", "closed"),
    [
        ("nothing", r"RuntimeError: .*did not call start_response\(\)", True),
        ("raises", "ValueError: before start", False),
        ("raises_in_body", "ValueError: at the first chunk", True),
        ("twice", "RuntimeError: .*twice", False),
    ],
)
async def test_errors_before_the_response_reach_who_asked(world, where, path, error, closed) -> None:
    if where == "object":
        with pytest.raises(PerdureError, match=error):
            await ask(world, where, path)
    else:
        assert (await ask(world, where, path)).status == 500
    assert ("closed" in TOLD) == closed


@pytest.mark.parametrize(("path", "error"), [("breaks_off", "in the middle"), ("error_too_late", "too late")])
async def test_a_body_that_breaks_off_fails_for_its_reader(world, path, error) -> None:
    response = await ask(world, "object", path)
    with pytest.raises(PerdureError, match=error):
        await response.bytes()
    with pytest.raises(ConnectionAbortedError):
        await ask(world, "worker", path)
    assert TOLD.count("closed") == (2 if path == "breaks_off" else 0)


@both
async def test_an_error_that_is_noticed_in_time_replaces_the_response(world, where) -> None:
    response = await ask(world, where, "error_page")
    assert (response.status, response.headers["x-error"]) == (500, "yes")
    assert await response.text() == "the error's page"


async def test_storage_works_in_the_application_and_in_its_body(world) -> None:
    assert await (await ask(world, "object", "count")).text() == "11 111"
    await world.crash(stub(world))
    assert await (await ask(world, "object", "count")).text() == "122 222"


async def test_the_application_s_code_can_be_interrupted(world) -> None:
    await (await ask(world, "object", "frames")).text()
    assert TOLD == [True, True, True]


@both
async def test_plain_code_waits_for_objects(world, where) -> None:
    before = world.loop.time()
    found = await asyncio.gather(*(ask(world, where, "wait") for _ in range(5)))
    assert await asyncio.gather(*(response.text() for response in found)) == ["bb"] * 5
    assert world.loop.time() - before == 2


@pytest.mark.usefixtures("world")
async def test_requests_in_the_style_of_javascript() -> None:
    import js
    from pyodide.ffi import to_js

    theirs = js.Request.new("http://example.com/", headers=to_js({"Header1": "Value1"}))
    assert wsgi.build_environ(theirs, None, b"")["HTTP_HEADER1"] == "Value1"
    posted = js.Request.new("http://example.com/echo", method="POST", body="ä")
    assert await (await wsgi.fetch(app, posted, None)).text() == "ä|"
    mine = Request("http://example.com/echo", method="POST", body="ö")
    assert await (await wsgi.fetch(app, mine.js_object, None)).text() == "ö|"


async def test_an_entrypoint_of_an_application(world) -> None:
    made = wsgi.entrypoint(app)
    assert issubclass(made, WorkerEntrypoint)
    assert await (await made(None, world).fetch(Request("http://x/write"))).text() == "written before the body"


def test_the_module_is_one_by_each_of_its_names() -> None:
    from perdure.sdk import aliases

    aliases.install()
    import workers

    assert sys.modules["wsgi"] is sys.modules["workers.wsgi"] is workers.wsgi is wsgi
