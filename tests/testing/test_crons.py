"""Crons of a world: they run when time passes their minutes."""

from __future__ import annotations

import asyncio
import json

import pytest
from perdure.testing import World
from perdure.testing.virtual import NothingHappens

ENTRY = """
from workers import DurableObject, Response, WorkerEntrypoint


class Log(DurableObject):
    async def add(self, entry):
        await self.ctx.storage.put("log", [*(await self.ctx.storage.get("log") or []), entry])

    async def all(self):
        return await self.ctx.storage.get("log") or []


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response("")

    async def scheduled(self, controller):
        if controller.cron == "30 3 * * *":
            raise ValueError("as asked")
        await self.env.LOG.getByName("a").add([controller.cron, controller.scheduledTime])
"""


@pytest.fixture
def program(tmp_path):
    config = {
        "name": "crons",
        "main": "entry.py",
        "compatibility_date": "2026-10-01",
        "durable_objects": {"bindings": [{"name": "LOG", "class_name": "Log"}]},
        "migrations": [{"tag": "1", "new_sqlite_classes": ["Log"]}],
        "triggers": {"crons": ["0 * * * *", "15 1 2 * *", "30 3 * * *"]},
    }
    (tmp_path / "wrangler.json").write_text(json.dumps(config))
    (tmp_path / "entry.py").write_text(ENTRY)
    return tmp_path


def test_they_run_when_time_passes_their_minutes(program) -> None:
    with World(program) as world:  # from 2026-01-01T00:00
        log = world.env.LOG.getByName("a")
        world.advance(minutes=59, seconds=59)
        assert log.all() == []
        world.advance(seconds=1)
        hour = 3_600_000
        began = round(world.now.timestamp() * 1000) - hour
        assert log.all() == [["0 * * * *", began + hour]]
        world.advance(hours=25)
        seen = log.all()
        assert [text for text, _ in seen].count("0 * * * *") == 26
        assert ["15 1 2 * *", began + 25 * hour + hour // 4] in seen
        assert [at for _, at in seen] == sorted(at for _, at in seen)


def test_what_one_raises_is_in_the_log(program) -> None:
    with World(program) as world:
        world.advance(hours=4)
        (failed,) = [record for record in world.log if record.event == "scheduled_failed"]
        assert "as asked" in str(failed.fields)
        assert failed.fields["cron"] == "30 3 * * *"


def test_they_move_no_time_themselves(program) -> None:
    async def wait():
        await asyncio.get_running_loop().create_future()

    with World(program) as world:
        with pytest.raises(NothingHappens):
            world.run(wait())
        assert world.env.LOG.getByName("a").all() == []


def test_a_clock_that_is_set_gives_no_minute_twice(program) -> None:
    with World(program) as world:
        world.advance(hours=1)
        world.step_clock(-600)
        world.advance(minutes=20)
        assert len(world.env.LOG.getByName("a").all()) == 1
