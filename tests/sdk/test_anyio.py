"""Structured concurrency of anyio, which many frameworks use, in objects and in the Worker."""

from __future__ import annotations

import inspect

import anyio
import pytest
from perdure import DurableObject
from perdure.sdk.entrypoints import WorkerEntrypoint
from perdure.sdk.response import Response
from perdure.testing import World


async def _race() -> list[str]:
    """A group whose second child is cancelled when the first has ended, as middlewares do; and one that is too late."""
    told: list[str] = []

    async def waits() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            told.append("cancelled")

    async with anyio.create_task_group() as group:
        group.start_soon(waits)
        await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    with anyio.move_on_after(0.5) as scope:
        await anyio.sleep(10)
    told.append("late" if scope.cancelled_caught else "in time")
    return told


class Racer(DurableObject):
    async def race(self) -> list[str]:
        return await _race()

    async def state(self) -> str:
        import asyncio

        task = asyncio.current_task()
        assert task is not None
        return inspect.getcoroutinestate(task.get_coro())  # pyright: ignore[reportArgumentType]


class Default(WorkerEntrypoint):
    async def fetch(self, request: object) -> Response:
        return Response.json(await _race())


@pytest.mark.parametrize("where", ["an object", "the Worker"])
def test_groups_cancel_their_children(where: str) -> None:
    with World([Racer, Default]) as world:
        if where == "an object":
            assert world.namespace("Racer").getByName("a").race() == ["cancelled", "late"]
        else:

            async def ask() -> object:
                return await (await world.fetch("/")).json()

            assert world.run(ask()) == ["cancelled", "late"]


def test_a_task_of_an_object_can_be_asked_whether_it_runs() -> None:
    with World([Racer]) as world:
        assert world.namespace("Racer").getByName("a").state() == "CORO_RUNNING"
