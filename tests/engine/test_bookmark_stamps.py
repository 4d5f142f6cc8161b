"""Bookmarks grow at every call (spec: point-in-time recovery), though time may stand still."""

from __future__ import annotations

import asyncio

import pytest
from perdure.engine.errors import ObjectReset

from .box import Box


def test_bookmarks_grow_from_one_instance_to_the_next_also_within_a_millisecond(tmp_path) -> None:
    async def bookmark(ctx):
        return await ctx.storage.getCurrentBookmark()

    async def abort(ctx):
        ctx.abort()

    async def run():
        async with Box.on(tmp_path) as box:
            given = [await box.do(bookmark) for _ in range(3)]
            with pytest.raises(ObjectReset):
                await box.do(abort)
            given.append(await box.do(bookmark))
            assert given == sorted(set(given))

    asyncio.run(run())
