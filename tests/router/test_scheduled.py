"""Runs of `scheduled` in a gateway, and how the handler is called."""

from __future__ import annotations

import asyncio

import pytest
from perdure.engine.errors import PerdureError
from perdure.router.scheduled import ScheduledRuns
from perdure.sdk.entrypoints import WorkerEntrypoint
from perdure.sdk.scheduled import ScheduledController, run_scheduled
from perdure.testing.virtual import run


class Scene:
    def __init__(self, worker: type | None, wall_s: float = 900.0) -> None:
        self.answers: list[dict[str, object]] = []
        self.reports: list[str] = []
        self.runs = ScheduledRuns(
            None if worker is None else lambda context: worker(context, None),
            asyncio.get_running_loop(),
            lambda level, event, fields: self.reports.append(event),
            self.answers.append,
            wall_s,
        )

    def begin(self, number: int = 1) -> None:
        self.runs.begin({"type": "scheduled", "run": number, "cron": "* * * * *", "scheduled_ms": 60_000})

    def error(self, index: int = 0) -> object:
        found = self.answers[index]["error"]
        return found["message"] if isinstance(found, dict) else found


class One(WorkerEntrypoint):
    async def scheduled(self, controller):
        assert (controller.cron, controller.scheduledTime, controller.type) == ("* * * * *", 60_000, "scheduled")
        assert controller.scheduled_time == 60_000
        assert controller.noRetry() is None


class Two(WorkerEntrypoint):
    def scheduled(self, controller, env):
        assert env is None


class Three(WorkerEntrypoint):
    async def scheduled(self, controller, env, ctx=None):
        assert (env, ctx) == (None, None)


class Any(WorkerEntrypoint):
    async def scheduled(self, *args):
        assert len(args) == 3


@pytest.mark.parametrize("worker", [One, Two, Three, Any])
def test_a_handler_takes_one_to_three_arguments(worker) -> None:
    run(run_scheduled(worker(None, None), ScheduledController("* * * * *", 60_000)))


class Silent(WorkerEntrypoint):
    pass


@pytest.mark.parametrize("worker", [Silent, None])
def test_a_missing_handler(worker) -> None:
    async def body() -> None:
        scene = Scene(worker)
        scene.begin()
        await scene.runs.close(1)
        assert "does not export a scheduled() function" in str(scene.error())
        assert scene.reports == ["scheduled_failed"]

    run(body())


def test_an_exception_is_logged_and_told() -> None:
    class Failing(WorkerEntrypoint):
        async def scheduled(self, controller):
            raise ValueError("no bread")

    async def body() -> None:
        scene = Scene(Failing)
        scene.begin()
        await scene.runs.close(1)
        assert scene.error() == "ValueError: no bread"
        assert "no bread" in str(scene.answers[0]["error"]["stack"])
        assert scene.reports == ["scheduled_failed"]

    run(body())


def test_a_timeout_of_the_handler_s_own_is_no_wall() -> None:
    class Impatient(WorkerEntrypoint):
        async def scheduled(self, controller):
            async with asyncio.timeout(1):
                await asyncio.sleep(2)

    async def body() -> None:
        scene = Scene(Impatient)
        scene.begin()
        await scene.runs.close(5)
        assert str(scene.error()).startswith("TimeoutError")

    run(body())


class Slow(WorkerEntrypoint):
    async def scheduled(self, controller):
        await asyncio.sleep(1_000)


def test_a_run_takes_fifteen_minutes_at_most() -> None:
    async def body() -> None:
        scene = Scene(Slow)
        scene.begin()
        await asyncio.sleep(899)
        assert scene.answers == []
        await asyncio.sleep(2)
        assert "took longer than its 900 s" in str(scene.error())

    run(body())


def test_runs_overlap_and_a_drain_waits_for_them() -> None:
    class Steady(WorkerEntrypoint):
        async def scheduled(self, controller):
            await asyncio.sleep(90)

    async def body() -> None:
        loop = asyncio.get_running_loop()
        scene = Scene(Steady)
        scene.begin(1)
        await asyncio.sleep(60)
        scene.begin(2)
        began = loop.time()
        await scene.runs.close(120)
        assert loop.time() - began == pytest.approx(90)
        assert [(answer["run"], answer["error"]) for answer in scene.answers] == [(1, None), (2, None)]

    run(body())


def test_what_a_drain_cannot_wait_for_is_cut_off_and_told() -> None:
    async def body() -> None:
        scene = Scene(Slow)
        scene.begin()
        await scene.runs.close(10)
        assert "drained" in str(scene.error())

    run(body())


def test_a_drain_waits_for_wait_until() -> None:
    done: list[str] = []

    class Lasting(WorkerEntrypoint):
        async def scheduled(self, controller):
            self.ctx.waitUntil(self.later())

        async def later(self):
            await asyncio.sleep(30)
            done.append("later")

    async def body() -> None:
        scene = Scene(Lasting)
        scene.begin()
        await asyncio.sleep(1)
        assert scene.error() is None
        await scene.runs.close(60)
        assert done == ["later"]

    run(body())


def test_the_error_says_what_to_do() -> None:
    with pytest.raises(PerdureError) as raised:
        run(run_scheduled(Silent(None, None), ScheduledController("", 0)))
    assert "async def scheduled(self, controller)" in (raised.value.hint or "")
