"""Who holds an object's sockets: asked for when it is loaded, met, reached anew, gone; what waits meanwhile (decision 015)."""

from __future__ import annotations

import asyncio

from perdure.engine.errors import Overloaded
from perdure.engine.limits import Limits
from perdure.engine.superseding import superseded_error
from perdure.testing.virtual import run

from .keeper import LOST, Keeper, Realm, rounds
from .test_sockets import Room, do, realm_of


def tell_all(ctx, text="to all"):
    for ws in ctx.getWebSockets():
        ws.send(text)


def write_and_tell(ctx, text="to all"):
    ctx.storage.kv.put("x", text)
    tell_all(ctx, text)


def numbers_sent(keeper: Keeper) -> list[int]:
    return [number for number, _, _ in keeper.frames if number]


def test_what_is_sent_before_the_holders_have_answered_waits(tmp_path):
    async def body() -> None:
        async with realm_of(tmp_path) as realm:
            first, second = await realm.connect("a"), await realm.connect("a")
            realm.keeper.answers_asks = False
            realm.kill()
            Room.handlers = {"message": lambda ctx, ws, message: tell_all(ctx, message)}
            answer = realm.keeper.send(first, "x")
            await rounds()
            assert realm.keeper.asked == [first.ref.object_id]
            assert (first.got, second.got, answer.done()) == ([], [], False), "the acknowledgement waits behind it"
            realm.keeper.tell_held(True)
            await rounds()
            assert (first.got, second.got) == (["x"], ["x"])
            assert answer.done()

    run(body())


def test_a_socket_that_is_lost_holds_up_nobody_for_longer_than_the_bound(tmp_path):
    closed = []

    async def body() -> None:
        async with realm_of(tmp_path) as realm:
            first, second = await realm.connect("a"), await realm.connect("a")
            realm.kill()
            del realm.keeper.connections[second.ref.socket]
            Room.handlers = {
                "message": lambda ctx, ws, message: tell_all(ctx, message),
                "close": lambda ctx, ws, *args: closed.append(args),
            }
            answer = realm.keeper.send(first, "x")
            await asyncio.sleep(0.5)
            assert not answer.done()
            await asyncio.sleep(1)
            assert first.got == ["x"], "who is there waits a second for who is not"
            assert answer.done()
            assert closed == []
            await asyncio.sleep(9)
            assert closed == [LOST]

    run(body())


def test_a_holder_that_answers_nothing_is_waited_for_until_the_bound(tmp_path):
    async def body() -> None:
        async with realm_of(tmp_path) as realm:
            first, second = await realm.connect("a"), await realm.connect("a")
            realm.kill()
            Room.handlers = {"message": lambda ctx, ws, message: tell_all(ctx, message)}
            realm.keeper.answers_asks = False
            realm.keeper.send(first, "x")
            await asyncio.sleep(9)
            assert (first.got, second.got) == ([], [])
            realm.keeper.tell_held(True)
            await rounds()
            assert (first.got, second.got) == (["x"], ["x"])

    run(body())


def test_a_socket_that_opens_late_gets_what_was_sent_to_all_before(tmp_path):
    async def body() -> None:
        async with realm_of(tmp_path) as realm:
            first, second = await realm.connect("a"), await realm.connect("a")
            realm.kill()
            late = realm.keeper.connections.pop(second.ref.socket)
            Room.handlers = {"message": lambda ctx, ws, message: tell_all(ctx, message)}
            realm.keeper.send(first, "x")
            await asyncio.sleep(2)
            assert (first.got, second.got) == (["x"], [])
            realm.keeper.connections[second.ref.socket] = late
            realm.keeper.tell_held(True)
            await rounds()
            assert (first.got, second.got) == (["x"], ["x"])

    run(body())


def test_what_waits_for_holders_is_bounded(tmp_path):
    async def body() -> None:
        limits = Limits(socket_backlog_bytes_max=1_000)
        async with realm_of(tmp_path, limits=limits) as realm:
            first, second = await realm.connect("a"), await realm.connect("a")
            realm.kill()
            del realm.keeper.connections[second.ref.socket]
            await do(realm, tell_all, "x" * 900)
            assert first.got == []
            await do(realm, tell_all, "y" * 900)
            await rounds()
            assert first.got == ["x" * 900, "y" * 900]

    run(body())


def test_an_outbox_is_sent_until_it_was_seen_and_goes_with_a_later_commit(tmp_path):
    def outbox(ctx):
        database = ctx._instance.storage.opened()
        return [number for (number,) in database.connection.execute("select number from _cf_OUTBOX")]

    async def body() -> None:
        async with realm_of(tmp_path) as realm:
            socket = await realm.connect("a")
            realm.keeper.tells_seen = False
            await do(realm, write_and_tell, "1")
            await do(realm, write_and_tell, "2")
            first, second = numbers_sent(realm.keeper)
            assert await do(realm, outbox) == [first, second]
            realm.kill()
            realm.keeper.tells_seen = True
            await do(realm, lambda ctx: None)
            await rounds()
            assert numbers_sent(realm.keeper) == [first, second, first, second], "sent again"
            assert socket.got == ["1", "2"], "and had before"
            assert await do(realm, outbox) == [first, second], "no commit of its own"
            await do(realm, write_and_tell, "3")
            third = numbers_sent(realm.keeper)[-1]
            assert await do(realm, outbox) == [third]
            await rounds()
            await do(realm, lambda ctx: ctx.storage.kv.put("y", 1))
            assert await do(realm, outbox) == [third], "the newest stays until there is a newer one"
            await do(realm, write_and_tell, "4")
            assert await do(realm, outbox) == [numbers_sent(realm.keeper)[-1]]
            assert first < second < third

    run(body())


