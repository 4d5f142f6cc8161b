"""Streams: who is asked when, what is kept, how they end (spec: sdk, js; the streams standard)."""

from __future__ import annotations

import asyncio
import gzip
import zlib

import pytest
from perdure.sdk.streams import (
    ByteLengthQueuingStrategy,
    CompressionStream,
    DecompressionStream,
    FixedLengthStream,
    IdentityTransformStream,
    ReadableStream,
    TextDecoderStream,
    TextEncoderStream,
    TransformStream,
    WritableStream,
)


def run(work):
    async def bounded():
        async with asyncio.timeout(20):
            return await work()

    return asyncio.run(bounded())


async def rounds(count: int = 8) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def all_of(stream) -> list[object]:
    return [chunk async for chunk in stream]


def test_a_source_is_asked_when_somebody_reads_or_there_is_room() -> None:
    async def work():
        asked = []

        def pull(controller):
            asked.append(controller.desiredSize)
            if len(asked) == 4:
                controller.close()
            else:
                controller.enqueue(len(asked))

        stream = ReadableStream({"pull": pull}, {"highWaterMark": 0})
        await rounds()
        assert asked == []
        assert await all_of(stream) == [1, 2, 3]
        ahead = ReadableStream(
            pull=lambda controller: asked.append("a") or controller.enqueue(b"x"), strategy={"highWaterMark": 3}
        )
        assert asked.count("a") == 0
        await ahead.getReader().read()
        assert asked.count("a") == 4  # one that was read, three that wait

    run(work)


def test_start_comes_first_also_when_it_takes_time() -> None:
    async def work():
        log = []

        async def start(controller):
            await asyncio.sleep(0)
            log.append("started")
            controller.enqueue("first")

        async def pull(controller):
            log.append("pulled")
            await asyncio.sleep(0)
            controller.close()

        assert await all_of(ReadableStream({"start": start, "pull": pull})) == ["first"]
        assert log == ["started", "pulled"]

    run(work)


def test_a_reader_reads_cancels_and_lets_go() -> None:
    async def work():
        told = []
        stream = ReadableStream(
            start=lambda controller: [controller.enqueue(value) for value in (b"a", b"b")], cancel=told.append
        )
        reader = stream.getReader()
        assert stream.locked
        with pytest.raises(TypeError, match="locked to a reader"):
            stream.getReader()
        with pytest.raises(TypeError, match="locked to a reader"):
            await stream.cancel()
        read = await reader.read()
        assert (read.done, read["value"], read.value.byteLength) == (False, b"a", 1)
        reader.releaseLock()
        assert not stream.locked
        with pytest.raises(TypeError, match="released"):
            await reader.read()
        again = stream.getReader()
        await again.cancel("enough")
        assert told == ["enough"]
        assert (await again.read()).done is True
        await again.closed

    run(work)


def test_a_read_that_waits_fails_when_its_reader_is_released() -> None:
    async def work():
        reader = ReadableStream().getReader()
        waiting = reader.read()
        reader.releaseLock()
        with pytest.raises(TypeError, match="released"):
            await waiting
        with pytest.raises(TypeError, match="released"):
            await reader.closed

    run(work)


@pytest.mark.parametrize("how", ["start", "pull", "pull later", "controller", "iterator"])
def test_an_error_of_the_source_reaches_its_readers(how: str) -> None:
    async def work():
        async def fails(*_args):
            await asyncio.sleep(0)
            raise ValueError("as asked")

        def fails_now(*_args):
            raise ValueError("as asked")

        async def items():
            yield 1
            raise ValueError("as asked")

        if how == "start":
            stream = ReadableStream(start=fails)
        elif how == "pull":
            stream = ReadableStream(pull=fails_now)
        elif how == "pull later":
            stream = ReadableStream(pull=fails)
        elif how == "controller":
            stream = ReadableStream(pull=lambda controller: controller.error(ValueError("as asked")))
        else:
            stream = ReadableStream.from_(items())
        with pytest.raises(ValueError, match="as asked"):
            await all_of(stream)
        with pytest.raises(ValueError, match="as asked"):
            await stream.getReader().closed

    run(work)


