"""Us: a world that serves the Python twin, in virtual time."""

from __future__ import annotations

import json
from typing import cast

from perdure.testing import World

from .operation import Json, Operation


class Ours:
    """A context manager; `folder` has the program."""

    def __init__(self, folder: str) -> None:
        self._world = World(folder)

    def __enter__(self) -> Ours:
        self._world.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._world.close()

    def outcome(self, row: Operation) -> Json:
        return self._world.run(self._ask(row))

    async def _ask(self, row: Operation) -> Json:
        response = await self._world.fetch("/", json={"name": row.name})
        text = await response.text()
        if response.status != 200:
            return {"no outcome": text}
        return cast("Json", json.loads(text))

    def outcomes(self, rows: list[Operation]) -> dict[str, Json]:
        return {row.name: self.outcome(row) for row in rows}
