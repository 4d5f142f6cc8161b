"""What travels by reference, when a peer says what it should not, goes at the wrong moment, or sends more than fits."""

from __future__ import annotations

import asyncio
import gc
import secrets

import pytest
import zmq
from perdure.engine.durable import DurableObject
from perdure.engine.errors import PerdureError, ProtocolError
from perdure.engine.exports import Exports
from perdure.engine.values import EMPTY_ARGS, pack
from perdure.router import ports
from perdure.router.ports import Port
from perdure.router.relayed_references import RelayedReferences
from perdure.router.wire import (
    HELLO,
    REF_CALL,
    REF_DROP,
    REF_ERROR,
    REF_GONE,
    REF_KEEP,
    REF_REPLY,
    VERSION,
    encode,
)

from .landing import landing


class Host(DurableObject):
    def echo(self, value):
        return value

    def many(self, count):
        return [lambda number=number: number for number in range(count)]

    async def take(self, functions):
        self.kept = [function.dup() for function in functions]

    async def let_go(self):
        self.kept = []

    async def call_back(self, function):
        return await function()


def rig_of_a_port(work):
    async def script():
        exports = Exports(asyncio.get_running_loop(), secrets.token_bytes)
        sent: list[list] = []
        port = Port(exports, lambda frame, _size: sent.append(frame), 30.0)
        async with asyncio.timeout(10):
            await work(exports, port, sent)

    asyncio.run(script())


async def until(true):
    async with asyncio.timeout(8):
        while not true():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    "message",
    [[{}], [[{}]], [{"a": 1}], [[HELLO, [VERSION], "x", {"references": b"12345678"}], {}], [[]], [0], [None], [[None]]],
    ids=repr,
)
@pytest.mark.parametrize("relay", [False, True], ids=["shard", "endpoint"])
def test_a_message_of_any_shape_is_refused_and_the_door_stays_open(tmp_path, message, relay):
    async def main():
        async with landing(tmp_path, Host, relay=relay) as rig:
            raised = []
            asyncio.get_running_loop().set_exception_handler(lambda _loop, context: raised.append(context))
            with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
                socket.setsockopt(zmq.LINGER, 0)
                socket.connect(f"ipc://{tmp_path}/{'r' if relay else 's0'}")
                socket.send(encode(message))
                await until(lambda: rig.reported or raised)
            assert not raised
            assert {event for event, _ in rig.reported} == {"malformed_message"}
            rig.reported.clear()
            assert await rig.on_shard(0).echo(1) == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    "answer",
    [
        lambda call: [REF_REPLY, call, 5, None],
        lambda call: [REF_REPLY, call, b"", 7],
        lambda call: [REF_REPLY, call, pack(1), [[]]],
        lambda call: [REF_REPLY, call, b"\xc1", []],
        lambda call: [REF_REPLY, call],
        lambda call: [REF_ERROR, call, 5],
        lambda call: [REF_ERROR, call],
    ],
)
def test_a_malformed_answer_fails_its_call(answer):
    """It was answered, so its deadline does not end it any more."""

    async def work(_exports, port, sent):
        called = port.call(b"x" * 16, (), EMPTY_ARGS, None, None)
        try:
            port.receive(answer(sent[-1][2]))
        except (ProtocolError, TypeError, ValueError, IndexError, AttributeError):
            port.lost()  # what the acceptor and the lane make of it at the latest
        await asyncio.sleep(0)
        assert called.done()
        with pytest.raises(PerdureError):
            await called

    rig_of_a_port(work)


def test_what_was_never_sent_cannot_be_kept():
    async def work(exports, port, _sent):
        for _ in range(1000):
            port.receive([REF_KEEP, secrets.token_bytes(16), exports.host])
        assert not port.needed

    rig_of_a_port(work)


