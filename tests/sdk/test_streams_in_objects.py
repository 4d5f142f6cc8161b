"""Streams inside an object: their functions run in its turns, and may be interrupted there as all code of a program."""

from __future__ import annotations

import asyncio
import sys

import pytest
from perdure.engine.interruption import may_raise
from perdure.sdk.streams import ReadableStream, TransformStream, WritableStream

from ..engine.box import Box

KINDS = [
    "start",
    "pull",
    "pull later",
    "generator",
    "iterator",
    "reader of a generator",
    "write",
    "write later",
    "transform",
]


@pytest.mark.parametrize("kind", KINDS)
def test_functions_of_streams_run_in_turns_and_can_be_interrupted(tmp_path, kind: str) -> None:
    seen: list[tuple[bool, bool]] = []

    async def script(ctx):
        turns = ctx._instance.turns

        def look() -> None:
            seen.append((turns.running is ctx._instance, may_raise(sys._getframe(1))))
            ctx.storage.kv.put("looked", len(seen))  # refused outside of a turn

        def pull(controller):
            look()
            controller.close()

        async def pull_later(controller):
            await asyncio.sleep(0)
            look()
            controller.close()

        async def items():
            look()
            yield b"x"
            await asyncio.sleep(0)
            look()

        class Iterator:
            def __aiter__(self):
                return self

            async def __anext__(self):
                await asyncio.sleep(0)
                look()
                raise StopAsyncIteration

        async def write_later(_chunk):
            await asyncio.sleep(0)
            look()

        async def read(stream):
            reader = stream.getReader()
            while not (await reader.read()).done:
                continue

        async def loop(stream):
            async for _ in stream:
                pass

        if kind == "start":
            ReadableStream(start=pull)
        elif kind in ("pull", "pull later"):
            await loop(ReadableStream(pull=pull if kind == "pull" else pull_later))
        elif kind == "generator":
            await loop(ReadableStream.from_(items()))
        elif kind == "iterator":
            await loop(ReadableStream.from_(Iterator()))
        elif kind == "reader of a generator":
            await read(ReadableStream.from_(items()))
        elif kind in ("write", "write later"):
            sink = WritableStream(write=(lambda _chunk: look()) if kind == "write" else write_later)
            await ReadableStream.from_([1]).pipeTo(sink)
        else:
            await loop(ReadableStream.from_([1]).pipeThrough(TransformStream(transform=lambda _chunk: look())))

    async def work():
        async with asyncio.timeout(20), Box.on(tmp_path) as box:
            await box.do(script)

    asyncio.run(work())
    assert seen
    assert set(seen) == {(True, True)}
