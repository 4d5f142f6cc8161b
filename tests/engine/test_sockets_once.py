"""Each message of a socket is handled once, and what its handler sends arrives once, whatever dies when (decision 015).

Handlers that suspend between two writes are left out: they are at least once, as stated there.
"""

from __future__ import annotations

import asyncio
import tempfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from perdure.engine.durable import DurableObject
from perdure.engine.gate import OutputGate
from perdure.engine.http import HttpResponse
from perdure.engine.socket_calls import SocketCall
from perdure.engine.stored_sockets import StoredSockets
from perdure.engine.web_socket_pair import WebSocketPair
from perdure.testing.virtual import run

from .keeper import Realm, rounds
from .shelf import LoopClock

WRITES, SENDS, WAITS_AND_SENDS, SENDS_WAITS_WRITES, KEYS = "write", "send", "wait", "send-wait-write", "keys"
KINDS = [WRITES, SENDS, WAITS_AND_SENDS, SENDS_WAITS_WRITES, KEYS]


class Room(DurableObject):
    """Notes messages in SQL or KV, and tells all sockets of them."""

    async def fetch(self, request):
        client, server = WebSocketPair.new()
        self.ctx.acceptWebSocket(server)
        return HttpResponse(101, [], None, web_socket=client)

    async def webSocketMessage(self, ws, message):
        kind, _, _ = message.partition(" ")
        if kind in (WAITS_AND_SENDS, SENDS_WAITS_WRITES):
            ws.send(f"{message} before")
            await asyncio.sleep(0.05)
        if kind in (WRITES, SENDS_WAITS_WRITES):
            self.ctx.storage.sql.exec("create table if not exists log(message)")
            self.ctx.storage.sql.exec("insert into log values(?)", message)
        if kind == KEYS:
            count = self.ctx.storage.kv.get(message) or 0
            self.ctx.storage.kv.put(message, count + 1)
        for socket in self.ctx.getWebSockets():
            socket.send(message)

    async def webSocketClose(self, ws, code, reason, clean):
        self.ctx.storage.sql.exec("create table if not exists log(message)")
        self.ctx.storage.sql.exec("insert into log values(?)", reason)
        for socket in self.ctx.getWebSockets():
            if socket is not ws:
                socket.send(reason)

    async def log(self):
        self.ctx.storage.sql.exec("create table if not exists log(message)")
        noted = [row.message for row in self.ctx.storage.sql.exec("select message from log")]
        for key, count in self.ctx.storage.kv.list():
            noted += [key] * count
        return noted


STEP = st.one_of(
    st.tuples(st.just("send"), st.integers(0, 1), st.sampled_from(KINDS)),
    st.tuples(st.sampled_from(["rounds", "commit", "die", "commit and die", "again", "wait"])),
)
CLOSE = ("close",)


async def play(steps) -> tuple[Realm, list[list[str]], list[str]]:
    """Do the steps, then let everything come to rest. (sent by socket, noted)."""
    with tempfile.TemporaryDirectory() as folder:
        realm = Realm(Room, folder, clock=LoopClock(), auto=True)
        first, second = await realm.connect("a"), await realm.connect("a")
        realm.shard.commits.auto = False
        realm.options["auto"] = False
        sent: list[list[str]] = [[], []]
        closed = False
        for step in steps:
            match step:
                case ("send", at, kind):
                    if at == 1 and closed:
                        continue
                    message = f"{kind} {at} {len(sent[at])}"
                    sent[at].append(message)
                    realm.keeper.send((first, second)[at], message)
                case ("close",) if not closed:
                    closed = True
                    realm.keeper.close(second, 4000, "the second has left")
                case ("rounds",):
                    await rounds(6)
                case ("commit",):
                    realm.shard.commits.commit()
                case ("die",):
                    realm.kill()
                case ("commit and die",):
                    realm.commit_and_die()
                case ("again",):
                    realm.keeper.again()
                case ("wait",):
                    await asyncio.sleep(0.03)
        realm.options["auto"] = realm.shard.commits.auto = True
        realm.shard.commits.commit()
        for _ in range(8):
            await asyncio.sleep(1)
            realm.keeper.again()
        noted = await realm.shard.call("a", "log")
        realm.stop()
        return realm, sent, noted