def test_a_process_behind_a_relay_that_goes_cancels_its_calls():
    async def work(exports, port, _sent):
        ended = []

        async def hang():
            try:
                await asyncio.sleep(100)
            finally:
                ended.append(True)

        parcel = exports.pack([hang])
        port.hand_over(parcel)
        port.receive([REF_CALL, parcel.ids[0], b"c" * 16, [], EMPTY_ARGS, None, "", False])
        await asyncio.sleep(0.01)
        port.receive([REF_GONE, b"c" * 8])
        await asyncio.sleep(0.01)
        assert ended == [True]

    rig_of_a_port(work)


def test_a_result_for_a_guest_that_is_gone_is_let_go():
    class LinkToShard:
        def __init__(self):
            self.sent = []

        def send(self, frame, _size=0):
            self.sent.append(frame)

    link = LinkToShard()
    references = RelayedReferences(lambda _guest, _frame, _size: None)
    references.session_came(link, b"s" * 8)
    references.from_shard([REF_REPLY, b"g" * 16, b"", [b"s" * 16]])
    assert link.sent == [[REF_DROP, b"s" * 16]]


def test_a_value_that_cannot_be_unpacked_lets_go_of_what_came_with_it():
    async def work(exports, port, sent):
        other = Exports(asyncio.get_running_loop(), secrets.token_bytes)
        parcel = other.pack([lambda: 1, lambda: 2])
        broken = parcel.payload[:-1]  # the second reference is cut off
        with pytest.raises(PerdureError):
            port.unpack_result(broken, parcel.ids)
        gc.collect()
        await asyncio.sleep(0)
        assert {frame[1] for frame in sent if frame[0] == REF_DROP} == set(parcel.ids)
        assert not port.needed

    rig_of_a_port(work)


def test_a_method_called_pull_has_a_deadline_as_others():
    async def work(_exports, port, _sent):
        port._deadline_s = 0.01
        with pytest.raises(PerdureError, match="no answer within"):
            await port.call(b"x" * 16, ("pull",), EMPTY_ARGS, None, None)

    rig_of_a_port(work)


@pytest.mark.parametrize("relay", [False, True], ids=["straight", "relayed"])
def test_many_large_results_at_a_time(tmp_path, relay):
    """More than one message of the wire may hold."""

    async def main():
        async with landing(tmp_path, Host, relay=relay) as rig:
            big = b"x" * (30 << 20)
            async with asyncio.timeout(25):
                objects = [rig.on_shard(number % 2, str(number)) for number in range(7)]
                found = await asyncio.gather(*[each.echo(big) for each in objects])
            assert [len(each) for each in found] == [30 << 20] * 7

    asyncio.run(main())


@pytest.mark.parametrize("relay", [False, True], ids=["straight", "relayed"])
def test_ten_thousand_references_at_a_time_leave_nothing(tmp_path, relay):
    async def main():
        async with landing(tmp_path, Host, relay=relay) as rig:
            a = rig.on_shard(0)
            async with asyncio.timeout(25):
                found = await a.many(10_000)
                assert await found[9_999]() == 9_999
                await a.take([lambda number=number: number for number in range(10_000)])
                await a.let_go()
                del found
                gc.collect()
                everything = [rig.client.exports, *(client.exports for client in rig.clients)]
                await until(lambda: not any(each.count for each in everything))
                if relay:
                    references = rig.relay._references
                    await until(lambda: not references.concerned())
            ends = [peer.port for door in rig.doors for peer in door._peers.values() if peer.port is not None]
            if not relay:
                ends += [lane.link.port for lane in rig.client._lanes.values() if lane.link is not None]
            assert not any(end.needed for end in ends)

    asyncio.run(main())


def test_calls_of_references_are_bounded():
    async def work(exports, port, sent):
        async def hang():
            await asyncio.sleep(100)

        parcel = exports.pack([hang])
        port.hand_over(parcel)
        for number in range(ports.RUNNING_MAX + 5):
            port.receive([REF_CALL, parcel.ids[0], number.to_bytes(16, "big"), [], EMPTY_ARGS, None, "", False])
        assert [frame[0] for frame in sent] == [REF_ERROR] * 5
        assert all(frame[2]["overloaded"] for frame in sent)
        port.lost()

    rig_of_a_port(work)
