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
