"""The sockets of an object that hibernate: acceptance, tags, attachments, handlers, closing (spec: websockets)."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from perdure.engine.durable import DurableObject
from perdure.engine.errors import InvalidArgument, ObjectReset, OutOfRange, Overloaded, PerdureError, SocketUnknown
from perdure.engine.http import HttpRequest, HttpResponse
from perdure.engine.limits import Limits
from perdure.engine.socket_calls import FAILED, Rules
from perdure.engine.web_socket import Behaviour
from perdure.engine.web_socket_pair import WebSocketPair, WebSocketRequestResponsePair
from perdure.testing.virtual import run

from .box import RESULTS, SCRIPTS
from .keeper import LOST, Realm, rounds
from .shelf import LoopClock


class Room(DurableObject):
    """Accepts whoever comes; what it does with messages a test says."""

    handlers: dict[str, object] = {}
    constructed = 0

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        Room.constructed += 1
        if "constructor" in Room.handlers:
            Room.handlers["constructor"](self)

    async def do(self, number):
        script, args = SCRIPTS.pop(number)
        result = script(self.ctx, *args)
        if hasattr(result, "__await__"):
            result = await result
        RESULTS[number] = result

    async def fetch(self, request):
        client, server = WebSocketPair.new()
        tags = [tag for name, given in request.headers if name == "tags" for tag in given.split(",")]
        self.ctx.acceptWebSocket(server, tags)
        if "welcome" in Room.handlers:
            server.send(Room.handlers["welcome"])
        return HttpResponse(101, [], None, web_socket=client)

    async def webSocketMessage(self, ws, message):
        await self._told("message", ws, message)

    async def webSocketClose(self, ws, code, reason, clean):
        await self._told("close", ws, code, reason, clean)

    async def webSocketError(self, ws, error):
        await self._told("error", ws, error)

    async def _told(self, what, *args):
        handler = Room.handlers.get(what)
        if handler is not None:
            result = handler(self.ctx, *args)
            if hasattr(result, "__await__"):
                await result


@asynccontextmanager
async def realm_of(folder, kind: type = Room, handlers=None, **options):
    Room.handlers, Room.constructed = handlers or {}, 0
    realm = Realm(kind, folder, clock=LoopClock(), **options)
    try:
        yield realm
    finally:
        realm.stop()


async def do(realm: Realm, script, *args, name: str = "a"):
    number = id(script) + len(SCRIPTS) + len(RESULTS)
    SCRIPTS[number] = (script, args)
    await realm.shard.send(name, "do", number)
    return RESULTS.pop(number)


def echo(_ctx, ws, message):
    ws.send(message)


def numbers(ctx):
    return [ctx.getTags(ws)[0] for ws in ctx.getWebSockets()]


# ---------------------------------------------------------------- accepting
def test_a_socket_that_is_accepted_gets_what_comes_and_sends(tmp_path):
    async def body() -> None:
        async with realm_of(tmp_path, handlers={"message": echo, "welcome": "hello"}) as realm:
            socket = await realm.connect("a")
            assert await realm.keeper.send(socket, "text") == b""
            await realm.keeper.send(socket, b"\x00\xff")
            await realm.keeper.send(socket, "")
            await realm.keeper.send(socket, b"")
            assert socket.got == ["hello", "text", b"\x00\xff", "", b""]
            assert socket.unacknowledged == {}

    run(body())


def test_text_is_a_str_and_binary_a_buffer(tmp_path):
    seen = []

    async def body() -> None:
        async with realm_of(tmp_path, handlers={"message": lambda _ctx, _ws, message: seen.append(message)}) as realm:
            socket = await realm.connect("a")
            await realm.keeper.send(socket, "é")
            await realm.keeper.send(socket, b"\x01\x02")
            assert seen[0] == "é"
            assert (seen[1].to_bytes(), seen[1].byteLength, len(seen[1]), bytes(seen[1].to_py())) == (
                b"\x01\x02", 2, 2, b"\x01\x02",
            )  # fmt: skip

    run(body())


def test_sockets_are_listed_newest_first_with_a_tag_in_order_of_acceptance_and_stay_the_same(tmp_path):
    def look(ctx):
        tagged = ctx.getWebSockets("both")
        assert [ctx.getTags(ws)[0] for ws in tagged] == ["1", "2", "3"]
        assert [ctx.getTags(ws)[0] for ws in ctx.getWebSockets()] == ["3", "2", "1"]
        assert list(reversed(ctx.getWebSockets())) == list(tagged)
        assert all(first is second for first, second in zip(ctx.getWebSockets(), ctx.get_web_sockets(), strict=True))
        assert ctx.getWebSockets("nobody") == []
        assert len(ctx.getWebSockets("2")) == 1
        ws = ctx.getWebSockets("2")[0]
        assert (ws.url, ws.protocol, ws.extensions, ws.readyState) == (None, "", "", 1)

    async def body() -> None:
        async with realm_of(tmp_path) as realm:
            for number in "123":
                await realm.connect("a", number, "both")
            await do(realm, look)
            realm.kill()
            await do(realm, look)

    run(body())


def test_tags_are_distinct_in_the_order_given_and_few_and_short(tmp_path):
    def look(ctx):
        _, server = WebSocketPair.new()
        for tags, phrase in (
            ([str(number) for number in range(11)], "cannot have more than 10 tags"),
            ([str(number) for number in range(10)] + ["0"], "cannot have more than 10 tags"),  # edge 42
            (["é" * 129], "longer than the max tag length"),
        ):
            with pytest.raises(InvalidArgument, match=phrase) as raised:
                ctx.acceptWebSocket(server, tags)
            assert raised.value.name == "Error"
        with pytest.raises(InvalidArgument, match="takes a list"):
            ctx.acceptWebSocket(server, "text")
        with pytest.raises(InvalidArgument, match="before attempting to access the tags"):
            ctx.getTags(server)
        assert ctx.getWebSockets() == []
        ctx.acceptWebSocket(server, ["b", "a", "b", "", "é" * 128])  # a failed one leaves the end as it is
        assert ctx.getTags(server) == ["b", "a", "", "é" * 128]
        _, standard = WebSocketPair.new()
        standard.accept()
        with pytest.raises(InvalidArgument, match="only hibernatable websockets can have tags"):
            ctx.getTags(standard)

    async def body() -> None:
        async with realm_of(tmp_path) as realm:
            await do(realm, look)

    run(body())


def test_an_end_is_accepted_in_one_way(tmp_path):
    def look(ctx):
        _, server = WebSocketPair.new()
        server.accept()
        with pytest.raises(InvalidArgument, match=r"already accepted via `accept\(\)`") as raised:
            ctx.acceptWebSocket(server)
        assert raised.value.name == "Error"
        client, server = WebSocketPair.new()
        client.accept()
        with pytest.raises(InvalidArgument, match="already been accepted or used in a Response") as raised:
            ctx.acceptWebSocket(server)
        assert raised.value.name == "Error"
        client, server = WebSocketPair.new()
        client.give()
        with pytest.raises(InvalidArgument, match="already been accepted or used in a Response"):
            ctx.acceptWebSocket(server)
        client, server = WebSocketPair.new()
        ctx.acceptWebSocket(server)
        with pytest.raises(InvalidArgument, match="after enabling hibernation") as raised:
            server.accept()
        assert raised.value.name == "TypeError"
        with pytest.raises(InvalidArgument, match="Can't return WebSocket in a Response"):
            server.give()
        with pytest.raises(InvalidArgument, match=r"already accepted via `accept\(\)`"):
            ctx.accept_web_socket(server)
        with pytest.raises(InvalidArgument, match="not of type 'WebSocket'"):
            ctx.acceptWebSocket("x")

    async def body() -> None:
        async with realm_of(tmp_path) as realm:
            await do(realm, look)

    run(body())


def test_an_object_has_a_bounded_number_of_sockets(tmp_path):
    assert Limits().sockets_max == 32_768

    def look(ctx):
        for _ in range(3):
            ctx.acceptWebSocket(WebSocketPair.new()[1])
        with pytest.raises(InvalidArgument, match="only 3 websockets can be accepted") as raised:
            ctx.acceptWebSocket(WebSocketPair.new()[1])
        assert raised.value.name == "Error"

    async def body() -> None:
        async with realm_of(tmp_path, limits=Limits(sockets_max=3)) as realm:
            await do(realm, look)

    run(body())


# ---------------------------------------------------------------- attachments
def test_an_attachment_is_a_copy_that_outlives_the_process(tmp_path):
    def attach(ctx):
        ws = ctx.getWebSockets()[0]
        assert ws.deserializeAttachment() is None
        value = {"user": "ann", "list": [1]}
        ws.serializeAttachment(value)
        value["list"].append(2)
        assert ws.deserializeAttachment() == {"user": "ann", "list": [1]}

    async def body() -> None:
        async with realm_of(tmp_path) as realm:
            await realm.connect("a", "x")
            await do(realm, attach)
            realm.kill()
            assert await do(realm, lambda ctx: ctx.getWebSockets()[0].deserializeAttachment()) == {
                "user": "ann", "list": [1],
            }  # fmt: skip

    run(body())


def test_an_attachment_that_was_there_before_is_kept_with_the_socket(tmp_path):
    class Early(Room):
        async def fetch(self, request):
            client, server = WebSocketPair.new()
            server.serializeAttachment("early")
            self.ctx.acceptWebSocket(server)
            return HttpResponse(101, [], None, web_socket=client)

    async def body() -> None:
        async with realm_of(tmp_path, Early) as realm:
            await realm.connect("a")
            realm.kill()
            assert await do(realm, lambda ctx: ctx.getWebSockets()[0].deserializeAttachment()) == "early"

    run(body())


def test_an_attachment_is_bounded_by_a_setting(tmp_path):
    def too_large(ctx, limit):
        ws = ctx.getWebSockets()[0]
        ws.serializeAttachment("x" * (limit - 3))
        with pytest.raises(InvalidArgument, match=f"cannot be larger than {limit} bytes.*{limit + 1} bytes") as raised:
            ws.serializeAttachment("x" * (limit - 2))
        assert raised.value.name == "Error"

    async def body() -> None:
        for given, limit in ((None, 16_384), (Limits(socket_attachment_bytes_max=4_096), 4_096)):
            async with realm_of(tmp_path / str(limit), limits=given) as realm:
                await realm.connect("a")
                await do(realm, too_large, limit)
        async with realm_of(tmp_path / "least", limits=Limits(socket_attachment_bytes_max=10)) as realm:
            await realm.connect("a")
            await do(realm, lambda ctx: ctx.getWebSockets()[0].serializeAttachment("x" * 2_045))

    run(body())


def test_an_attachment_and_what_is_stored_in_its_turn_are_there_both_or_neither(tmp_path):
    """S6: else a crash gives new storage with an old attachment."""

    def both(ctx, ws, message):
        ws.serializeAttachment(message)
        ctx.storage.kv.put("last", message)

    def look(ctx):
        return ctx.getWebSockets()[0].deserializeAttachment(), ctx.storage.kv.get("last")

    async def body() -> None:
        async with realm_of(tmp_path, handlers={"message": both}, auto=False) as realm:
            opening = asyncio.ensure_future(realm.connect("a"))
            await rounds()
            realm.shard.commits.commit()
            socket = await opening
            realm.keeper.send(socket, "1")
            await rounds()
            realm.shard.commits.commit()
            realm.keeper.send(socket, "2")
            await rounds()
            realm.kill(revive=False)
            realm.shard.commits.auto = True
            assert await do(realm, look) == ("1", "1")

    run(body())


# ---------------------------------------------------------------- automatic answers
def test_an_automatic_answer_is_told_to_the_holder_and_kept(tmp_path):
    def set_it(ctx):
        assert ctx.getWebSocketAutoResponse() is None
        ctx.setWebSocketAutoResponse(WebSocketRequestResponsePair.new("ping", "pong"))

    def look(ctx):
        pair = ctx.getWebSocketAutoResponse()
        return pair.request, pair.response

    async def body() -> None:
        async with realm_of(tmp_path) as realm:
            await realm.connect("a")
            await do(realm, set_it)
            assert realm.keeper.rules_told[-1] == Rules("ping", "pong")
            told = len(realm.keeper.rules_told)
            await do(realm, lambda ctx: ctx.setWebSocketAutoResponse(WebSocketRequestResponsePair("ping", "pong")))
            assert len(realm.keeper.rules_told) == told, "only what has changed is told"
            realm.kill()
            assert await do(realm, look) == ("ping", "pong")
            await rounds()
            assert realm.keeper.rules_told[-1] == Rules("ping", "pong"), "a holder that is met is told"
            await do(realm, lambda ctx: ctx.setWebSocketAutoResponse())
            assert realm.keeper.rules_told[-1] == Rules()
            assert await do(realm, lambda ctx: ctx.getWebSocketAutoResponse()) is None

    run(body())


def test_texts_of_an_automatic_answer_that_are_too_long(tmp_path):
    def set_it(ctx):
        for request, response, phrase in (("x" * 2_049, "", "Request"), ("", "é" * 1_025, "Response")):
            with pytest.raises(OutOfRange, match="cannot be larger than 2048 bytes") as raised:
                ctx.setWebSocketAutoResponse(WebSocketRequestResponsePair(request, response))
            assert raised.value.message.startswith(phrase)
            assert str(2_049 if phrase == "Request" else 2_050) in raised.value.message
        with pytest.raises(InvalidArgument, match="WebSocketRequestResponsePair"):
            ctx.setWebSocketAutoResponse("ping")

    async def body() -> None:
        async with realm_of(tmp_path) as realm:
            await do(realm, set_it)

    run(body())


def test_the_time_of_the_last_automatic_answer(tmp_path):
    def look(ctx):
        moment = ctx.getWebSocketAutoResponseTimestamp(ctx.getWebSockets()[0])
        return None if moment is None else moment.timestamp()

    async def body() -> None:
        async with realm_of(tmp_path) as realm:
            socket = await realm.connect("a")
            assert await do(realm, look) is None
            socket.auto_ms = 5_000
            await realm.keeper.send(socket, "x")
            assert await do(realm, look) == 5.0
            await do(realm, lambda ctx: ctx.setWebSocketAutoResponse())
            assert await do(realm, look) == 5.0, "kept after clearing"
            socket.auto_ms = 9_000
            realm.kill()
            await do(realm, lambda ctx: None)
            await rounds()
            assert await do(realm, look) == 9.0, "a holder that is asked says it too"

    run(body())


# ---------------------------------------------------------------- handlers
def test_handlers_of_one_socket_start_in_order_and_may_interleave_where_they_wait(tmp_path):
    told = []

    async def handler(ctx, ws, message):
        told.append(f"{message} begins")
        ctx.storage.kv.put("x", message)
        await ctx.storage.get("x")
        told.append(f"{message} has stored")
        if message == "1":
            await asyncio.sleep(5)
        told.append(f"{message} ends")

    async def body() -> None:
        async with realm_of(tmp_path, handlers={"message": handler}) as realm:
            socket = await realm.connect("a")
            first = realm.keeper.send(socket, "1")
            second = realm.keeper.send(socket, "2")
            await asyncio.gather(first, second)
            assert told == [
                "1 begins", "1 has stored", "2 begins", "2 has stored", "2 ends", "1 ends",
            ]  # fmt: skip

    run(body())


def test_what_a_handler_raises_is_logged_and_the_socket_stays_open(tmp_path):
    def handler(ctx, ws, message):
        ctx.storage.kv.put("written", message)
        ws.send("sent before")
        raise ValueError("mine")

    async def body() -> None:
        async with realm_of(tmp_path, handlers={"message": handler}) as realm:
            socket = await realm.connect("a")
            assert await realm.keeper.send(socket, "x") == b"", "it is handled"
            assert socket.got == ["sent before"]
            assert not socket.ended
            logged = [fields for _, event, fields in realm.shard.logs if event == "raised"]
            assert "ValueError: mine" in logged[0]["traceback"]
            assert logged[0]["method"] == "webSocketMessage"
            assert await do(realm, lambda ctx: ctx.storage.kv.get("written")) == "x"

    run(body())


def test_a_missing_handler_is_no_error(tmp_path):
    class Without(DurableObject):
        fetch = Room.fetch

    async def body() -> None:
        async with realm_of(tmp_path, Without) as realm:
            socket = await realm.connect("a")
            assert await realm.keeper.send(socket, "x") == b""
            assert await realm.keeper.close(socket) == b""
            assert realm.keeper.errors == []

    run(body())


def test_handlers_take_what_they_need_and_have_old_names_in_old_programs(tmp_path):
    told = []

    class Old(Room):
        def on_webSocketMessage(self, ws):
            told.append("message")

        def on_webSocketClose(self, *args):
            told.append(args[1:])

    async def body() -> None:
        async with realm_of(tmp_path, Old, legacy_handler_names=True) as realm:
            socket = await realm.connect("a")
            await realm.keeper.send(socket, "x")
            await realm.keeper.close(socket, 4000, "bye")
            assert told == ["message", (4000, "bye", True)]

    run(body())


def test_a_socket_s_message_wakes_its_object_and_sleep_keeps_the_connection(tmp_path):
    async def body() -> None:
        async with realm_of(tmp_path, handlers={"message": echo}) as realm:
            socket, other = await realm.connect("a"), await realm.connect("b")
            await asyncio.sleep(12)
            assert realm.shard.residents.count == 0
            assert Room.constructed == 2
            await realm.keeper.send(socket, "x")
            assert socket.got == ["x"]
            assert not other.ended
            assert (Room.constructed, realm.shard.residents.count) == (3, 1), "it wakes only its object"

    run(body())


def test_what_a_socket_costs_is_metered(tmp_path):
    async def body() -> None:
        async with realm_of(tmp_path, handlers={"message": echo}) as realm:
            socket = await realm.connect("a")
            meters = realm.shard.instance("a").meters
            assert (meters.requests, meters.messages) == (2, 0), "the upgrade, and opening"
            await realm.keeper.send(socket, "x")
            await realm.keeper.close(socket)
            assert (meters.requests, meters.messages) == (2, 1)

    run(body())


# ---------------------------------------------------------------- closing
@pytest.mark.parametrize("given", [(1000, "bye", True), (None, "", True), LOST], ids=["closed", "no code", "lost"])
def test_the_peer_s_close_is_told_with_the_socket_listed_until_it_suspends(tmp_path, given):
    told = []

    async def handler(ctx, ws, code, reason, clean):
        told.append((code, reason, clean, ws.readyState, ws in ctx.getWebSockets(), ctx.getTags(ws)))
        await ctx.storage.get("x")
        told.append(len(ctx.getWebSockets()))
        await asyncio.sleep(1)
        told.append(len(ctx.getWebSockets()))
        ws.send("ignored")

    async def body() -> None:
        async with realm_of(tmp_path, handlers={"close": handler}) as realm:
            socket = await realm.connect("a", "tag")
            await realm.keeper.close(socket, *given)
            code = 1005 if given[0] is None else given[0]
            assert told == [(code, given[1], given[2], 3, True, ["tag"]), 1, 0]
            assert await do(realm, lambda ctx: len(ctx.getWebSockets())) == 0
            realm.kill()
            assert await do(realm, lambda ctx: len(ctx.getWebSockets())) == 0, "its row has gone"

    run(body())


def test_read_errors_are_told_to_the_error_handler(tmp_path):
    told = []

    def handler(ctx, ws, error):
        told.append((type(error), error.message, len(ctx.getWebSockets())))

    async def body() -> None:
        async with realm_of(tmp_path, handlers={"error": handler}) as realm:
            socket = await realm.connect("a")
            await realm.keeper.send(socket, "invalid UTF-8", FAILED)
            assert told == [(PerdureError, "invalid UTF-8", 1)]
            assert await do(realm, lambda ctx: len(ctx.getWebSockets())) == 0

    run(body())


def test_edge_43_close_inside_of_the_close_handler_is_allowed_and_gives_the_object_s_reason(tmp_path):
    def handler(ctx, ws, code, reason, clean):
        ws.close(1000, "mine")
        ws.close(1001, "again")
        with pytest.raises(InvalidArgument, match="after close"):
            ws.send("x")

    async def body() -> None:
        for manual in (False, True):
            sockets = Behaviour(replies_to_close=not manual)
            async with realm_of(tmp_path / str(manual), handlers={"close": handler}, sockets=sockets) as realm:
                socket = await realm.connect("a")
                assert realm.keeper.rules_told[-1].replies_to_close is not manual
                await realm.keeper.close(socket, 1000, "theirs")
                assert socket.got == [(1000, "mine")]

    run(body())


def test_before_2026_04_07_the_state_is_closing_in_the_close_handler(tmp_path):
    told = []

    async def body() -> None:
        handlers = {"close": lambda _ctx, ws, *_: told.append(ws.readyState)}
        async with realm_of(tmp_path, handlers=handlers, sockets=Behaviour(replies_to_close=False)) as realm:
            socket = await realm.connect("a")
            await realm.keeper.close(socket)
            assert told == [2]

    run(body())


def test_an_object_that_closes_hears_of_what_comes_until_the_peer_closes_too(tmp_path):
    told = []

    def close(ctx):
        ws = ctx.getWebSockets()[0]
        ws.close(4000, "over")
        return ws.readyState, len(ctx.getWebSockets())

    async def body() -> None:
        handlers = {
            "message": lambda _ctx, _ws, message: told.append(message),
            "close": lambda ctx, ws, *args: told.append((*args, ws.readyState, len(ctx.getWebSockets()))),
        }
        async with realm_of(tmp_path, handlers=handlers) as realm:
            socket = await realm.connect("a")
            assert await do(realm, close) == (2, 1)
            assert socket.got == [(4000, "over")]
            await realm.keeper.send(socket, "late")
            await realm.keeper.close(socket, 4000, "over")
            assert told == ["late", (4000, "over", True, 3, 1)]

    run(body())


def test_failures_of_send_and_close_at_an_object(tmp_path):
    def look(ctx):
        _, server = WebSocketPair.new()
        with pytest.raises(InvalidArgument, match="before sending messages"):
            server.send("x")
        ctx.acceptWebSocket(server)
        for code in (999, 1004, 1005, 1006, 1015, 5000):
            with pytest.raises(InvalidArgument, match=f"Invalid WebSocket close code: {code}"):
                server.close(code)
        server.close(1000, "bye")
        with pytest.raises(InvalidArgument, match=r"Can't call WebSocket send\(\) after close\(\)"):
            server.send("x")

    async def body() -> None:
        async with realm_of(tmp_path) as realm:
            await do(realm, look)

    run(body())


# ---------------------------------------------------------------- timeouts, resets
def test_an_event_that_takes_too_long_ends_its_object(tmp_path):
    async def slow(ctx, ws, message):
        ws.send("begun")
        await asyncio.sleep(60)

    def set_it(ctx):
        assert ctx.getHibernatableWebSocketEventTimeout() is None
        ctx.setHibernatableWebSocketEventTimeout(604_800_000)
        with pytest.raises(InvalidArgument, match="should not exceed 604800000 ms") as raised:
            ctx.setHibernatableWebSocketEventTimeout(604_800_001)
        assert raised.value.name == "Error"
        ctx.setHibernatableWebSocketEventTimeout(500)

    async def body() -> None:
        async with realm_of(tmp_path, handlers={"message": slow}) as realm:
            socket = await realm.connect("a")
            await do(realm, set_it)
            realm.kill()
            assert await do(realm, lambda ctx: ctx.get_hibernatable_web_socket_event_timeout()) == 500
            answer = await realm.keeper.send(socket, "x")
            assert isinstance(answer, ObjectReset)
            assert "exceeded event execution time" in answer.message
            assert socket.got == ["begun", "cut"]
            await do(realm, lambda ctx: ctx.setHibernatableWebSocketEventTimeout(0))
            assert await do(realm, lambda ctx: ctx.getHibernatableWebSocketEventTimeout()) is None

    run(body())


def abort(ctx, *_):
    ctx.abort("enough")


def test_an_object_that_is_reset_by_its_own_fault_loses_its_sockets(tmp_path):
    async def body() -> None:
        closed = []
        handlers = {"message": abort, "close": lambda *args: closed.append(args)}
        async with realm_of(tmp_path, handlers=handlers) as realm:
            socket, other = await realm.connect("a"), await realm.connect("a")
            answer = await realm.keeper.send(socket, "x")
            assert answer.durableObjectReset
            assert socket.got == other.got == ["cut"], "the client sees 1006"
            assert await do(realm, lambda ctx: len(ctx.getWebSockets())) == 0
            realm.kill()
            assert await do(realm, lambda ctx: len(ctx.getWebSockets())) == 0
            await asyncio.sleep(30)
            assert closed == [], "nobody is told"

    run(body())


def test_what_an_earlier_turn_sent_leaves_before_the_connection_ends(tmp_path):
    def handler(ctx, ws, message):
        ctx.storage.kv.put("x", message)
        ws.send("promised")

    async def body() -> None:
        async with realm_of(tmp_path, handlers={"message": handler}, auto=False) as realm:
            opening = asyncio.ensure_future(realm.connect("a"))
            await rounds()
            realm.shard.commits.commit()
            socket = await opening
            realm.keeper.send(socket, "x")
            await rounds()
            with pytest.raises(PerdureError, match="enough"):
                await do(realm, abort)
            assert socket.got == []
            realm.shard.commits.commit()
            assert socket.got == ["promised", "cut"]

    run(body())


def test_an_object_that_cannot_start_loses_its_sockets(tmp_path):
    def fail(_self):
        raise ValueError("no start")

    async def body() -> None:
        async with realm_of(tmp_path) as realm:
            socket = await realm.connect("a")
            realm.kill()
            Room.handlers = {"constructor": fail}
            answer = await realm.keeper.send(socket, "x")
            assert "no start" in answer.message
            assert socket.got == ["cut"]
            Room.handlers = {}
            assert await do(realm, lambda ctx: len(ctx.getWebSockets())) == 0

    run(body())


def test_a_class_may_have_its_sockets_survive_a_reset(tmp_path):
    class Stays(Room):
        sockets_survive_reset = True

    async def body() -> None:
        async with realm_of(tmp_path, Stays, handlers={"message": abort}) as realm:
            socket = await realm.connect("a", "tag")
            assert isinstance(await realm.keeper.send(socket, "x"), Overloaded)
            assert socket.got == []
            Room.handlers = {"message": echo}
            realm.keeper.again()
            await rounds()
            assert socket.got == ["x"], "it goes on to the next instance"
            assert await do(realm, numbers) == ["tag"]

    run(body())


def test_delete_all_keeps_the_sockets(tmp_path):
    async def body() -> None:
        async with realm_of(tmp_path, handlers={"message": echo}) as realm:
            socket = await realm.connect("a", "tag")
            await do(realm, lambda ctx: ctx.storage.deleteAll())
            await realm.keeper.send(socket, "x")
            assert socket.got == ["x"]
            realm.kill()
            assert await do(realm, numbers) == ["tag"]
            await do(realm, lambda ctx: ctx.storage.deleteAll())
            await asyncio.sleep(15)
            assert await do(realm, numbers) == ["tag"], "an object with sockets is not empty"

    run(body())


# ---------------------------------------------------------------- unknown sockets, lost holders
def test_a_socket_that_nobody_knows_is_ended_without_constructing_anything(tmp_path):
    async def body() -> None:
        async with realm_of(tmp_path) as realm:
            socket = await realm.connect("a")
            await realm.keeper.close(socket)
            realm.kill()
            before = Room.constructed
            assert isinstance(await realm.keeper.send(socket, "x"), SocketUnknown)
            assert Room.constructed == before
            assert socket.got == ["cut"]

    run(body())


def test_a_socket_that_no_holder_has_is_closed_after_ten_seconds(tmp_path):
    told = []

    async def body() -> None:
        handlers = {"close": lambda _ctx, _ws, *args: told.append(args)}
        async with realm_of(tmp_path, handlers=handlers) as realm:
            await realm.connect("a")
            realm.keeper.connections.clear()
            realm.kill()
            assert await do(realm, lambda ctx: len(ctx.getWebSockets())) == 1
            await asyncio.sleep(9.5)
            assert told == []
            await asyncio.sleep(1)
            assert told == [LOST]
            assert await do(realm, lambda ctx: len(ctx.getWebSockets())) == 0

    run(body())


def test_a_connection_that_is_never_opened_is_closed_after_ten_seconds(tmp_path):
    told = []

    async def body() -> None:
        handlers = {"close": lambda _ctx, _ws, *args: told.append(args)}
        async with realm_of(tmp_path, handlers=handlers) as realm:
            response = await realm.shard.fetch("a", HttpRequest("GET", "https://h/", [("Upgrade", "websocket")]))
            assert response.web_socket is not None
            await asyncio.sleep(9)
            assert told == []
            await asyncio.sleep(2)
            assert told == [LOST]

    run(body())


def test_a_holder_that_ends_takes_its_connections_with_it(tmp_path):
    told = []

    async def body() -> None:
        handlers = {"close": lambda _ctx, _ws, *args: told.append(args)}
        async with realm_of(tmp_path, handlers=handlers) as realm:
            await realm.connect("a")
            await realm.connect("a")
            realm.shard.residents.holder_gone(realm.keeper)
            await rounds()
            assert told == [LOST, LOST]
            assert await do(realm, lambda ctx: len(ctx.getWebSockets())) == 0

    run(body())


def test_a_holder_is_told_to_end_what_the_object_does_not_know(tmp_path):
    async def body() -> None:
        async with realm_of(tmp_path) as realm:
            kept, lost = await realm.connect("a"), await realm.connect("a")
            realm.kill()
            await do(realm, lambda ctx: None)
            lost.ref = type(lost.ref)(lost.ref.class_key, lost.ref.object_id, "a", b"unknown!", True)
            realm.keeper.connections[b"unknown!"] = lost
            realm.keeper.tell_held(False)
            await rounds()
            assert lost.got == ["cut"]
            assert not kept.ended

    run(body())


# ---------------------------------------------------------------- slow readers
def test_a_slow_reader_is_seen(tmp_path):
    told = []

    async def handler(ctx, ws, message):
        waits = ws.send("x")
        told.append(ws.bufferedAmount)
        await waits
        told.append("has room")

    async def body() -> None:
        async with realm_of(tmp_path, handlers={"message": handler}) as realm:
            socket = await realm.connect("a")
            residents, key = realm.shard.residents, realm.shard.key.id_from_name("a")
            await realm.keeper.send(socket, "1")
            residents.buffered(realm.keeper, key, socket.ref.socket, 100_000)
            waiting = realm.keeper.send(socket, "2")
            await rounds()
            assert told == [0, "has room", 100_000]
            assert not waiting.done()
            residents.buffered(realm.keeper, key, socket.ref.socket, 1_000)
            await waiting
            assert told[3:] == ["has room"]

    run(body())


def test_what_happens_to_a_slow_reader_is_the_object_s_choice(tmp_path):
    def choose(ctx):
        assert ctx.getWebSocketOverflow() == "close"
        ctx.setWebSocketOverflow("drop")
        with pytest.raises(InvalidArgument, match="'close' or 'drop'"):
            ctx.set_web_socket_overflow("ignore")

    async def body() -> None:
        async with realm_of(tmp_path) as realm:
            await realm.connect("a")
            await do(realm, choose)
            assert realm.keeper.rules_told[-1].overflow == "drop"
            realm.kill()
            assert await do(realm, lambda ctx: ctx.get_web_socket_overflow()) == "drop"

    run(body())
