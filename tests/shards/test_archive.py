"""The shard's side of its archivist, with a process that is none."""

from __future__ import annotations

import asyncio

import pytest
from perdure.engine.errors import ShardLost
from perdure.shards import archive
from perdure.shards.archive import ArchiveProcess
from perdure.testing.virtual import run

from .fake_children import FakeChild


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    FakeChild.all, FakeChild.fails = [], []
    monkeypatch.setattr(archive, "Child", FakeChild)
    return []


def archivist(said: list[str]) -> ArchiveProcess:
    return ArchiveProcess(asyncio.get_running_loop(), "archivist 0", "", 0, lambda _level, event, _: said.append(event))


def test_one_that_cannot_be_started_fails_its_job_and_no_other(process: list[str]) -> None:
    async def body() -> None:
        found = archivist(process)
        FakeChild.fails = [BlockingIOError(11, "Resource temporarily unavailable")]
        with pytest.raises(ShardLost, match="cannot be started"):
            await found.ask("fold")
        job = asyncio.ensure_future(found.ask("fold"))
        await asyncio.sleep(0)
        (child,) = FakeChild.all
        child.say("done", job=child.sent[-1]["job"], result={"folded": 1})
        assert await job == {"folded": 1}
        assert process == ["archivist_not_started"]

    run(body())


def test_one_that_cannot_be_started_again_keeps_nobody_waiting(process: list[str]) -> None:
    async def body() -> None:
        found = archivist(process)
        jobs = [asyncio.ensure_future(found.ask("fold")) for _ in range(3)]
        await asyncio.sleep(0)
        FakeChild.fails = [OSError(12, "Cannot allocate memory")]
        FakeChild.all[0].die()
        for job in jobs[:2]:
            with pytest.raises(ShardLost):
                await job
        await asyncio.sleep(0.5)
        child = FakeChild.all[-1]
        child.say("done", job=child.sent[-1]["job"], result={})
        assert await jobs[2] == {}

    run(body())


def test_a_session_that_has_ended_starts_none(process: list[str]) -> None:
    async def body() -> None:
        found = archivist(process)
        found.close()
        with pytest.raises(ShardLost, match="shutting down"):
            await found.ask("fold")
        assert FakeChild.all == []

    run(body())
