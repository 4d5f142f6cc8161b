"""Migrations when the process dies between two of them."""

from __future__ import annotations

import asyncio

import perdure
import pytest
from perdure.engine.errors import PerdureError, ShardLost

from .runtime import serving

pytestmark = pytest.mark.system

PROGRAM = """
import os, signal
from perdure.migrations import Migrations
from workers import DurableObject

DIARY = {diary!r}

def note(line):
    with open(DIARY, "a") as file:
        file.write(line + "\\n")

def first(sql):
    note("first")
    sql.exec("create table t(a)")

def second(sql):
    note("second")
    sql.exec("insert into t values('second')")

def third(sql):
    note("third")
    sql.exec("insert into t values('third')")
    with open(DIARY) as file:
        if file.read().count("third") == 1:
            os.kill(os.getpid(), signal.SIGKILL)

MIGRATIONS = Migrations((1, "first", first), (2, "second", second), (3, "third", third))

class Room(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        ctx.blockConcurrencyWhile(lambda: MIGRATIONS.apply_each(ctx.storage))

    async def rows(self):
        sql = self.ctx.storage.sql
        numbers = [row["number"] for row in sql.exec("select number from _migrations order by number").toArray()]
        return [numbers, [row["a"] for row in sql.exec("select a from t order by rowid").toArray()]]
"""


def test_a_shard_killed_between_migrations_goes_on_with_the_one_that_was_not_durable(tmp_path) -> None:
    diary = tmp_path / "diary"
    program = tmp_path / "room.py"
    program.write_text(PROGRAM.format(diary=str(diary)))

    async def run(address: str) -> None:
        async with perdure.connect(address) as client:
            room = client.namespace("Room").getByName("a")
            with pytest.raises(PerdureError) as caught:
                await room.rows()
            assert isinstance(caught.value, ShardLost)
            assert await room.rows() == [[1, 2, 3], ["second", "third"]]

    with serving(str(program), str(tmp_path / "data"), "--shards", "1") as runtime:
        asyncio.run(run(runtime.address))
    assert diary.read_text().split() == ["first", "second", "third", "third"]
