"""What an object has stored, read through the shard that owns it: a turn of its own, between those of the program."""

from __future__ import annotations

import asyncio
import datetime
from typing import cast

from ..engine.calls import RPC, Call
from ..engine.errors import MethodNotFound, ObjectReset, PerdureError
from ..engine.instance import Instance
from ..engine.stubs import Stub
from .process import Process
from .virtual import VirtualLoop

_WAKE = "\0wake"
"""No method of a program can have that name: asking for it constructs the object and runs nothing else."""
_WAIT_ROUNDS = 1_000


class StorageView:
    """Reads of one object's storage. It wakes the object when it sleeps: its constructor runs then, nothing else of it."""

    def __init__(self, loop: VirtualLoop, stub: Stub, process: Process) -> None:
        self._loop = loop
        self._stub = stub
        self._process = process

    async def get(self, key: str) -> object:
        """The value under a key, None when there is none."""
        return await (await self._instance()).storage_api.get(key)

    async def list(self, **options: object) -> dict[str, object]:
        """All keys and values, or those that `ctx.storage.list(...)` would give for the options."""
        instance = await self._instance()
        return dict(cast("dict[str, object]", await instance.storage_api.list(**options)))

    async def sql(self, query: str, *bindings: object) -> list[dict[str, object]]:
        """The rows of a query."""
        instance = await self._instance()
        rows = cast("list[dict[str, object]]", instance.storage_api.sql.exec(query, *bindings).toArray())
        return [dict(row) for row in rows]

    async def alarm(self) -> datetime.datetime | None:
        """When the object's alarm is due; None: it has none."""
        due_ms = await (await self._instance()).storage_api.getAlarm()
        return None if due_ms is None else datetime.datetime.fromtimestamp(due_ms / 1000, datetime.UTC)

    async def _instance(self) -> Instance:
        """The object in memory, at a moment at which none of its turns runs."""
        object_id = self._stub.id.raw
        for _ in range(_WAIT_ROUNDS):
            instance = self._process.instance(object_id)
            if instance is None or instance.object is None:
                await self._wake(object_id)
            elif instance.input.holder is None and instance.input.section is None:
                return instance
            else:
                await self._loop.next_round()
        raise ObjectReset(f"{self._stub!r} is busy: none of its turns ends", hint="read its storage when it waits")

    async def _wake(self, object_id: bytes) -> None:
        future: asyncio.Future[None] = self._loop.create_future()

        def answer(_call: Call, result: object) -> None:
            if isinstance(result, PerdureError) and not isinstance(result, MethodNotFound):
                future.set_exception(result)
            else:
                future.set_result(None)

        key, name = self._stub._key.unique, self._stub.id.name  # pyright: ignore[reportPrivateUsage]
        self._process.deliver(Call(key, object_id, name, RPC, _WAKE, b"\x90", answer))
        await future
