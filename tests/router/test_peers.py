"""Clients that come and go: a shard's door keeps nothing of those that have gone, though nothing was under way."""

from __future__ import annotations

import asyncio

from perdure.engine.durable import DurableObject
from perdure.engine.stubs import Namespace
from perdure.router import server
from perdure.router.client import Client

from .landing import landing

_CLIENTS = 40


class Plain(DurableObject):
    async def echo(self, value):
        return value


def test_who_has_gone_is_forgotten_and_who_is_idle_stays(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(server, "PEERS_UNSWEPT", 8)

    async def work() -> None:
        async with landing(tmp_path, Plain) as rig:
            loop = asyncio.get_running_loop()
            idle = Namespace(rig.key, rig.client).getByName("a")
            assert await idle.echo(1) == 1
            for number in range(_CLIENTS):
                client = Client(loop)
                client.adopt(rig.map, rig.classes)
                assert await Namespace(rig.key, client).getByName("a").echo(number) == number
                await client.close()
            door = rig.doors[rig.map.shard_of(rig.key.id_from_name("a"))]
            assert door.statistics()["peers"] < _CLIENTS / 2
            assert await idle.echo(2) == 2

    asyncio.run(work())
