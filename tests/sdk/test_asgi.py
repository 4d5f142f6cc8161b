"""`asgi.fetch`: applications as the protocol knows them, in a Worker and inside an object."""

from __future__ import annotations

import asyncio
import gc
import sys

import pytest
from perdure.engine.durable import DurableObject
from perdure.engine.errors import PerdureError
from perdure.engine.interruption import may_raise
from perdure.sdk import asgi
from perdure.sdk.entrypoints import WorkerEntrypoint
from perdure.sdk.request import Request

TOLD: list[object] = []


@pytest.fixture(autouse=True)
def _nothing_told():
    TOLD.clear()


async def started(send, status=200, *headers):
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def answered(send, body=b"ok", status=200, *headers):
    await started(send, status, *headers)
    await send({"type": "http.response.body", "body": body})


async def lifespan(scope, receive, send):
    while True:
        message = await receive()
        TOLD.append(message["type"])
        if message["type"] == "lifespan.startup":
            scope["state"]["pool"] = ["made at startup"]
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def app(scope, receive, send):
    """One path a behaviour."""
    if scope["type"] == "lifespan":
        return await lifespan(scope, receive, send)
    return await globals()[f"do_{scope['path'][1:]}"](scope, receive, send)


async def do_scope(scope, receive, send):
    TOLD.append({key: value for key, value in scope.items() if key != "env"})
    TOLD.append(scope["env"].GREETING)
    scope["state"]["own"] = True
    await answered(send)


async def do_echo(scope, receive, send):
    parts = []
    while True:
        message = await receive()
        parts.append(message["body"])
        if not message["more_body"]:
            break
    TOLD.append([part for part in parts if part])
    await answered(send, b"".join(parts))


async def do_stream(scope, receive, send):
    await started(send, 200, (b"content-type", b"text/event-stream"))
    for number in range(3):
        TOLD.append(f"makes {number}")
        await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
    TOLD.append((await receive())["type"])
    TOLD.append((await receive())["type"])


async def do_endless(scope, receive, send):
    await started(send)
    assert (await receive())["type"] == "http.request"
    listening = asyncio.ensure_future(receive())
    while not listening.done():
        await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
    TOLD.append(listening.result()["type"])


async def do_deaf(scope, receive, send):
    await started(send)
    try:
        while True:
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
    except OSError as error:
        TOLD.append(str(error))


async def do_raises(scope, receive, send):
    raise ValueError("before start")


async def do_raises_after_start(scope, receive, send):
    await started(send)
    raise ValueError("after start")


async def do_breaks_off(scope, receive, send):
    await started(send)
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    raise ValueError("in the middle")


async def do_stops_short(scope, receive, send):
    await started(send)
    await send({"type": "http.response.body", "body": b"half", "more_body": True})


async def do_nothing(scope, receive, send):
    pass


async def do_late(scope, receive, send):
    await answered(send)
    await asyncio.sleep(5)
    TOLD.append("done behind")


async def do_late_failure(scope, receive, send):
    await answered(send)
    raise ValueError("behind")


async def do_too_late(scope, receive, send):
    await answered(send)
    try:
        await asyncio.sleep(100_000)
    except asyncio.CancelledError:
        TOLD.append("cancelled")
        raise