async def check_with_a_close(steps) -> None:
    """What the socket that stays has got, and what is noted."""
    realm, sent, noted = await play(steps)
    first, second = realm.keeper.connections.values()
    assert (first.unacknowledged, second.unacknowledged) == ({}, {})
    everything = [*sent[0], *sent[1], "the second has left"]
    written = [message for message in everything if message.split(" ")[0] not in (SENDS, WAITS_AND_SENDS)]
    assert sorted(noted) == sorted(written), "each is handled once"
    own = [f"{m} before" for m in sent[0] if m.split(" ")[0] in (WAITS_AND_SENDS, SENDS_WAITS_WRITES)]
    assert sorted(first.got) == sorted([*everything, *own]), "what is sent arrives once"
    assert len(set(second.got)) == len(second.got)


async def check(steps) -> None:
    realm, sent, noted = await play(steps)
    connections = list(realm.keeper.connections.values())
    assert [connection.unacknowledged for connection in connections] == [{}, {}]
    everything = [*sent[0], *sent[1]]
    written = [message for message in everything if message.split(" ")[0] in (WRITES, SENDS_WAITS_WRITES, KEYS)]
    assert sorted(noted) == sorted(written), "each is handled once"
    for at, connection in enumerate(connections):
        own = [f"{m} before" for m in sent[at] if m.split(" ")[0] in (WAITS_AND_SENDS, SENDS_WAITS_WRITES)]
        assert sorted(connection.got) == sorted([*everything, *own]), "what is sent arrives once"
        for sender in (0, 1):
            at_once = [m for m in sent[sender] if m.split(" ")[0] in (WRITES, SENDS, KEYS)]
            assert [m for m in connection.got if m in at_once] == at_once, "in order"


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEP, max_size=24))
def test_messages_are_handled_once_and_what_they_send_arrives_once(steps):
    run(check(steps))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEP, max_size=12), st.lists(STEP, max_size=12))
def test_a_close_is_handled_once_like_a_message(before, after):
    run(check_with_a_close([*before, CLOSE, *after]))


LOSES = [("send", 0, WRITES), ("rounds",), ("commit and die",), ("wait",)]


def test_a_message_that_is_recorded_is_not_handled_again_and_its_outbox_is_sent_again():
    run(check(LOSES))


@pytest.mark.parametrize("kind", KINDS)
def test_a_kill_before_the_commit_runs_it_again(kind):
    run(check([("send", 0, kind), ("rounds",), ("die",), ("wait",), ("send", 1, kind), ("rounds",), ("die",)]))


def test_broken_twin_without_an_outbox_loses_what_was_sent(monkeypatch):
    def forgets(self, cause, entries, number=0):
        self.newest += 1
        return self.newest

    monkeypatch.setattr(StoredSockets, "add", forgets)
    with pytest.raises(AssertionError, match="arrives once"):
        run(check(LOSES))


def test_broken_twin_that_acknowledges_before_the_commit_loses_messages(monkeypatch):
    emit = OutputGate.emit

    def hasty(self, effect, *args):
        if args and isinstance(args[0], SocketCall):
            effect(*args)
        else:
            emit(self, effect, *args)

    monkeypatch.setattr(OutputGate, "emit", hasty)
    with pytest.raises(AssertionError, match="handled once"):
        run(check([("send", 0, WRITES), ("rounds",), ("die",), ("wait",)]))


def test_broken_twin_without_causes_doubles_what_a_handler_sent_before_it_waited(monkeypatch):
    steps = [("send", 0, WAITS_AND_SENDS), ("rounds",), ("die",), ("wait",)]
    run(check(steps))

    from .keeper import Keeper

    effects = Keeper.effects
    monkeypatch.setattr(
        Keeper, "effects", lambda self, id, number, cause, given: effects(self, id, number, None, given)
    )
    with pytest.raises(AssertionError, match="arrives once"):
        run(check(steps))
