"""Server-sent events and a drain: a stream that never ends does not hold the gateway up, one that ends is let end."""

from __future__ import annotations

import asyncio

import pytest
from perdure.router.gateway_http import Front
from perdure.sdk.entrypoints import WorkerEntrypoint
from perdure.sdk.response import Response


class Stream:
    """A Worker's body whose chunks come when a test says so."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.more: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.closed = False

    async def chunks(self):
        try:
            while (chunk := await self.more.get()) is not None:
                yield chunk
        finally:
            self.closed = True

    def front(self) -> Front:
        stream = self

        class Default(WorkerEntrypoint):
            async def fetch(self):
                return Response(stream.chunks(), headers={"Content-Type": stream.kind})

        def report(*_: object) -> None:
            return

        loop = asyncio.get_running_loop()
        return Front(lambda context: Default(context, None), loop, report, development=True, host="localhost")


async def begin(front: Front) -> tuple[asyncio.Task[None], list[bytes | None]]:
    """A request, and what its client has received: chunks, None at a proper end."""
    received: list[bytes | None] = []

    async def receive():
        await asyncio.get_running_loop().create_future()

    async def send(message):
        if message["type"] == "http.response.body":
            received.append(message["body"] if message.get("more_body") else None)

    scope = {"type": "http", "method": "GET", "scheme": "http", "raw_path": b"/", "query_string": b"", "headers": []}
    task = asyncio.ensure_future(front(scope, receive, send))
    await rounds()
    return task, received


async def rounds() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("kind", ["text/event-stream", "text/event-stream; charset=utf-8", "application/octet-stream"])
def test_a_drain_ends_event_streams_only(kind: str) -> None:
    async def run() -> None:
        stream = Stream(kind)
        front = stream.front()
        task, received = await begin(front)
        stream.more.put_nowait(b"one")
        await rounds()
        assert received == [b"one"]
        front.drain()
        await rounds()
        if kind.startswith("text/event-stream"):
            assert received == [b"one", None]
        else:
            assert not task.done()
            stream.more.put_nowait(b"two")
            stream.more.put_nowait(None)
            await rounds()
            assert received == [b"one", b"two", None]
        assert task.done()
        assert stream.closed
        await task
        await front.close(0)

    asyncio.run(run())


def test_an_event_stream_whose_writer_or_reader_ends_it() -> None:
    async def run() -> None:
        stream = Stream("text/event-stream")
        front = stream.front()
        task, received = await begin(front)
        stream.more.put_nowait(b"one")
        stream.more.put_nowait(None)
        await task
        assert received == [b"one", None]
        stream.closed = False
        task, received = await begin(front)
        task.cancel()  # the client is gone
        with pytest.raises(asyncio.CancelledError):
            await task
        assert stream.closed
        await front.close(0)

    asyncio.run(run())
