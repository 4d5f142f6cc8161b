"""An example in a world of its own: virtual time, real storage, crashes on request.

@example("limiter")
async def test_something(world): ...
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from perdure.testing import World

EXAMPLES = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "examples")

LATE = {"milliseconds": 100}
"""`world.advance(**LATE)`: an alarm is never early, it may be a little late."""


def example(name: str, **variables: object) -> pytest.MarkDecorator:
    """The mark of a test whose world has two shards that serve an example. `variables`: of its configuration, changed."""
    return pytest.mark.perdure(program=f"{EXAMPLES}/{name}", shards=2, env=variables)


async def ask(world: World, what: str, body: str | None = None, **headers: str) -> tuple[int, object]:
    """`ask(world, "POST /x")`: the status, and the body: of JSON its value, else its text."""
    method, _, path = what.partition(" ")
    answer = await world.fetch(path, method=method, headers=headers, body=body)
    is_json = (answer.headers.get("content-type") or "").startswith("application/json")
    return answer.status, await (answer.json() if is_json else answer.text())


def now_ms(world: World) -> int:
    return int(world.now.timestamp() * 1000)
