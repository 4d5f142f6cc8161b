"""A message that ends its shard again and again: the beacon names its socket, and only that socket's messages are refused."""

from __future__ import annotations

from perdure.engine.beacon import read
from perdure.engine.errors import EventRefused
from perdure.testing.virtual import run

from .test_sockets import Room, realm_of


def test_only_the_messages_of_the_socket_that_the_beacon_names_are_refused(tmp_path):
    named = []

    def look(ctx, ws, message):
        instance = realms[0].shard.residents._by_id[first_id[0]]
        named.append(read(bytes(instance.turns.beacon)))

    realms, first_id = [], []

    async def body() -> None:
        async with realm_of(tmp_path) as realm:
            realms.append(realm)
            first, second = await realm.connect("a"), await realm.connect("a")
            first_id.append(first.ref.object_id)
            Room.handlers = {"message": look}
            for connection in (first, second):
                await realm.keeper.send(connection, "x")
            events = [(running.object_id, running.method) for running in named]
            assert [method for _, method in events] == [
                f"webSocketMessage {connection.ref.socket.hex()}" for connection in (first, second)
            ]
            residents = realm.shard.residents
            residents.refused[events[0]] = (residents.clock.monotonic_s() + 60, EventRefused("again and again"))
            assert isinstance(await realm.keeper.send(first, "x"), EventRefused)
            assert await realm.keeper.send(second, "x") == b""
            assert len(named) == 3
            assert await realm.keeper.close(first) == b"", "it hears that the socket has closed"

    run(body())