def test_a_closed_stream_takes_no_more() -> None:
    async def work():
        kept = []
        stream = ReadableStream(start=kept.append)
        controller = kept[0]
        controller.enqueue(1)
        controller.close()
        for more in (lambda: controller.enqueue(2), controller.close):
            with pytest.raises(TypeError, match="Unable to"):
                more()
        assert await all_of(stream) == [1]
        assert controller.desiredSize == 0

    run(work)


@pytest.mark.parametrize("kind", ["list", "generator", "async generator", "stream"])
def test_from_takes_iterables(kind: str) -> None:
    async def work():
        async def later():
            for value in (1, 2):
                yield value

        given = {
            "list": lambda: [1, 2],
            "generator": lambda: (value for value in (1, 2)),
            "async generator": later,
            "stream": lambda: ReadableStream.from_([1, 2]),
        }[kind]()
        assert await all_of(getattr(ReadableStream, "from")(given)) == [1, 2]

    run(work)
    with pytest.raises(TypeError, match="iterable"):
        ReadableStream.from_(5)


def test_leaving_a_loop_early_cancels_and_ends_the_generator() -> None:
    async def work():
        ended = []

        async def endless():
            try:
                while True:
                    yield b"x"
            finally:
                ended.append(True)

        stream = ReadableStream.from_(endless())
        iterator = stream.values()
        await anext(iterator)
        await iterator.aclose()
        await rounds()
        assert ended == [True]
        assert not stream.locked
        kept = ReadableStream.from_([1, 2, 3])
        iterator = kept.values(preventCancel=True)
        assert await anext(iterator) == 1
        await iterator.aclose()
        assert await all_of(kept) == [2, 3]

    run(work)


def test_cancelling_ends_a_generator_that_waits() -> None:
    async def work():
        ended = []

        async def waits():
            try:
                await asyncio.get_running_loop().create_future()
                yield b""
            finally:
                ended.append(True)

        reader = ReadableStream.from_(waits()).getReader()
        waiting = reader.read()
        await rounds()
        await reader.cancel()
        assert ended == [True]
        assert (await waiting).done is True

    run(work)


def test_tee_gives_both_everything_and_cancels_when_both_are_gone() -> None:
    async def work():
        told = []
        stream = ReadableStream(
            pull=lambda controller: controller.enqueue(b"x"), cancel=told.append, strategy={"highWaterMark": 0}
        )
        first, second = stream.tee()
        assert stream.locked
        one, two = first.getReader(), second.getReader()
        for _ in range(3):
            await one.read()
        for _ in range(3):
            assert (await two.read()).value == b"x"
        await one.cancel("a")
        assert told == []
        assert (await two.read()).value == b"x"
        await two.cancel("b")
        assert told == ["b"]

    run(work)


def test_tee_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr("perdure.sdk.stream_pipes.TEE_BYTES_MAX", 100)

    async def work():
        fast, slow = ReadableStream.from_(b"x" * 40 for _ in range(5)).tee()
        assert len(await all_of(fast)) == 5
        with pytest.raises(Exception, match="behind the other"):
            await all_of(slow)

    run(work)


def test_byob_readers_get_as_much_as_they_ask_for() -> None:
    async def work():
        reader = ReadableStream.from_([b"abcdef", b"g"]).getReader(mode="byob")
        buffer = bytearray(4)
        read = await reader.read(buffer)
        assert (read.value, bytes(buffer)) == (b"abcd", b"abcd")
        assert (await reader.readAtLeast(3, 8)).value == b"efg"
        assert (await reader.read(8)).done is True
        with pytest.raises(TypeError, match="view"):
            await reader.read(None)
        with pytest.raises(TypeError, match="byob"):
            ReadableStream.from_([]).getReader({"mode": "other"})

    run(work)


def test_writes_are_in_order_one_at_a_time_and_ready_says_when_there_is_room() -> None:
    async def work():
        taken, running = [], []

        async def write(chunk):
            assert not running
            running.append(chunk)
            await asyncio.sleep(0)
            running.clear()
            taken.append(chunk)

        closed = []
        stream = WritableStream({"write": write, "close": lambda: closed.append(True)}, {"highWaterMark": 2})
        writer = stream.getWriter()
        assert (stream.locked, writer.desiredSize) == (True, 2)
        writes = [writer.write(value) for value in range(4)]
        assert writer.desiredSize == -2
        assert not writer.ready.done()
        await writer.ready
        assert len(taken) >= 3
        await asyncio.gather(*writes)
        await writer.close()
        assert (taken, closed) == ([0, 1, 2, 3], [True])
        await writer.closed
        with pytest.raises(TypeError, match="closed"):
            await writer.write(5)

    run(work)


