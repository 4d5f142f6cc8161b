"""An example in a world of its own: virtual time, real storage, crashes on request.

@played("limiter")
async def test_something(world): ...
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

from perdure.testing import World
from perdure.testing.virtual import run

EXAMPLES = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "examples")


def played(
    example: str, *, shards: int = 2, **variables: object
) -> Callable[[Callable[[World], Awaitable[None]]], Callable[[], None]]:
    """Makes a test of a coroutine function that takes the world. `variables`: of the example's configuration, changed."""

    def make(test: Callable[[World], Awaitable[None]]) -> Callable[[], None]:
        def played_test() -> None:
            async def play() -> None:
                async with World(f"{EXAMPLES}/{example}", shards=shards, env=variables) as world:
                    await test(world)

            run(play())

        played_test.__name__, played_test.__doc__ = test.__name__, test.__doc__
        return played_test

    return make


async def ask(world: World, what: str, body: str | None = None, **headers: str) -> tuple[int, object]:
    """`ask(world, "POST /x")`: the status, and the body: of JSON its value, else its text."""
    method, _, path = what.partition(" ")
    answer = await world.fetch(path, method=method, headers=headers, body=body)
    is_json = (answer.headers.get("content-type") or "").startswith("application/json")
    return answer.status, await (answer.json() if is_json else answer.text())


def now_ms(world: World) -> int:
    return int(world.now.timestamp() * 1000)
