"""`asgi.websocket`: sockets of applications, in a Worker: connect, receive, close, refuse, sub-protocols, ends."""

from __future__ import annotations

import asyncio
import logging

import pytest
from perdure.engine.closing_codes import ABNORMAL
from perdure.engine.errors import InvalidArgument
from perdure.sdk import asgi, asgi_socket
from perdure.sdk.request import Request
from perdure.testing.virtual import run

TOLD: list[object] = []


@pytest.fixture(autouse=True)
def _nothing_told():
    TOLD.clear()


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            TOLD.append(kind)
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    await globals()[f"do_{scope['path'][1:]}"](scope, receive, send)


async def do_echo(scope, receive, send):
    assert (await receive()) == {"type": "websocket.connect"}
    await send(
        {"type": "websocket.accept", "subprotocol": (scope["subprotocols"] or [None])[0], "headers": [(b"x-a", b"1")]}
    )
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"], "bytes": message["bytes"]})
    TOLD.append(message)
    await send({"type": "websocket.send", "text": "too late"})


async def do_scope(scope, receive, send):
    TOLD.append({key: scope[key] for key in ("type", "scheme", "path", "subprotocols", "query_string", "env")})
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": 4002, "reason": "seen"})
    TOLD.append(await receive())
    TOLD.append(await receive())


async def do_refuses(scope, receive, send):
    await send({"type": "websocket.close"})
    await receive()
    TOLD.append(await receive())


async def do_denies(scope, receive, send):
    await send({"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-why", b"key")]})
    await send({"type": "websocket.http.response.body", "body": b"no ", "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b"key"})


async def do_silent(scope, receive, send):
    await receive()


async def do_raises(scope, receive, send):
    raise ValueError("before it accepts")


async def do_raises_later(scope, receive, send):
    await send({"type": "websocket.accept"})
    raise ValueError("after it accepted")


async def do_returns(scope, receive, send):
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": "all"})


async def do_disorder(scope, receive, send):
    await send({"type": "websocket.send", "text": "before accept"})


async def do_deaf(scope, receive, send):
    await send({"type": "websocket.accept"})
    await asyncio.sleep(10)
    TOLD.append([(await receive())["type"] for _ in range(4)])


def asked(path, env=None, **headers):
    return Request(f"https://x/{path}?q=1", headers={"Upgrade": "websocket", **headers})


class Client:
    """The end that the Worker returns, as its client has it."""

    def __init__(self, response):
        self.socket = response.web_socket
        self.told = asyncio.Queue()
        self.socket.addEventListener("message", lambda event: self.told.put_nowait(event.data))
        self.socket.addEventListener(
            "close", lambda event: self.told.put_nowait((event.code, event.reason, event.wasClean))
        )
        self.socket.accept()


async def connected(path, **headers):
    return Client(await asgi.websocket(app, asked(path, **headers), "env"))


def test_it_connects_at_once_and_receives_text_and_bytes_empty_ones_too():
    async def talk():
        response = await asgi.fetch(app, asked("echo", **{"Sec-WebSocket-Protocol": "b, a"}), "env")
        assert (response.status, response.headers["x-a"], response.headers["sec-websocket-protocol"]) == (101, "1", "b")
        client = Client(response)
        for message in ("text", "", b"bytes", b""):
            client.socket.send(message)
        assert [await client.told.get() for _ in range(4)] == ["text", "", b"bytes", b""]
        client.socket.close(4001, "bye")
        assert await client.told.get() == (4001, "bye", True)
        await asyncio.sleep(0.1)
        assert TOLD == [
            "lifespan.startup",
            {"type": "websocket.disconnect", "code": 4001, "reason": "bye"},
            "lifespan.shutdown",
        ]

    run(talk())


def test_its_scope_and_a_close_of_the_application():
    async def talk():
        client = await connected("scope", **{"Sec-WebSocket-Protocol": "a"})
        assert await client.told.get() == (4002, "seen", True)
        await asyncio.sleep(0.1)
        assert TOLD[1] == {
            "type": "websocket",
            "scheme": "wss",
            "path": "/scope",
            "subprotocols": ["a"],
            "query_string": b"q=1",
            "env": "env",
        }
        assert [TOLD[2], TOLD[3]["type"], TOLD[3]["code"]] == [
            {"type": "websocket.connect"},
            "websocket.disconnect",
            4002,
        ]

    run(talk())


def test_a_close_before_it_accepts_is_403_and_other_refusals_are_responses():
    async def talk():
        refused = await asgi.websocket(app, asked("refuses"))
        assert (refused.status, refused.web_socket) == (403, None)
        denied = await asgi.websocket(app, asked("denies"))
        assert (denied.status, denied.headers["x-why"], await denied.text()) == (401, "key", "no key")
        await asyncio.sleep(0.1)
        assert {"type": "websocket.disconnect", "code": 1006, "reason": ""} in TOLD

    run(talk())


@pytest.mark.parametrize(
    ("path", "error", "text"),
    [
        ("silent", RuntimeError, "did not generate a response"),
        ("raises", ValueError, "before it accepts"),
        ("disorder", RuntimeError, "out of order"),
    ],
)
def test_what_goes_wrong_before_it_accepts_is_raised_to_who_asked(path, error, text):
    async def talk():
        with pytest.raises(error, match=text):
            await asgi.websocket(app, asked(path))
        await asyncio.sleep(0.1)
        assert TOLD == ["lifespan.startup", "lifespan.shutdown"]

    run(talk())


def test_an_application_that_fails_later_closes_with_1011_and_is_logged(caplog):
    async def talk():
        client = await connected("raises_later")
        assert await client.told.get() == (1011, "", True)

    with caplog.at_level(logging.ERROR, "asgi"):
        run(talk())
    assert "closed with 1011" in caplog.text


def test_an_application_that_returns_closes_with_1000():
    async def talk():
        client = await connected("returns")
        assert [await client.told.get() for _ in range(2)] == ["all", (1000, "", True)]

    run(talk())


def test_a_client_that_is_gone_is_told_with_1006():
    async def talk():
        client = await connected("echo")
        client.socket._line.close(ABNORMAL, "")
        await asyncio.sleep(0.1)
        assert [event["code"] for event in TOLD if isinstance(event, dict)] == [1006]

    run(talk())


def test_what_an_application_does_not_read_is_bounded(monkeypatch):
    monkeypatch.setattr(asgi_socket, "WAITING_MESSAGES_MAX", 3)

    async def talk():
        client = await connected("deaf")
        for _ in range(10):
            client.socket.send("x")
        assert (await client.told.get())[0] == 1013
        await asyncio.sleep(20)
        assert TOLD[1] == ["websocket.connect", "websocket.receive", "websocket.receive", "websocket.disconnect"]

    run(asyncio.wait_for(talk(), 60))


def test_the_end_that_was_returned_is_not_accepted_by_the_application():
    async def talk():
        response = await asgi.websocket(app, asked("echo"))
        assert response.web_socket.give() is None
        with pytest.raises(InvalidArgument, match="already used in a response"):
            response.web_socket.give()

    run(talk())
