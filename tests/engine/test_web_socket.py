"""One end of a WebSocket, where no object runs: pairs, ends that are given away and taken, failures (spec: websockets)."""

from __future__ import annotations

import asyncio

import pytest
from perdure.engine.errors import InvalidArgument, OutOfRange, ValueTooLarge
from perdure.engine.socket_calls import SocketRef
from perdure.engine.values import Buffer
from perdure.engine.web_socket import BEHAVIOUR, EARLY_MESSAGES_MAX, Behaviour, WebSocket
from perdure.engine.web_socket_pair import WebSocketPair, WebSocketRequestResponsePair
from perdure.testing.virtual import run


class Heard:
    """What an end's listeners were told."""

    def __init__(self, end: WebSocket) -> None:
        self.told: list[object] = []
        end.addEventListener("message", lambda event: self.told.append(event.data))
        end.addEventListener("close", lambda event: self.told.append((event.code, event.reason, event.wasClean)))
        end.addEventListener("error", lambda event: self.told.append(event.message))
        end.addEventListener("open", lambda event: self.told.append(event.type))


class Tap:
    """A line and a sink: notes what passes."""

    buffered = 0

    def __init__(self) -> None:
        self.sent: list[object] = []
        self.came: list[object] = []

    def send(self, data):
        self.sent.append(data)

    def close(self, code, reason):
        self.sent.append((code, reason))

    def message(self, data):
        self.came.append(data)

    def closed(self, code, reason, clean):
        self.came.append((code, reason, clean))

    def failed(self, text):
        self.came.append(text)


async def rounds(count: int = 4) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_a_pair_can_be_taken_apart_in_each_way():
    async def body() -> None:
        pair = WebSocketPair.new()
        client, server = pair
        assert pair.object_values() == [client, server]
        assert (pair[0], pair[1], pair["1"]) == (client, server, server)
        first, second = pair.object_values()
        assert (first, second) == (client, server)
        assert [key for key, _ in pair.object_entries()] == ["0", "1"]
        assert len(pair) == 2
        assert getattr(pair, "0") is client

    run(body())


def test_what_one_end_sends_the_other_hears_in_order_empty_frames_too():
    async def body() -> None:
        client, server = WebSocketPair.new()
        heard = Heard(client)
        server.accept()
        server.accept()
        for data in ("a", "", b"", b"\x00\xff", bytearray(b"xy"), memoryview(b"z"), 5, True):
            server.send(data)
        client.accept()
        await rounds()
        assert heard.told == ["a", "", b"", b"\x00\xff", b"xy", b"z", "5", "true"]
        assert type(heard.told[2]) is Buffer
        assert heard.told[3].to_bytes() == b"\x00\xff"
        await server.send("awaited")
        await rounds()
        assert heard.told[-1] == "awaited"

    run(body())


def test_closing_tells_the_other_end_and_is_answered():
    async def body() -> None:
        client, server = WebSocketPair.new()
        of_client, of_server = Heard(client), Heard(server)
        client.accept(), server.accept()
        assert (client.readyState, server.readyState) == (1, 1)
        client.close(3000, "bye")
        client.close(3001, "again")  # edge 43: silent
        assert client.readyState == WebSocket.CLOSING == 2
        await rounds()
        assert of_server.told == [(3000, "bye", True)]
        assert server.readyState == WebSocket.CLOSED == 3
        assert [code for code, _, _ in of_client.told] == [3000]
        with pytest.raises(InvalidArgument, match=r"Can't call WebSocket send\(\) after close\(\)"):  # edge 43
            client.send("late")
        server.send("ignored: the peer has gone")  # edge 43
        await rounds()
        assert len(of_client.told) == 1

    run(body())


def test_before_2026_04_07_the_program_answers_a_close_itself():
    async def body() -> None:
        BEHAVIOUR.set(Behaviour(replies_to_close=False))
        client, server = WebSocketPair.new()
        of_client, of_server = Heard(client), Heard(server)
        client.accept(), server.accept()
        client.close()
        await rounds()
        assert of_server.told == [(1005, "", True)]
        assert (server.readyState, client.readyState) == (2, 2)
        assert of_client.told == []
        server.close(1000, "answered")
        await rounds()
        assert of_client.told == [(1000, "answered", True)]
        assert client.readyState == server.readyState == 3

    run(body())


CODES = [0, 999, 1004, 1005, 1006, 1015, 5000, -1, "x"]


@pytest.mark.parametrize("code", CODES)
def test_close_codes_that_nobody_may_send(code):
    async def body() -> None:
        _, server = WebSocketPair.new()
        server.accept()
        with pytest.raises(InvalidArgument, match="Invalid WebSocket close code: ") as raised:
            server.close(code, "")
        assert raised.value.name == "InvalidAccessError"
        assert server.readyState == 1

    run(body())