def test_numbers_never_repeat_over_processes(tmp_path):
    async def body() -> None:
        async with realm_of(tmp_path) as realm:
            await realm.connect("a")
            for life in range(4):
                await do(realm, write_and_tell, str(life))
                await rounds()
                realm.kill()
                await do(realm, lambda ctx: None)
                await rounds()
            found = numbers_sent(realm.keeper)
            assert len(set(found)) == 4
            assert min(found) > 1 << 40, "the file's generation comes first"

    run(body())


def test_a_holder_that_is_reached_anew_gets_again_what_it_has_not_said_that_it_has(tmp_path):
    async def body() -> None:
        async with realm_of(tmp_path) as realm:
            socket = await realm.connect("a")
            realm.keeper.deaf = True  # the link is broken
            await do(realm, write_and_tell, "lost on the way")
            assert socket.got == []
            again = Keeper(realm.keeper.identity)
            again.shard, again.connections = realm.shard, realm.keeper.connections
            again.tell_held(False)
            await rounds()
            assert socket.got == ["lost on the way"]
            assert again.rules_told, "rules too"

    run(body())


def test_sockets_at_two_holders_get_what_is_theirs(tmp_path):
    async def body() -> None:
        async with realm_of(tmp_path) as realm:
            first = await realm.connect("a")
            other = Keeper("gateway 1")
            other.shard = realm.shard
            realm.keeper, kept = other, realm.keeper
            second = await realm.connect("a")
            await do(realm, tell_all, "plain")
            await do(realm, write_and_tell, "recorded")
            assert first.got == second.got == ["plain", "recorded"]
            assert {id for _, _, entries in kept.frames for ids, _, _ in entries for id in ids} == {first.ref.socket}
            realm.shard.residents.holder_gone(other)
            await rounds()
            assert await do(realm, lambda ctx: len(ctx.getWebSockets())) == 1

    run(body())


def test_objects_that_may_have_an_outbox_are_woken_by_who_holds_their_sockets(tmp_path):
    async def body() -> None:
        async with realm_of(tmp_path) as realm:
            socket = await realm.connect("a")
            realm.shard.commits.auto = False
            realm.options["auto"] = False
            telling = asyncio.ensure_future(do(realm, write_and_tell, "x"))
            await rounds()
            realm.commit_and_die()
            telling.cancel()
            realm.keeper.tell_held(False)
            await rounds()
            assert realm.shard.residents.count == 0, "others are left alone"
            realm.shard.residents.was_live = lambda object_id: object_id == socket.ref.object_id
            realm.keeper.tell_held(False)
            await rounds()
            assert socket.got == ["x"]

    run(body())


def test_a_handler_that_loses_its_storage_to_another_process_runs_again_there(tmp_path):
    async def handler(ctx, ws, message):
        ws.send("before")
        await asyncio.sleep(1)
        ctx.storage.kv.put("x", message)
        ws.send("after")

    async def body() -> None:
        async with realm_of(tmp_path, handlers={"message": handler}) as realm:
            socket = await realm.connect("a")
            answer = realm.keeper.send(socket, "m")
            await asyncio.sleep(0.5)
            realm.shard.instance("a").storage.refuse(superseded_error())
            assert isinstance(await answer, Overloaded)
            assert socket.got == ["before"]
            realm.kill()
            await asyncio.sleep(2)
            assert socket.got == ["before", "after"]
            assert await do(realm, lambda ctx: ctx.storage.kv.get("x")) == "m"

    run(body())


def test_messages_begin_in_order_whatever_comes_again(tmp_path):
    told = []

    async def handler(ctx, ws, message):
        told.append(message)
        if message == "1":
            await asyncio.sleep(5)

    async def body() -> None:
        async with realm_of(tmp_path, handlers={"message": handler}) as realm:
            socket = await realm.connect("a")
            keeper = realm.keeper
            keeper.send(socket, "1")
            await keeper.send(socket, "2")
            keeper.again()  # 1 runs, 2 was acknowledged
            await rounds()
            assert isinstance(keeper.answers[-1][1], Overloaded), "deliver it again later"
            socket.sent += 1  # one that is lost on the way
            socket.unacknowledged[socket.sent] = (1, "3")
            assert isinstance(await keeper.send(socket, "4"), Overloaded)
            await asyncio.sleep(6)
            keeper.again()
            await rounds()
            assert told == ["1", "2", "3", "4"]
            assert socket.unacknowledged == {}

    run(body())


def test_a_message_after_others_were_acknowledged_out_of_order_is_no_gap_for_a_new_process(tmp_path):
    async def body() -> None:
        async with realm_of(tmp_path) as realm:
            told: list[str] = []

            async def handler(ctx, ws, message):
                if message == "1" and realm.lives == 0:
                    await asyncio.sleep(50)
                told.append(message)

            Room.handlers = {"message": handler}
            socket = await realm.connect("a")
            realm.keeper.send(socket, "1")
            await realm.keeper.send(socket, "2")
            realm.keeper.send(socket, "3")
            realm.kill()
            await rounds()
            assert told == ["2", "1", "3"]
            assert socket.unacknowledged == {}

    run(body())


def test_nothing_of_a_sleeping_object_s_sockets_is_in_memory(tmp_path):
    async def body() -> None:
        async with realm_of(tmp_path) as realm:
            for _ in range(20):
                await realm.connect("a")
            instance = realm.shard.instance("a")
            await asyncio.sleep(12)
            assert realm.shard.residents.count == 0
            assert not any(timer for timer in [instance.sockets._timer])

    run(body())


__all__ = ["Realm"]