async def do_cookies(scope, receive, send):
    await answered(send, b"", 200, (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"))


async def do_no_content(scope, receive, send):
    await answered(send, b"left out", int(dict(scope["headers"])[b"x-status"]))


async def do_unknown_messages(scope, receive, send):
    await started(send)
    await send({"type": "http.response.debug", "info": {}})
    for message in ({"type": "nonsense"}, {"type": "http.response.start", "status": 200}):
        with pytest.raises(RuntimeError):
            await send(message)
    await send({"type": "http.response.body", "body": b"ok"})
    with pytest.raises(RuntimeError, match="after the body's end"):
        await send({"type": "http.response.body", "body": b"more"})


async def do_count(scope, receive, send):
    """Inside an object: storage, and tasks that use it."""
    storage = TheObject.now.ctx.storage

    async def add():
        await storage.put("n", (await storage.get("n") or 0) + 1)

    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(add())
    await answered(send, str(await storage.get("n")).encode())


async def do_abort(scope, receive, send):
    TheObject.now.ctx.abort("the reason")


async def do_frames(scope, receive, send):
    """Code that never ends can be interrupted here: nothing of the runtime is between it and who called it."""
    TOLD.append(may_raise(sys._getframe()))
    await asyncio.sleep(0)
    TOLD.append(may_raise(sys._getframe()))
    await answered(send)


async def do_hang(scope, receive, send):
    try:
        await asyncio.sleep(1_000)
    except asyncio.CancelledError:
        TOLD.append("cancelled")
        raise


class TheObject(DurableObject):
    now: TheObject

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        TheObject.now = self

    async def fetch(self, request):
        return await asgi.fetch(app, request, self.env)

    async def leave_unread(self):
        await asgi.fetch(app, Request("http://x/deaf"), self.env)


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        if request.headers.get("x-timeout"):
            async with asyncio.timeout(1):
                return await asgi.fetch(app, request, self.env)
        return await asgi.fetch(app, request, self.env, self.ctx)


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
async def test_the_scope(world, where) -> None:
    response = await ask(world, where, "scope?a=1&b=%20", headers={"X-Case": "Keeps ÄÖ"})
    assert (response.status, await response.text()) == (200, "ok")
    assert TOLD[0] == "lifespan.startup"
    scope, greeting = TOLD[1:3]
    assert scope.pop("headers")[-1] == (b"x-case", "Keeps ÄÖ".encode("latin-1"))
    assert scope == {
        "type": "http",
        "asgi": {"spec_version": "2.0", "version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/scope",
        "raw_path": b"/scope",
        "query_string": b"a=1&b=%20",
        "state": {"pool": ["made at startup"], "own": True},
    }
    assert type(scope["method"]) is str
    assert greeting == "hello"


def test_the_scope_of_paths_and_other_requests() -> None:
    scope = asgi.request_to_scope(Request("https://host/a%20b/%C3%A4?q=%41"), None)
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a b/ä", b"/a%20b/%C3%A4", b"q=%41")
    assert scope["scheme"] == "https"
    assert "state" not in scope

    class Foreign:
        url, method, headers, body = "http://example.com/", "POST", [("Header1", "Value1"), ("Header2", "Value2")], None

    mine = Request("http://example.com/", method="POST", headers={"Header1": "Value1", "Header2": "Value2"})
    assert asgi.request_to_scope(Foreign(), 1) == asgi.request_to_scope(mine, 1)
    assert asgi.request_to_scope(mine, 1, True)["type"] == "websocket"
    state = {"a": 1}
    assert asgi.request_to_scope(mine, 1, state=state)["state"] is not state


@pytest.mark.usefixtures("world")
async def test_requests_in_the_style_of_javascript() -> None:
    import js
    from pyodide.ffi import to_js

    headers = {"Header1": "Value1", "Header2": "Value2"}
    theirs = js.Request.new("http://example.com/", headers=to_js(headers))
    assert asgi.request_to_scope(theirs, 1)["headers"] == [(b"header1", b"Value1"), (b"header2", b"Value2")]
    posted = js.Request.new("http://example.com/echo", method="POST", body="ä")
    assert await (await asgi.fetch(app, posted, None)).text() == "ä"
    mine = Request("http://example.com/echo", method="POST", body="ö")
    assert await (await asgi.fetch(app, mine.js_object, None)).text() == "ö"


@both
async def test_lifespan_runs_around_each_request_and_state_is_copied(world, where) -> None:
    for _ in range(2):
        await ask(world, where, "scope")
    kinds = [told for told in TOLD if isinstance(told, str) and told.startswith("lifespan")]
    assert kinds == ["lifespan.startup", "lifespan.shutdown"] * 2


@pytest.mark.parametrize("kind", ["raises", "returns", "asserts"])
async def test_an_application_without_lifespan_is_served(kind) -> None:
    async def without(scope, receive, send):
        if scope["type"] == "lifespan":
            if kind == "raises":
                raise NotImplementedError
            if kind == "returns":
                return
            assert scope["type"] == "http"
        await answered(send, b"served")

    response = await asgi.fetch(without, Request("http://x/"), None)
    assert await response.bytes() == b"served"


test_an_application_without_lifespan_is_served = pytest.mark.usefixtures("world")(
    test_an_application_without_lifespan_is_served
)


@pytest.mark.usefixtures("world")
async def test_a_startup_or_shutdown_that_failed(caplog) -> None:
    async def failing(scope, receive, send):
        if scope["type"] != "lifespan":
            await answered(send, b"served")
            return
        await receive()
        if when == "startup":
            await send({"type": "lifespan.startup.failed", "message": "no database"})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": ""})

    when = "startup"
    with pytest.raises(RuntimeError, match="no database"):
        await asgi.fetch(failing, Request("http://x/"), None)
    assert caplog.text == ""
    when = "shutdown"
    assert await (await asgi.fetch(failing, Request("http://x/"), None)).bytes() == b"served"
    await asyncio.sleep(1)
    assert "ASGI lifespan shutdown failed" in caplog.text


@pytest.mark.usefixtures("world")
async def test_a_lifespan_that_is_ended_from_outside_is_no_failure(caplog) -> None:
    """Starlette says that its shutdown failed whatever ends it."""

    async def starlette_like(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            try:
                await receive()
            except BaseException as error:
                await send({"type": "lifespan.shutdown.failed", "message": repr(error)})
                raise
        else:
            await asyncio.sleep(100)

    asking = asyncio.ensure_future(asgi.fetch(starlette_like, Request("http://x/"), None))
    await asyncio.sleep(1)
    asking.cancel()
    await asyncio.sleep(1)
    assert asking.cancelled()
    assert caplog.text == ""


@both
async def test_request_bodies(world, where) -> None:
    assert await (await ask(world, where, "echo", method="POST", body="ä" * 10)).text() == "ä" * 10
    assert await (await ask(world, where, "echo", method="POST")).text() == ""
    assert TOLD[1] == [b"\xc3\xa4" * 10]


@pytest.mark.usefixtures("world")
async def test_a_request_body_is_read_as_the_application_asks_for_it() -> None:
    async def parts():
        for number in range(3):
            TOLD.append(f"sent {number}")
            yield b"%d" % number

    async def reading(scope, receive, send):
        if scope["type"] == "http":
            for _ in range(4):
                message = await receive()
                TOLD.append((message["body"], message["more_body"]))
            await answered(send)

    await asgi.fetch(reading, Request("http://x/", method="POST", body=parts()), None)
    assert TOLD == ["sent 0", (b"0", True), "sent 1", (b"1", True), "sent 2", (b"2", True), (b"", False)]


@both
async def test_a_streamed_response_is_whole_and_its_end_is_told(world, where) -> None:
    response = await ask(world, where, "stream")
    assert response.headers["content-type"] == "text/event-stream"
    assert await response.text() == "data: 0\n\ndata: 1\n\ndata: 2\n\n"
    await world.settle()
    assert TOLD[-3:] == ["http.request", "http.disconnect", "lifespan.shutdown"]


async def test_a_slow_reader_stops_the_application(world) -> None:
    response = await ask(world, "object", "stream")
    await world.settle()
    assert [told for told in TOLD if told.startswith("makes")] == ["makes 0"]
    body = response.to_wire().body
    assert await anext(body) == b"data: 0\n\n"
    await world.settle()
    assert TOLD[-1] == "makes 1"
    await body.aclose()


async def test_a_reader_that_goes_is_told_to_the_application(world) -> None:
    response = await ask(world, "object", "endless")
    body = response.to_wire().body
    for _ in range(3):
        await anext(body)
    await body.aclose()
    await world.settle()
    assert TOLD[-2:] == ["http.disconnect", "lifespan.shutdown"]
    await world.advance(seconds=20)
    assert world.state(stub(world)) == "cold"


async def test_an_application_that_does_not_listen_cannot_write_to_nobody_for_ever(world) -> None:
    response = await ask(world, "object", "deaf")
    body = response.to_wire().body
    await anext(body)
    await body.aclose()
    await world.settle()
    assert TOLD[1].startswith("the client has gone")


async def test_a_streamed_response_that_nobody_reads_ends(world) -> None:
    await stub(world).leave_unread()
    gc.collect()
    await world.settle()
    assert TOLD[1].startswith("the client has gone")


@both
@pytest.mark.parametrize("path", ["raises", "raises_after_start"])
async def test_errors_before_the_response_reach_who_asked(world, where, path) -> None:
    if where == "object":
        with pytest.raises(PerdureError, match=r"ValueError: (before|after) start"):
            await ask(world, where, path)
    else:
        assert (await ask(world, where, path)).status == 500
    assert TOLD == ["lifespan.startup", "lifespan.shutdown"]


@both
async def test_no_response_is_an_error_that_says_so(world, where) -> None:
    if where == "object":
        with pytest.raises(PerdureError, match="RuntimeError: The application did not generate a response"):
            await ask(world, where, "nothing")
    else:
        assert "The application did not generate a response" in await (await ask(world, where, "nothing")).text()


@pytest.mark.parametrize(("path", "error"), [("breaks_off", "in the middle"), ("stops_short", "to its end")])
async def test_a_body_that_breaks_off_fails_for_its_reader(world, path, error) -> None:
    response = await ask(world, "object", path)
    with pytest.raises(PerdureError, match=error):
        await response.bytes()
    with pytest.raises(ConnectionAbortedError):
        await ask(world, "worker", path)


@both
async def test_work_after_the_response_goes_on(world, where) -> None:
    before = world.now
    assert (await ask(world, where, "late")).status == 200
    assert world.now == before
    await world.advance(seconds=6)
    assert TOLD[-2:] == ["done behind", "lifespan.shutdown"]


@both
async def test_work_after_the_response_has_fifteen_minutes(world, where, caplog) -> None:
    await ask(world, where, "too_late")
    await world.advance(seconds=60)
    assert TOLD == ["lifespan.startup"]
    await world.advance(seconds=850)
    assert TOLD[:2] == ["lifespan.startup", "cancelled"]
    if where == "worker":
        assert "was not done" in caplog.text


@both
async def test_what_fails_after_the_response_is_logged(world, where, caplog) -> None:
    assert (await ask(world, where, "late_failure")).status == 200
    await world.settle()
    assert "ValueError: behind" in caplog.text


@both
async def test_cookies_stay_apart(world, where) -> None:
    assert (await ask(world, where, "cookies")).headers.get_all("set-cookie") == ["a=1", "b=2"]


@both
@pytest.mark.parametrize("status", [204, 205, 304])
async def test_statuses_without_a_body(world, where, status) -> None:
    response = await ask(world, where, "no_content", headers={"x-status": str(status)})
    assert (response.status, await response.bytes()) == (status, b"")


@both
async def test_messages_out_of_order(world, where) -> None:
    assert await (await ask(world, where, "unknown_messages")).text() == "ok"


async def test_tasks_of_the_application_run_in_the_object_s_turns(world) -> None:
    assert await (await ask(world, "object", "count")).text() == "10"
    await world.crash(stub(world))
    assert await (await ask(world, "object", "count")).text() == "20"


async def test_an_abort_inside_the_application_is_the_object_s(world) -> None:
    with pytest.raises(PerdureError, match="the reason") as caught:
        await ask(world, "object", "abort")
    assert caught.value.durableObjectReset
    assert await (await ask(world, "object", "count")).text() == "10"


async def test_who_asks_and_goes_cancels_the_application(world) -> None:
    assert (await ask(world, "worker", "hang", headers={"x-timeout": "1"})).status == 500
    assert TOLD == ["lifespan.startup", "cancelled"]
    asking = asyncio.ensure_future(ask(world, "object", "hang"))
    await world.settle()
    asking.cancel()
    await world.settle()
    assert TOLD[-1] == "cancelled"
    assert [record.event for record in world.log if record.level == "error"] == ["request_failed"]


async def test_the_application_s_code_can_be_interrupted(world) -> None:
    await ask(world, "object", "frames")
    assert TOLD[1:3] == [True, True]


async def test_an_object_that_dies_in_the_middle_of_a_stream(world) -> None:
    response = await ask(world, "object", "endless")
    body = response.to_wire().body
    await anext(body)
    await world.crash(stub(world))
    with pytest.raises(PerdureError):
        while True:
            await anext(body)
    assert await (await ask(world, "object", "count")).text() == "10"


async def test_an_entrypoint_of_an_application(world) -> None:
    made = asgi.entrypoint(app)
    assert issubclass(made, WorkerEntrypoint)
    assert made.__name__ == "Default"
    worker = made(None, world)
    assert await (await worker.fetch(Request("http://x/cookies"))).bytes() == b""


def test_the_module_is_one_by_each_of_its_names() -> None:
    from perdure.sdk import aliases

    aliases.install()
    import workers

    assert sys.modules["asgi"] is sys.modules["workers.asgi"] is workers.asgi is asgi
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = asgi.nothing