def test_reasons_need_a_code_and_fit_into_their_frame():
    async def body() -> None:
        _, server = WebSocketPair.new()
        server.accept()
        with pytest.raises(InvalidArgument, match="you must also specify a code") as raised:
            server.close(None, "why")
        assert raised.value.name == "InvalidAccessError"
        with pytest.raises(InvalidArgument, match="must not be longer than 123 bytes") as raised:
            server.close(1000, "é" * 62)
        assert raised.value.name == "SyntaxError"
        server.close(1000, "é" * 61)

    run(body())


def test_before_2026_03_03_a_long_reason_is_cut_off():
    async def body() -> None:
        BEHAVIOUR.set(Behaviour(bounds_reasons=False))
        client, server = WebSocketPair.new()
        heard = Heard(client)
        client.accept(), server.accept()
        server.close(1000, "é" * 100)
        await rounds()
        assert heard.told == [(1000, "é" * 61, True)]

    run(body())


def test_an_end_is_used_once():
    async def body() -> None:
        client, server = WebSocketPair.new()
        with pytest.raises(InvalidArgument, match="before sending messages") as raised:
            server.send("early")
        assert raised.value.name == "TypeError"
        assert "accept()" in raised.value.message
        assert "acceptWebSocket()" in raised.value.message
        with pytest.raises(InvalidArgument, match="before sending messages"):
            server.close()
        server.accept()
        for use in (server.give, lambda: server.take(Tap())):
            with pytest.raises(InvalidArgument, match="Can't return WebSocket in a Response") as raised:
                use()
            assert "accept()" in raised.value.message
            assert "acceptWebSocket()" in raised.value.message
        assert client.give() is None
        with pytest.raises(InvalidArgument, match="already used in a response"):
            client.give()
        with pytest.raises(InvalidArgument, match="already used in a response"):
            client.accept()
        client.take(Tap())
        with pytest.raises(InvalidArgument, match="already used in a response"):
            client.take(Tap())

    run(body())


def test_an_end_that_is_taken_passes_on_what_came_before_too():
    async def body() -> None:
        client, server = WebSocketPair.new()
        heard, tap = Heard(server), Tap()
        server.accept()
        server.send("before")
        await rounds()
        line = client.take(tap)
        server.send(b"after")
        await rounds()
        assert tap.came == ["before", b"after"]
        line.send("from outside")
        line.close(1001, "left")
        await rounds()
        assert heard.told == ["from outside", (1001, "left", True)]
        assert tap.came[-1][0] == 1001, "the close is answered"

    run(body())


def test_a_connection_that_is_lost_is_1006():
    async def body() -> None:
        client, server = WebSocketPair.new()
        heard = Heard(server)
        server.accept()
        client.take(Tap()).close(1006, "")
        await rounds()
        assert heard.told == [(1006, "disconnected without sending Close frame", False)]
        assert server.readyState == 3
        server.send("ignored")

    run(body())


def test_an_outgoing_connection_waits_until_it_is_accepted_and_can_be_passed_on():
    async def body() -> None:
        tap = Tap()
        out = WebSocket.of_line(tap, url="wss://there/x", protocol="chat", extensions="permessage-deflate")
        assert (out.url, out.protocol, out.extensions) == ("wss://there/x", "chat", "permessage-deflate")
        out.arrive("first")
        heard = Heard(out)
        out.accept()
        out.arrive("second")
        out.broke("broken frame")
        out.ended(1006, "gone", False)
        out.ended(1006, "gone", False)
        await rounds()
        assert heard.told == ["first", "second", "broken frame", (1006, "gone", False)]
        relayed, sink = WebSocket.of_line(tap), Tap()
        relayed.arrive("1")
        line = relayed.take(sink)
        relayed.arrive("2")
        assert line is tap
        assert sink.came == ["1", "2"]

    run(body())


def test_an_object_s_end_is_opened_when_it_is_accepted_or_passed_on_as_it_is():
    async def body() -> None:
        ref = SocketRef("class", b"i" * 32, "name", b"12345678", True)
        opened: list[tuple[SocketRef, object]] = []

        class Opens:
            def open(self, ref, sink):
                opened.append((ref, sink))
                return Tap()

        assert WebSocket.of_ref(ref, Opens(), "chat").give() is ref
        assert opened == []
        end = WebSocket.of_ref(ref, Opens(), "chat")
        assert end.protocol == "chat"
        heard = Heard(end)
        end.accept()
        opened[0][1].message("hello")
        opened[0][1].closed(1000, "", True)
        await rounds()
        assert heard.told == ["hello", (1000, "", True)]
        sink = Tap()
        WebSocket.of_ref(ref, Opens(), "").take(sink)
        assert opened[1] == (ref, sink)

    run(body())


