"""Operations on the wire: where they go, and what a peer that knows none makes of them."""

from __future__ import annotations

import asyncio
import threading

import perdure
import pytest
import zmq
from perdure.engine.errors import InvalidArgument, VersionMismatch
from perdure.router.client import Client
from perdure.router.slots import ShardPlace, SlotMap, deal
from perdure.router.wire import VERSION, WELCOME, encode


def test_a_shard_has_an_address_among_the_ids() -> None:
    found = SlotMap(3, tuple(deal(5)), {index: ShardPlace("s", None) for index in range(5)})
    for shard in range(5):
        assert len(found.address_of(shard)) == 32
        assert found.shard_of(found.address_of(shard)) == shard
    with pytest.raises(InvalidArgument, match="no shard 5"):
        found.address_of(5)


def _old_endpoint(socket: zmq.Socket[bytes], welcomed: threading.Event) -> None:
    """Answers the first message as a router endpoint did before there were operations."""
    identity, _hello = socket.recv_multipart()
    slot_map = SlotMap(1, tuple(deal(1)), {0: ShardPlace("old", None)})
    fields = {"session": "", "map": slot_map.to_wire(), "classes": {"Room": "chat-Room"}}
    socket.send_multipart((identity, encode([[WELCOME, VERSION, fields]])))
    welcomed.set()


def test_a_peer_without_operations_is_a_typed_error_at_once(tmp_path) -> None:
    async def run(address: str) -> None:
        async with perdure.connect(address, relay=True) as client:
            assert client.shards == [0]
            await asyncio.sleep(0)
            with pytest.raises(VersionMismatch, match="takes no operations"):
                await client.operate(0, "list", limit=1)
            with pytest.raises(InvalidArgument, match="32 bytes"):
                await client.operate(b"short", "describe")
            assert client.pending == {}

    context = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    address = f"ipc://{tmp_path}/old"
    socket.bind(address)
    thread = threading.Thread(target=_old_endpoint, args=(socket, threading.Event()))
    thread.start()
    try:
        asyncio.run(run(address))
    finally:
        thread.join()
        socket.close(0)
        context.term()


def test_what_waits_for_a_shard_that_knows_none_fails_when_it_comes(tmp_path) -> None:
    async def run(address: str) -> None:
        loop = asyncio.get_running_loop()
        starting = SlotMap(1, tuple(deal(1)), {0: ShardPlace("", None)})
        client = Client.in_process(loop, starting, {}, role="test")
        waiting = client.operate(0, "list", limit=1)
        client.adopt(SlotMap(2, starting.groups, {0: ShardPlace("", address)}), {})
        with pytest.raises(VersionMismatch):
            await asyncio.wait_for(waiting, 5)
        await client.close()

    context = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    address = f"ipc://{tmp_path}/old"
    socket.bind(address)
    thread = threading.Thread(target=_old_endpoint, args=(socket, threading.Event()))
    thread.start()
    try:
        asyncio.run(run(address))
    finally:
        thread.join()
        socket.close(0)
        context.term()
