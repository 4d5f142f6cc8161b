"""One object whose turns are the test's own functions of `ctx.storage`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from perdure.engine.durable import DurableObject
from perdure.engine.errors import PerdureError
from perdure.engine.limits import Limits

from .shelf import Shard

_TURNS: dict[int, Callable[..., object]] = {}
_RESULTS: list[object] = []


class SqlBox(DurableObject):
    """Runs a registered function with its own storage; what it returns stays in this process."""

    async def do(self, number):
        result = _TURNS[number](self.ctx.storage)
        if hasattr(result, "__await__"):
            result = await result
        _RESULTS.append(result)


def turns(
    tmp_path,
    *functions: Callable[..., object],
    limits: Limits | None = None,
    before: Callable[[Shard], None] | None = None,
) -> list[object]:
    """Each function as one turn of the same object: their results as they are, errors of calls as values."""

    async def body() -> list[object]:
        shard = Shard(SqlBox, tmp_path, limits=limits)
        if before is not None:
            before(shard)
        results: list[object] = []
        for number, function in enumerate(functions):
            _TURNS[number] = function
            _RESULTS.clear()
            try:
                await shard.call("a", "do", number)
                results.append(_RESULTS.pop())
            except PerdureError as error:
                results.append(error)
        shard.stop()
        return results

    return asyncio.run(body())


def turn(tmp_path, function: Callable[..., object], limits: Limits | None = None) -> object:
    """One turn's result; raises what the caller would get."""
    (result,) = turns(tmp_path, function, limits=limits)
    if isinstance(result, PerdureError):
        raise result
    return result


def failure(sql, query: str, *bindings: object) -> str:
    """The message that `query` fails with, or `ran`."""
    try:
        sql.exec(query, *bindings).toArray()
    except PerdureError as error:
        return error.message
    return "ran"