def test_a_sink_that_fails_breaks_its_stream() -> None:
    async def work():
        def write(chunk):
            raise ValueError(f"no {chunk}")

        writer = WritableStream(write=write).getWriter()
        first, second = writer.write(1), writer.write(2)
        for each in (first, second, writer.closed, writer.ready, writer.close()):
            with pytest.raises(ValueError, match="no 1"):
                await each
        assert writer.desiredSize is None

    run(work)


def test_abort_tells_the_sink_after_the_write_that_runs() -> None:
    async def work():
        log = []
        held = asyncio.get_running_loop().create_future()

        async def write(chunk):
            await held
            log.append(chunk)

        stream = WritableStream(write=write, abort=log.append)
        writer = stream.getWriter()
        first, second = writer.write("a"), writer.write("b")
        await rounds()
        aborting = writer.abort("enough")
        await rounds()
        assert log == []
        held.set_result(None)
        await aborting
        assert log == ["a", "enough"]
        for each in (first, second):
            with pytest.raises(Exception, match="enough"):
                await each

    run(work)


def test_a_pipe_reads_no_faster_than_its_destination_takes() -> None:
    async def work():
        made = []
        gate = asyncio.Semaphore(0)

        async def items():
            for value in range(100):
                made.append(value)
                yield value

        taken = []

        async def write(chunk):
            await gate.acquire()
            taken.append(chunk)

        piping = ReadableStream.from_(items()).pipeTo(WritableStream(write=write))
        await rounds(50)
        assert len(made) <= 3
        for _ in range(100):
            gate.release()
        await piping
        assert taken == list(range(100))

    run(work)


@pytest.mark.parametrize("prevented", [False, True])
def test_errors_of_a_pipe_go_both_ways_unless_prevented(prevented: bool) -> None:
    async def work():
        cancelled, aborted = [], []

        def write(_chunk):
            raise ValueError("full")

        source = ReadableStream(
            pull=lambda controller: controller.enqueue(1), cancel=cancelled.append, strategy={"highWaterMark": 0}
        )
        with pytest.raises(ValueError, match="full"):
            await source.pipeTo(WritableStream(write=write), preventCancel=prevented)
        assert bool(cancelled) is not prevented

        def fail(controller):
            controller.error(ValueError("gone"))

        sink = WritableStream(abort=aborted.append)
        with pytest.raises(ValueError, match="gone"):
            await ReadableStream(pull=fail).pipeTo(sink, {"preventAbort": prevented})
        assert bool(aborted) is not prevented
        closed = []
        sink = WritableStream(close=lambda: closed.append(True))
        await ReadableStream.from_([1]).pipeTo(sink, preventClose=prevented)
        assert bool(closed) is not prevented
        assert not sink.locked

    run(work)


class Signal:
    """The part of an AbortSignal that is asked for."""

    def __init__(self) -> None:
        self.aborted, self.reason, self.listeners = False, None, []

    def addEventListener(self, _kind, listener):
        self.listeners.append(listener)

    def removeEventListener(self, _kind, listener):
        self.listeners.remove(listener)

    def abort(self, reason):
        self.aborted, self.reason = True, reason
        for listener in list(self.listeners):
            listener(None)


def test_a_signal_ends_a_pipe() -> None:
    async def work():
        signal = Signal()
        ended = []
        source = ReadableStream(cancel=lambda reason: ended.append(str(reason)))
        piping = source.pipeTo(WritableStream(abort=lambda reason: ended.append(str(reason))), signal=signal)
        await rounds()
        signal.abort(ValueError("enough"))
        with pytest.raises(ValueError, match="enough"):
            await piping
        await rounds()
        assert ended == ["enough", "enough"]
        assert signal.listeners == []

    run(work)


