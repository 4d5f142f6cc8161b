"""Two shards of one class with real sockets between, in one process: objects, their doors, a client, the endpoint if wanted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

from perdure.engine.context import GatedTransport
from perdure.engine.stubs import Namespace, Stub
from perdure.router.client import Client
from perdure.router.relay import Relay
from perdure.router.server import Acceptor
from perdure.router.slots import GROUPS, ShardPlace, SlotMap

from ..engine.shelf import Shard


class Landing:
    """`shards`: of the engine; `doors`: their acceptors; `client`: outside."""

    def __init__(self, folder: Path, cls: type) -> None:
        loop = asyncio.get_running_loop()
        groups = tuple(index % 2 for index in range(GROUPS))
        places = {index: ShardPlace(f"1-{index}", f"ipc://{folder}/s{index}") for index in (0, 1)}
        self.map = SlotMap(1, groups, places)
        self.reported: list[tuple[str, dict[str, object]]] = []
        self.clients: list[Client] = []
        self.shards: list[Shard] = []
        self.doors: list[Acceptor] = []
        self.classes: dict[str, str] = {}
        for index in (0, 1):
            client = Client(loop)
            gated = GatedTransport(client, loop)
            client.exports.transport = gated
            (folder / str(index)).mkdir()
            env = SimpleNamespace()
            shard = Shard(cls, folder / str(index), transport=client, env=env)
            setattr(env, cls.__name__, Namespace(shard.key, gated))
            self.classes = {cls.__name__: shard.key.unique}
            self.clients.append(client)
            self.shards.append(shard)
            self.doors.append(
                Acceptor(
                    places[index].endpoint or "",
                    loop,
                    index=index,
                    session=places[index].session,
                    slot_map=self.map,
                    classes=self.classes,
                    deliver=shard.residents.deliver,
                    cancel=shard.residents.cancel,
                    operate=lambda call: None,
                    stop_operation=lambda call: None,
                    report=self._report,
                    exports=client.exports,
                    sockets=shard.residents,
                )
            )
        for shard, door in zip(self.shards, self.doors, strict=True):
            shard.residents.holders = lambda door=door: door.holders
        for client in self.clients:
            client.adopt(self.map, self.classes)
        self.key = self.shards[0].key
        self.client = Client(loop)

    def _report(self, _level: str, event: str, fields: dict[str, object]) -> None:
        self.reported.append((event, fields))

    def on_shard(self, index: int, suffix: str = "") -> Stub:
        """A stub of an object of that shard."""
        names = (f"{letter}{suffix}" for letter in "abcdefghijklmnopqrstuvwxyz")
        name = next(name for name in names if self.map.shard_of(self.key.id_from_name(name)) == index)
        return Namespace(self.key, self.client).getByName(name)


@asynccontextmanager
async def landing(folder: Path, cls: type, *, relay: bool = False) -> AsyncIterator[Landing]:
    """`relay`: the client reaches the shards through an endpoint."""
    loop = asyncio.get_running_loop()
    made = Landing(folder, cls)
    between = Relay(f"ipc://{folder}/r", loop, made.map, made.classes, made._report) if relay else None
    made.relay = between  # type: ignore[attr-defined]
    try:
        if between is not None:
            await made.client.open(f"ipc://{folder}/r", relay=True)
        else:
            made.client.adopt(made.map, made.classes)
        yield made
        assert made.reported == []
    finally:
        await made.client.close()
        if between is not None:
            between.close()
        for shard in made.shards:
            shard.stop()
        for client in made.clients:
            await client.close()
        for door in made.doors:
            door.close()