def test_one_made_by_its_address_opens_by_itself():
    async def body() -> None:
        made, tap = WebSocket.connecting("wss://there"), Tap()
        heard = Heard(made)
        assert made.readyState == WebSocket.CONNECTING == 0
        with pytest.raises(InvalidArgument, match="open event") as raised:
            made.send("early")
        assert raised.value.name == "InvalidStateError"
        with pytest.raises(InvalidArgument, match="cannot call accept"):
            made.accept()
        made.opened(tap, "chat")
        await rounds()
        assert (made.readyState, made.protocol, heard.told) == (1, "chat", ["open"])
        made.send("x")
        assert tap.sent == ["x"]
        other, tap = WebSocket.connecting("wss://there"), Tap()
        heard = Heard(other)
        other.close()
        other.opened(tap)
        await rounds()
        assert tap.sent == [(1006, "")]
        assert [code for code, _, _ in heard.told] == [1006]

    run(body())


def test_what_comes_before_anybody_accepts_is_bounded():
    async def body() -> None:
        tap = Tap()
        out = WebSocket.of_line(tap)
        for _ in range(EARLY_MESSAGES_MAX + 10):
            out.arrive("x")
        assert tap.sent == [(1013, "the WebSocket was not accepted")]
        heard = Heard(out)
        out.accept()
        await rounds()
        assert heard.told.count("x") == EARLY_MESSAGES_MAX
        assert heard.told[-1] == (1006, "disconnected without sending Close frame", False)

    run(body())


def test_listeners_once_objects_attributes_async_and_what_they_raise():
    async def body() -> None:
        problems: list[object] = []
        loop = asyncio.get_running_loop()
        loop.call_exception_handler = lambda context: problems.append(context["exception"])  # type: ignore[method-assign]
        _, server = WebSocketPair.new()
        told: list[object] = []

        class Handles:
            def handleEvent(self, event):
                told.append(("object", event.data))

        async def slow(event):
            await asyncio.sleep(1)
            told.append(("async", event.data))

        def raises(_event):
            raise ValueError("mine")

        server.addEventListener("message", lambda event: told.append(("once", event.data)), {"once": True})
        server.addEventListener("message", Handles())
        server.addEventListener("message", raises)
        server.addEventListener("message", slow)
        server.addEventListener("message", slow)
        server.onmessage = lambda event: told.append(("named", event.target is server))
        server.accept()
        server.arrive("1")
        await rounds()
        server.removeEventListener("message", raises)
        server.arrive("2")
        await asyncio.sleep(3)
        assert told == [
            ("once", "1"), ("object", "1"), ("named", True), ("object", "2"), ("named", True), ("async", "1"), ("async", "2"),
        ]  # fmt: skip
        assert [str(problem) for problem in problems] == ["mine"]

    run(body())


def test_attachments_are_copies():
    async def body() -> None:
        _, server = WebSocketPair.new()
        assert server.deserializeAttachment() is None
        value = {"a": [1]}
        server.serializeAttachment(value)
        value["a"].append(2)
        assert server.deserializeAttachment() == {"a": [1]}
        server.deserialize_attachment()["a"].append(3)
        assert server.deserialize_attachment() == {"a": [1]}

    run(body())


def test_what_cannot_be_sent():
    async def body() -> None:
        client, server = WebSocketPair.new()
        server.accept()
        with pytest.raises(InvalidArgument, match="not dict"):
            server.send({})
        with pytest.raises(ValueTooLarge):
            server.send("x" * ((32 << 20) + 1))
        heard = Heard(client)
        client.accept()
        server.send("half a pair \ud800")
        await rounds()
        assert heard.told == ["half a pair ?"]

    run(body())


def test_a_line_that_has_enough_is_waited_for():
    async def body() -> None:
        room = asyncio.get_running_loop().create_future()

        class Slow(Tap):
            buffered = 70_000

            def send(self, data):
                super().send(data)
                return room

        out = WebSocket.of_line(Slow())
        out.accept()
        waits = asyncio.ensure_future(out.send("x"))  # type: ignore[arg-type]
        await rounds()
        assert not waits.done()
        assert out.bufferedAmount == 70_000
        room.set_result(None)
        await waits

    run(body())


def test_texts_of_an_automatic_answer_are_bounded():
    pair = WebSocketRequestResponsePair.new("ping", "pong")
    assert (pair.request, pair.response, pair.getRequest(), pair.getResponse()) == ("ping", "pong", "ping", "pong")
    WebSocketRequestResponsePair("é" * 1024, "x" * 2048).check()
    with pytest.raises(OutOfRange, match="RangeError: Request cannot be larger than 2048 bytes.* 2050 ") as raised:
        WebSocketRequestResponsePair("é" * 1025, "").check()
    assert raised.value.name == "RangeError"
    with pytest.raises(OutOfRange, match="RangeError: Response cannot be larger than 2048 bytes.* 2049 "):
        WebSocketRequestResponsePair("", "x" * 2049).check()