def test_a_transform_changes_flushes_and_holds_its_writer() -> None:
    async def work():
        def transform(chunk, controller):
            controller.enqueue(chunk * 2)

        stream = TransformStream({"transform": transform, "flush": lambda controller: controller.enqueue("end")})
        writer, reader = stream.writable.getWriter(), stream.readable.getReader()
        writing = writer.write(2)
        await rounds()
        assert not writing.done()
        assert (await reader.read()).value == 4
        await writing
        closing = writer.close()
        assert (await reader.read()).value == "end"
        assert (await reader.read()).done is True
        await closing
        assert await all_of(ReadableStream.from_(["a", "b"]).pipeThrough(TransformStream())) == ["a", "b"]

    run(work)


def test_a_transform_that_fails_or_is_cancelled_breaks_both_sides() -> None:
    async def work():
        def transform(_chunk):
            raise ValueError("as asked")

        stream = TransformStream(transform=transform)
        writer, reader = stream.writable.getWriter(), stream.readable.getReader()
        reading, writing = reader.read(), writer.write(1)
        for each in (reading, writing):
            with pytest.raises(ValueError, match="as asked"):
                await each
        stream = TransformStream()
        writer = stream.writable.getWriter()
        writing = writer.write(1)
        await rounds()
        await stream.readable.cancel("enough")
        with pytest.raises(Exception, match="enough|closed"):
            await writing

    run(work)


def test_texts_compression_and_their_failures() -> None:
    async def work():
        text = "Füße — €" * 1000
        whole = ReadableStream.from_([text[:3], text[3:]]).pipeThrough(TextEncoderStream())
        whole = whole.pipeThrough(CompressionStream("gzip"))
        data = b"".join(await all_of(whole))
        assert gzip.decompress(data).decode() == text
        pieces = [data[index : index + 7] for index in range(0, len(data), 7)]
        back = ReadableStream.from_(pieces).pipeThrough(DecompressionStream("gzip")).pipeThrough(TextDecoderStream())
        assert "".join(await all_of(back)) == text
        for damaged in ([data[:-3]], [data + b"x"], [b"nothing"]):
            with pytest.raises(TypeError):
                await all_of(ReadableStream.from_(damaged).pipeThrough(DecompressionStream("gzip")))
        with pytest.raises(TypeError):
            await all_of(ReadableStream.from_([b"\xff"]).pipeThrough(TextDecoderStream("utf-8", {"fatal": True})))

    run(work)
    with pytest.raises(TypeError, match="format"):
        CompressionStream("zip")
    with pytest.raises(ValueError, match="invalid"):
        TextDecoderStream("nothing")


def test_what_becomes_large_leaves_in_pieces() -> None:
    async def work():
        small = zlib.compress(bytes(10_000_000))
        stream = ReadableStream.from_([small]).pipeThrough(DecompressionStream("deflate"))
        reader = stream.getReader()
        largest = total = 0
        while not (read := await reader.read()).done:
            largest, total = max(largest, len(read.value)), total + len(read.value)
            assert (stream.desired() or 0) > -3  # chunks that wait
        assert (total, largest <= 64 << 10) == (10_000_000, True)

    run(work)


def test_fixed_lengths_and_bytes_only() -> None:
    async def work():
        stream = FixedLengthStream(3)
        writer, reader = stream.writable.getWriter(), stream.readable.getReader()
        reading = reader.read()
        await writer.write(b"ab")
        assert (await reading).value == b"ab"
        with pytest.raises(TypeError, match="did not see all expected bytes"):
            await writer.close()
        stream = FixedLengthStream(1)
        writer = stream.writable.getWriter()
        reading = stream.readable.getReader().read()
        with pytest.raises(TypeError, match="too many bytes"):
            await writer.write(b"ab")
        with pytest.raises(TypeError, match="too many bytes"):
            await reading
        stream = IdentityTransformStream()
        with pytest.raises(TypeError, match="must be bytes"):
            await asyncio.gather(stream.readable.getReader().read(), stream.writable.getWriter().write(object()))

    run(work)
    assert ByteLengthQueuingStrategy(highWaterMark=5).size(b"abc") == 3


def test_strategies_and_members_that_are_wrong() -> None:
    with pytest.raises(ValueError, match="highWaterMark"):
        ReadableStream({}, {"highWaterMark": -1})
    with pytest.raises(TypeError, match="start must be a function"):
        ReadableStream(start=5)

    async def work():
        with pytest.raises(TypeError, match="WritableStream"):
            ReadableStream().pipeTo(object())
        with pytest.raises(TypeError, match="pair"):
            ReadableStream().pipeThrough({"readable": 1})

    run(work)
