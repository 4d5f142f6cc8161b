"""The HTTP client behind `fetch`, against a server in the same process (spec: sdk, fetch)."""

from __future__ import annotations

import asyncio
import gc
import gzip
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from perdure.bindings import outgoing
from perdure.bindings.outgoing import HttpClient
from perdure.engine.errors import NetworkError
from perdure.engine.http import HttpRequest


class Site:
    """A server with one handler, and the client that asks it."""

    def __init__(self, client: HttpClient, base: str) -> None:
        self.client, self.base = client, base

    async def ask(self, method: str = "GET", path: str = "/", headers=(), body=None):
        return await self.client.send(HttpRequest(method, self.base + path, list(headers), body))

    @property
    def connections(self) -> int:
        """Those in use."""
        session = self.client._session
        return 0 if session is None else len(session.connector._acquired)


@asynccontextmanager
async def site(handler):
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    where = web.TCPSite(runner, "127.0.0.1", 0)
    await where.start()
    port = where._server.sockets[0].getsockname()[1]
    client = HttpClient()
    try:
        yield Site(client, f"http://127.0.0.1:{port}")
    finally:
        await client.close()
        await runner.cleanup()


def run(work):
    async def bounded():
        async with asyncio.timeout(20):
            await work()

    asyncio.run(bounded())


async def whole(body) -> bytes:
    return body if isinstance(body, bytes) else b"".join([chunk async for chunk in body])


