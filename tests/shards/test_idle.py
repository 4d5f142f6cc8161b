"""What many objects that sleep leave in a shard's memory."""

from __future__ import annotations

import asyncio

import pytest
from perdure.shards import marks

from .session import Session, on_a_loop


async def put(ctx) -> None:
    await ctx.storage.put("value", 1)


async def value(ctx):
    return await ctx.storage.get("value")


@on_a_loop
async def test_the_index_of_the_log_forgets_objects_that_are_marked(tmp_path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(marks, "_INDEX_OBJECTS_MAX", 20)
        async with Session.on(tmp_path / "data") as session:
            await asyncio.gather(*[session.do(put, name=f"o{number}") for number in range(30)])
            assert len(session.machine.log.index.commits) == 30
            for number in range(30):
                session.evict(f"o{number}")
            session.pass_time(40)
            await session.cycle()
            log = session.machine.log
            assert (log.number, len(log.index.commits), len(session.machine.files.live)) == (2, 0, 0)
            await session.cycle()
            assert log.first == 2, "the segment before is folded and gone"
            await session.do(put, name="o7")
            await session.restart(kill=True)
            for number in (0, 7, 29):
                assert await session.do(value, name=f"o{number}") == 1


@on_a_loop
async def test_a_kill_right_after_the_early_end_of_a_segment_loses_nothing(tmp_path) -> None:
    async with Session.on(tmp_path / "data") as session:
        await session.do(put, name="before")
        session.machine.log.ends_early = True
        await session.do(put, name="after")
        assert session.machine.log.number == 2
        await session.restart(kill=True)
        assert await session.do(value, name="before") == 1
        assert await session.do(value, name="after") == 1
