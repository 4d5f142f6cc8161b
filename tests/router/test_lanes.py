"""A lane of a process that holds sockets: whom it waits for before the next session of its shard is used."""

from __future__ import annotations

import asyncio

import zmq
from perdure.router.lanes import Lane
from perdure.router.slots import ShardPlace


class Answers:
    """As far as a lane without calls asks for them."""

    host = b"test"
    pending: dict = {}


class Sockets:
    """Of a process whose messages are not acknowledged."""

    identity = "keeper 0 test"

    def needs(self, way) -> bool:
        return True

    def parted(self, way, died) -> None: ...
    def ready(self, way) -> None: ...
    def receive(self, way, frame) -> None: ...
    def receive_late(self, way, frame) -> None: ...


def test_a_session_that_never_answered_is_not_waited_for(tmp_path) -> None:
    async def run() -> None:
        context = zmq.Context()
        lane = Lane("shard 0", context, asyncio.get_running_loop(), Answers(), "keeper")
        lane.sockets = Sockets()
        try:
            lane.lead_to(ShardPlace("first", f"ipc://{tmp_path}/nobody"))  # it was killed before this connected
            lane.lead_to(ShardPlace("second", f"ipc://{tmp_path}/somebody"))
            assert lane._leaving == {}
            lane._welcomed(lane.link, [1, 1, {"sockets": True, "session": "second"}])
            assert lane.ready
        finally:
            lane.close()
            context.term()

    asyncio.run(asyncio.wait_for(run(), 10))