async def until(condition) -> None:
    """The server's or the connection's side has noticed."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came true")


def test_what_is_sent_and_what_comes_back() -> None:
    seen = []

    async def handler(request):
        seen.append((request.method, request.path_qs, request.raw_headers, await request.read()))
        return web.Response(
            status=404, reason="Nope", body=b"hi", headers=[("X-A", "1"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
        )

    async def work():
        async with site(handler) as found:
            headers = [("X", "ü"), ("Host", "other"), ("Content-Length", "99"), ("Connection", "close"), ("TE", "x")]
            answer = await found.ask("PATCH", "/p%20q?x=%2F#part", headers, b"body")
            assert (answer.status, answer.status_text, await whole(answer.body)) == (404, "Nope", b"hi")
            assert [pair for pair in answer.headers if pair[0] in ("X-A", "Set-Cookie")] == [
                ("X-A", "1"),
                ("Set-Cookie", "a=1"),
                ("Set-Cookie", "b=2"),
            ]
            assert not any(name.lower() == "connection" for name, _ in answer.headers)
            method, path, raw, body = seen[0]
            assert (method, path, body) == ("PATCH", "/p%20q?x=%2F", b"body")
            sent = {name.decode().lower(): value.decode() for name, value in raw}
            assert sent == {
                "host": found.base.removeprefix("http://"),
                "x": "ü",
                "accept-encoding": "gzip, deflate",
                "content-length": "4",
            }
            await found.ask()
            assert b"Cookie" not in dict(seen[1][2])

    run(work)


def test_redirects_are_answers() -> None:
    async def handler(request):
        return web.Response(status=302, headers={"Location": "/other"})

    async def work():
        async with site(handler) as found:
            answer = await found.ask()
            assert (answer.status, dict(answer.headers)["Location"]) == (302, "/other")

    run(work)


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_answers_without_a_body_give_their_connection_back(method: str) -> None:
    async def handler(request):
        return web.Response(status=200 if method == "HEAD" else 204, headers={"X-Length": "5"})

    async def work():
        async with site(handler) as found:
            answer = await found.ask(method)
            assert answer.body is None
            assert found.connections == 0

    run(work)


def test_bodies_are_decoded_and_only_what_can_be_is_asked_for() -> None:
    accepted = []

    async def handler(request):
        accepted.append(request.headers["Accept-Encoding"])
        return web.Response(body=gzip.compress(b"hello" * 100), headers={"Content-Encoding": "gzip"})

    async def work():
        async with site(handler) as found:
            for sent in ("gzip, br;q=0.9, zstd", "br", "identity;q=1"):
                answer = await found.ask(headers=[("Accept-Encoding", sent)])
                assert await whole(answer.body) == b"hello" * 100
            assert accepted == ["gzip", "identity", "identity;q=1"]

    run(work)


def test_connections_are_kept_and_shared() -> None:
    peers = set()

    async def handler(request):
        peers.add(request.transport.get_extra_info("peername"))
        return web.Response(body=b"x" * 100_000)

    async def work():
        async with site(handler) as found:
            for _ in range(5):
                assert len(await whole((await found.ask()).body)) == 100_000
            assert len(peers) == 1

    run(work)


def test_a_body_is_sent_as_it_is_made() -> None:
    first = asyncio.Event()

    async def handler(request):
        got = await request.content.readany()
        first.set()
        rest = await request.content.read()
        return web.Response(body=got + rest, headers={"X-Length": request.headers.get("Content-Length", "none")})

    async def body():
        yield b"one "
        await first.wait()  # the server has it before there is more
        yield b"two"

    async def work():
        async with site(handler) as found:
            answer = await found.ask("PUT", body=body())
            assert (await whole(answer.body), dict(answer.headers)["X-Length"]) == (b"one two", "none")
            first.clear()
            answer = await found.ask("PUT", headers=[("Content-Length", "7")], body=body())
            assert (await whole(answer.body), dict(answer.headers)["X-Length"]) == (b"one two", "7")

    run(work)


def test_a_reader_that_stops_stops_the_server() -> None:
    written = 0
    gone = asyncio.Event()

    async def handler(request):
        nonlocal written
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
                written += 65536
        finally:
            gone.set()

    async def work():
        nonlocal written
        async with site(handler) as found:
            answer = await found.ask()
            await anext(answer.body)
            before = -1
            while before != written:  # until the buffers of both sides are full
                before = written
                await asyncio.sleep(0.05)
            assert written < 32 << 20
            await answer.body.aclose()
            await gone.wait()
            await until(lambda: found.connections == 0)

    run(work)


def test_a_body_that_is_forgotten_gives_its_connection_up() -> None:
    async def handler(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"x")
        await asyncio.sleep(30)
        return response

    async def work():
        complaints = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        async with site(handler) as found:
            answer = await found.ask()
            assert found.connections == 1
            del answer
            gc.collect()
            await until(lambda: found.connections == 0)
        assert complaints == []

    run(work)


def test_a_request_that_is_cancelled_gives_its_connection_up() -> None:
    asked = asyncio.Event()

    async def handler(request):
        asked.set()
        await asyncio.sleep(30)
        return web.Response()

    async def work():
        async with site(handler) as found:
            asking = asyncio.ensure_future(found.ask())
            await asked.wait()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            await until(lambda: found.connections == 0)

    run(work)


def test_what_goes_wrong_is_a_network_error(monkeypatch) -> None:
    monkeypatch.setattr(outgoing, "SILENCE_S_MAX", 0.2)

    async def handler(request):
        if request.path == "/silent":
            await asyncio.sleep(30)
        response = web.StreamResponse()
        response.content_length = 100
        await response.prepare(request)
        await response.write(b"abc")
        request.transport.close()
        return response

    async def broken():
        yield b"x"
        raise ValueError("as asked")

    async def work():
        async with site(handler) as found:
            answer = await found.ask(path="/cut?secret=1")
            with pytest.raises(NetworkError, match="broke off") as caught:
                await whole(answer.body)
            assert "secret" not in caught.value.message
            for base, phrase in (("http://127.0.0.1:1", "Cannot connect"), (found.base + "/silent", "imeout|in time")):
                with pytest.raises(OSError, match=phrase):
                    await found.client.send(HttpRequest("GET", base, []))
            with pytest.raises((NetworkError, ValueError)):
                await found.ask("PUT", body=broken())
            await until(lambda: found.connections == 0)

    run(work)


def test_a_process_that_asks_nobody_does_not_load_the_library() -> None:
    program = "import sys, perdure.router.gateway, perdure.shards.shard; print('aiohttp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
