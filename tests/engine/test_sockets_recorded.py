"""What an object has sent is not lost with its process once its message is recorded as handled; nor with the socket's close."""

from __future__ import annotations

import asyncio
import tempfile

from perdure.engine.http import HttpResponse
from perdure.engine.socket_calls import CLOSED
from perdure.engine.web_socket_pair import WebSocketPair
from perdure.testing.virtual import run

from .keeper import Realm, rounds
from .shelf import LoopClock
from .test_sockets_once import Room


class Slow(Room):
    """Its answer to an upgrade takes long, and it speaks first."""

    async def fetch(self, request):
        client, server = WebSocketPair.new()
        self.ctx.acceptWebSocket(server)
        server.send("welcome")
        await asyncio.sleep(0.2)
        server.send("come in")
        await asyncio.sleep(20)
        return HttpResponse(101, [], None, web_socket=client)


class Loud(Room):
    """All hear both of what a message has it say."""

    async def webSocketMessage(self, ws, message):
        self.tell(f"{message} before")
        await asyncio.sleep(0.05)
        self.ctx.storage.kv.put(message, 1)
        self.tell(message)

    async def webSocketClose(self, ws, code, reason, clean):
        pass

    def tell(self, text):
        for socket in self.ctx.getWebSockets():
            socket.send(text)


class Polite(Room):
    """Says good-bye to who leaves, and nothing to others."""

    async def webSocketClose(self, ws, code, reason, clean):
        self.ctx.storage.kv.put(reason, 1)
        ws.send("good-bye")
        ws.close(4001, "as you wish")

    async def webSocketMessage(self, ws, message):
        if message == "in a transaction":

            async def change(txn):
                self.ctx.storage.kv.put("changed", 1)
                ws.send("changing")
                await asyncio.sleep(0.05)
                ws.send("changed")

            await self.ctx.storage.transaction(change)
            await asyncio.sleep(0.05)
            self.ctx.storage.kv.put("after", 1)
            return
        await super().webSocketMessage(ws, message)


def in_realm(kind):
    def decorate(test):
        def inside():
            async def go():
                with tempfile.TemporaryDirectory() as folder:
                    realm = Realm(kind, folder, clock=LoopClock(), auto=True)
                    await test(realm)
                    realm.stop()

            run(go())

        inside.__name__ = test.__name__
        return inside

    return decorate


def by_hand(realm: Realm, automatic: bool = False) -> None:
    realm.options["auto"] = realm.shard.commits.auto = automatic


async def rest(realm: Realm) -> None:
    by_hand(realm, automatic=True)
    realm.shard.commits.commit()
    for _ in range(14):
        await asyncio.sleep(1)
        realm.keeper.again()


@in_realm(Loud)
async def test_what_was_put_off_for_a_holder_is_recorded_before_its_message_is(realm):
    first, second = await realm.connect("a"), await realm.connect("a")
    realm.kill()
    del realm.keeper.connections[second.ref.socket]  # nobody says that he holds it
    realm.keeper.send(first, "send-wait-write 1")
    await asyncio.sleep(0.2)
    assert first.got == []  # it waits for the other's holder
    realm.commit_and_die()
    await rest(realm)
    assert first.got == ["send-wait-write 1 before", "send-wait-write 1"]
    assert await realm.shard.call("a", "log") == ["send-wait-write 1"]


@in_realm(Room)
async def test_what_left_unrecorded_and_did_not_arrive_is_recorded_with_its_message(realm):
    first = await realm.connect("a")
    by_hand(realm)
    realm.keeper.deaf = True  # what is said waits in the dying process
    realm.keeper.send(first, "send-wait-write 1")
    await asyncio.sleep(0.2)
    realm.commit_and_die()
    await rest(realm)
    assert first.got == ["send-wait-write 1 before", "send-wait-write 1"]
    assert await realm.shard.call("a", "log") == ["send-wait-write 1"]


@in_realm(Room)
async def test_what_left_unrecorded_and_did_arrive_is_not_doubled(realm):
    first = await realm.connect("a")
    by_hand(realm)
    realm.keeper.send(first, "send-wait-write 1")
    await asyncio.sleep(0.2)
    assert first.got == ["send-wait-write 1 before"]
    realm.commit_and_die()
    await rest(realm)
    assert first.got == ["send-wait-write 1 before", "send-wait-write 1"]


@in_realm(Room)
async def test_numbers_that_were_kept_for_later_do_not_make_others_repeat(realm):
    first = await realm.connect("a")
    for number in range(4):
        await realm.keeper.send(first, f"write {number}")
        await realm.keeper.send(first, f"wait {number}")  # its number is never used
        await rounds()
        realm.kill()
        await rounds()
    await rest(realm)
    expected = [said for n in range(4) for said in (f"write {n}", f"wait {n} before", f"wait {n}")]
    assert first.got == expected


@in_realm(Polite)
async def test_what_a_transaction_sends_is_not_lost_with_the_process(realm):
    first = await realm.connect("a")
    by_hand(realm)
    realm.keeper.deaf = True
    realm.keeper.send(first, "in a transaction")
    await asyncio.sleep(0.3)
    realm.commit_and_die()
    await rest(realm)
    assert first.got == ["changing", "changed"]


@in_realm(Polite)
async def test_what_a_socket_is_sent_with_its_close_arrives_though_the_process_dies(realm):
    first, _ = await realm.connect("a"), await realm.connect("a")
    by_hand(realm)
    realm.keeper.send(first, (4000, "bye", True), CLOSED)
    await asyncio.sleep(0.05)
    realm.commit_and_die()
    await rest(realm)
    assert first.got == ["good-bye", (4001, "as you wish")]
    assert first.unacknowledged == {}


@in_realm(Polite)
async def test_messages_before_a_close_that_was_handled_do_not_run_again(realm):
    first, second = await realm.connect("a"), await realm.connect("a")
    by_hand(realm)
    realm.keeper.send(first, "write 1")
    realm.keeper.send(first, (4000, "bye", True), CLOSED)
    await asyncio.sleep(0.05)
    realm.commit_and_die()
    await rest(realm)
    assert first.got == ["write 1", "good-bye", (4001, "as you wish")]
    assert second.got == ["write 1"]
    assert await realm.shard.call("a", "log") == ["write 1", "bye"]


@in_realm(Polite)
async def test_the_last_one_that_left_keeps_nobody_waiting(realm):
    first, second = await realm.connect("a"), await realm.connect("a")
    await realm.keeper.send(first, (4000, "bye", True), CLOSED)
    realm.kill()
    await rounds()
    await realm.keeper.send(second, "write 1")
    assert second.got == ["write 1"]


@in_realm(Slow)
async def test_what_is_sent_before_the_answer_is_given_arrives_when_the_connection_is_there(realm):
    first = await realm.connect("a")
    await rounds()
    assert first.got == ["welcome", "come in"]
