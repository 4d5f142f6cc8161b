"""WebSockets to servers elsewhere, over real connections to a server of this process."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import wraps

import aiohttp
import pytest
from aiohttp import web
from perdure.bindings import outgoing_sockets
from perdure.bindings.outgoing import HttpClient
from perdure.engine.errors import NetworkError, PerdureError
from perdure.sdk import fetching
from perdure.sdk.outgoing_sockets import connect


def on_a_loop(test):
    """Real connections need the machine's clock; ten seconds of it at most."""

    @wraps(test)
    def run(*args, **kwargs):
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 10))

    return run


@asynccontextmanager
async def serving(seen):
    """A server: echo at /, what closes, refuses and redirects elsewhere. `seen`: headers, and how sockets ended."""

    async def echo(request):
        seen.append(dict(request.headers))
        socket = web.WebSocketResponse(protocols=("chat", "b"), autoclose=True)
        await socket.prepare(request)
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                await socket.send_bytes(message.data)
            elif message.data == "close":
                await socket.close(code=4001, message=b"as asked")
            elif message.data == "cut":
                request.transport.abort()
            else:
                await socket.send_str(message.data)
        seen.append(socket.close_code)
        return socket

    async def redirects(_request):
        raise web.HTTPFound("/")

    async def refuses(_request):
        return web.Response(status=403, text="no")

    app = web.Application()
    app.add_routes([web.get("/", echo), web.get("/redirects", redirects), web.get("/refuses", refuses)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    client = HttpClient()
    uninstall = fetching.install(client)
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        uninstall()
        await client.close()
        await runner.cleanup()


def listening(socket):
    """What it tells its listeners, in a queue."""
    told = asyncio.Queue()
    socket.addEventListener("open", lambda event: told.put_nowait(("open",)))
    socket.addEventListener("message", lambda event: told.put_nowait(event.data))
    socket.addEventListener("error", lambda event: told.put_nowait(("error", event.message)))
    socket.addEventListener("close", lambda event: told.put_nowait((event.code, event.reason, event.wasClean)))
    return told


async def asked(url, **headers):
    return await fetching.fetch(url, headers={"Upgrade": "websocket", **headers})


@on_a_loop
async def test_fetch_with_an_upgrade_gives_a_socket_that_is_accepted():
    seen = []
    async with serving(seen) as url:
        response = await asked(f"{url}/", **{"X-Mine": "1", "Sec-WebSocket-Protocol": "none, chat"})
        assert (response.status, response.headers["sec-websocket-protocol"]) == (101, "chat")
        socket = response.web_socket
        assert (socket.protocol, socket.readyState, "deflate" in socket.extensions) == ("chat", 1, True)
        told = listening(socket)
        with pytest.raises(PerdureError, match="before sending messages"):
            socket.send("early")
        socket.accept()
        for message in ("text", "", b"bytes", b"", "ü" * 100_000):
            socket.send(message)
        assert [await told.get() for _ in range(5)] == ["text", "", b"bytes", b"", "ü" * 100_000]
        socket.close(3001, "bye")
        assert await told.get() == (1000, "", True)  # aiohttp answers with a code of its own
        assert socket.readyState == 3
        await asyncio.wait_for(until(lambda: len(seen) == 2), 5)
        assert (seen[0]["X-Mine"], seen[1]) == ("1", 3001)


async def until(condition):
    while not condition():
        await asyncio.sleep(0.005)


@on_a_loop
async def test_a_server_that_closes_and_one_that_is_gone():
    async with serving([]) as url:
        for ask, told in (("close", (4001, "as asked", True)), ("cut", (1006, "disconnected without", False))):
            socket = (await asked(f"{url}/")).web_socket
            heard = listening(socket)
            socket.accept()
            socket.send(ask)
            code, reason, clean = await asyncio.wait_for(heard.get(), 5)
            assert (code, clean) == (told[0], told[2])
            assert told[1] in reason
            await asyncio.wait_for(until(lambda socket=socket: socket.readyState == 3), 5)
            assert socket.send("late") is not None


@on_a_loop
async def test_what_is_not_an_upgrade_is_an_ordinary_response_and_redirects_are_followed_or_not():
    async with serving([]) as url:
        refused = await asked(f"{url}/refuses")
        assert (refused.status, refused.web_socket) == (403, None)
        followed = await asked(f"{url}/redirects")
        assert (followed.status, followed.url) == (101, f"{url}/")
        redirect = await fetching.fetch(f"{url}/redirects", headers={"Upgrade": "websocket"}, redirect="manual")
        assert (redirect.status, redirect.headers["location"], redirect.web_socket) == (302, "/", None)
        with pytest.raises(NetworkError, match="Network connection lost"):
            await asked("http://127.0.0.1:1/")


@on_a_loop
async def test_a_socket_by_its_url_opens_by_itself():
    seen = []
    async with serving(seen) as url:
        socket = connect(url.replace("http", "ws") + "/?a=1", ["chat"])
        assert (socket.readyState, socket.url) == (0, url.replace("http", "ws") + "/?a=1")
        told = listening(socket)
        with pytest.raises(PerdureError, match="open event"):
            socket.send("early")
        assert await asyncio.wait_for(told.get(), 5) == ("open",)
        assert (socket.readyState, socket.protocol) == (1, "chat")
        socket.send("hello")
        assert await told.get() == "hello"
        socket.close(1000, "done")
        assert (await told.get())[0] == 1000


@pytest.mark.parametrize("path", ["/refuses", "/redirects"])
@on_a_loop
async def test_a_socket_by_its_url_tells_that_it_could_not_connect(path):
    async with serving([]) as url:
        socket = connect(url + path)
        told = listening(socket)
        error, close = await asyncio.wait_for(told.get(), 5), await asyncio.wait_for(told.get(), 5)
        assert error[0] == "error"
        assert "answered with status" in error[1]
        assert close[0] == 1006
        assert socket.readyState == 3


@pytest.mark.parametrize(
    ("url", "protocols"),
    [("relative", None), ("ftp://x/", None), ("ws://x/#a", None), ("ws://x/", ["a", "a"]), ("ws://x/", "a b")],
)
@on_a_loop
async def test_urls_and_protocols_that_cannot_be(url, protocols):
    with pytest.raises(PerdureError, match="WebSocket Constructor") as caught:
        connect(url, protocols)
    assert caught.value.name == "SyntaxError"


@on_a_loop
async def test_a_connection_that_nobody_accepts_ends(monkeypatch):
    monkeypatch.setattr(outgoing_sockets, "UNUSED_S_MAX", 0.05)
    seen = []
    async with serving(seen) as url:
        kept = await asked(f"{url}/")
        await asyncio.wait_for(until(lambda: len(seen) == 2), 5)
        assert seen[1] == 1006
        assert kept.web_socket.use.name == "NONE"


@on_a_loop
async def test_a_server_that_does_not_read_ends_the_connection_at_a_bound(monkeypatch):
    monkeypatch.setattr(outgoing_sockets, "WAITING_BYTES_MAX", 1 << 20)
    async with serving([]) as url:
        socket = (await asked(f"{url}/")).web_socket
        told = listening(socket)
        socket.accept()
        for _ in range(20):
            socket.send(b"x" * (100 << 10))
        heard = await asyncio.wait_for(told.get(), 5)
        assert heard[0] == 1006


@on_a_loop
async def test_awaiting_a_send_waits_for_room(monkeypatch):
    monkeypatch.setattr(outgoing_sockets, "STEP_BYTES", 1000)
    async with serving([]) as url:
        socket = (await asked(f"{url}/")).web_socket
        socket.accept()
        await socket.send(b"x")
        sent = socket.send(b"x" * 100_000)
        assert socket.bufferedAmount > 1000
        await asyncio.wait_for(asyncio.ensure_future(sent), 5)
        assert socket.bufferedAmount <= 1000
