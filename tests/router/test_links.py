"""Sockets on a loop: what arrives is heard, whatever is being sent at that moment."""

from __future__ import annotations

import asyncio
import select

import zmq
from perdure.router.links import Link, descriptor, has_messages
from perdure.router.wire import FLUSH_BYTES, PING, PONG, decode, encode


def test_an_answer_that_comes_while_a_large_message_leaves_is_heard(tmp_path):
    """Sending takes the edge of the descriptor: also the send that happens at once, because too much is queued."""

    async def run():
        context = zmq.Context()
        peer = context.socket(zmq.ROUTER)
        peer.bind(f"ipc://{tmp_path}/peer")
        loop = asyncio.get_running_loop()
        heard = loop.create_future()
        link = Link(
            context,
            loop,
            f"ipc://{tmp_path}/peer",
            lambda _link, data: heard.set_result(decode(data)),
            lambda _link, reason: heard.set_exception(AssertionError(reason)),
        )
        link.send([PING, 1])
        await asyncio.sleep(0)
        assert peer.poll(5_000)
        identity, _ = peer.recv_multipart()
        for _ in range(20):  # what connecting has woken is over
            await asyncio.sleep(0)
        peer.send_multipart([identity, encode([[PONG, 1]])])
        assert select.select([descriptor(link._socket)], [], [], 5.0)[0], "the answer is there, and nobody has read it"
        assert has_messages(link._socket)  # takes the edge, as a send does if the last one is a millisecond ago
        link.send([PING, 2], FLUSH_BYTES + 1)
        try:
            return await asyncio.wait_for(heard, 5)
        finally:
            link.close()
            peer.close(0)
            context.destroy(0)

    assert asyncio.run(run()) == [[PONG, 1]]


def test_what_is_patient_gathers_only_while_many_frames_are_sent(tmp_path):
    async def run():
        context = zmq.Context()
        peer = context.socket(zmq.ROUTER)
        peer.bind(f"ipc://{tmp_path}/peer")
        loop = asyncio.get_running_loop()
        link = Link(context, loop, f"ipc://{tmp_path}/peer", lambda *_: None, lambda *_: None)

        async def message():
            while not peer.poll(0):
                await asyncio.sleep(0)
            return [frame[1] for frame in decode(peer.recv_multipart()[1])]

        try:
            link.send_patiently([PING, 1])
            assert not link._gathering, "few are sent: it leaves with this turn of the loop"
            assert await message() == [1]
            link._busy = True
            link.send_patiently([PING, 2])
            await asyncio.sleep(0)
            link.send_patiently([PING, 3])
            assert await message() == [2, 3]
            link._busy = True
            link.send_patiently([PING, 4])
            link.send([PING, 5])  # takes along what waits, in order
            await asyncio.sleep(0)
            assert not link._queue
            assert await message() == [4, 5]
            link._busy = True
            link.send_patiently([PING, 6])
            link.close()
            return await message()
        finally:
            link.close()
            peer.close(0)
            context.destroy(0)

    assert asyncio.run(run()) == [6]


def test_many_frames_in_one_window_after_the_other_make_it_busy(tmp_path):
    async def run():
        context = zmq.Context()
        now = [0.0]
        loop = asyncio.get_running_loop()
        link = Link(context, loop, f"ipc://{tmp_path}/nobody", lambda *_: None, lambda *_: None)
        found = []
        try:
            link._loop = type("Clock", (), {"time": lambda _: now[0]})()
            for frames, later_s in [(1, 0.005), (100, 0.005), (1, 0.005), (100, 1.0), (1, 0.0)]:
                link._count(frames)
                found.append(link._busy)
                now[0] += later_s
            return found
        finally:
            link._loop = loop
            link.close()
            context.destroy(0)

    assert asyncio.run(run()) == [False, False, True, False, False]
