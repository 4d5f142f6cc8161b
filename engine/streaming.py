"""Streams of values over calls: an async iterator at one end, another at the other, items in between in batches.

What always holds: items arrive in order, each once; the source runs ahead of its reader by a bound of bytes and of items, and by
nothing before the first is asked for; a reader that stops closes the source, in whose object's turns it runs; a source that is
gone fails its reader, the stream never just ends.
"""

from __future__ import annotations

import asyncio
import types
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import Context
from typing import TYPE_CHECKING, cast

import msgpack

from .bodies import next_of
from .errors import DurableObjectAbort, HostGone, PerdureError, ProgramBug, ShardLost
from .interruption import entry
from .limits import STREAM_CREDIT_BYTES
from .raised import as_remote
from .references import RpcStub
from .turns import SCOPE

if TYPE_CHECKING:
    from .exports import Exports, Parcel

AHEAD_ITEMS = 16


def cut_early() -> PerdureError:
    return HostGone("The ReadableStream received over RPC disconnected prematurely")


class Producer:
    """The source's end. Make it in the code that sends the stream: it runs in the same scope."""

    def __init__(self, source: AsyncIterator[object], exports: Exports) -> None:
        scope = SCOPE.get()
        self._source = source
        self._exports = exports
        self._instance = None if scope is None else scope.instance
        self._ready: deque[bytes | Parcel] = deque()
        self._bytes = 0
        self._ahead = 0
        """Items and their bytes that the reader has not taken; some may wait at the output gate."""
        self._error: PerdureError | None = None
        self._ended = self._stopped = False
        self._task: asyncio.Task[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._come: asyncio.Future[None] | None = None

    # ------------------------------------------------------------------ what the source does
    def start(self) -> None:
        """Begin to run the source. Call it in the context that the stream was sent in."""
        if self._task is None and not self._stopped:
            self._task = self._exports.loop.create_task(self._pump(), name="stream")

    async def _pump(self) -> None:
        source = self._source
        try:
            while True:
                while self._bytes >= STREAM_CREDIT_BYTES or self._ahead >= AHEAD_ITEMS:
                    self._room = self._exports.loop.create_future()
                    await self._room
                if isinstance(source, types.AsyncGeneratorType):
                    found, item = await next_of(cast("types.AsyncGeneratorType[object, None]", source))
                else:
                    try:
                        found, item = True, await anext(source)
                    except StopAsyncIteration:
                        found, item = False, None
                if not found:
                    self._emit(None)
                    return
                self._emit(self._exports.pack_result(item))
        except BaseException as error:
            instance = self._instance
            gone = instance is not None and (instance.broken is not None or instance.fatal is not None)
            if (
                gone
                or isinstance(error, DurableObjectAbort | asyncio.CancelledError)
                or not isinstance(error, Exception)
            ):
                raise
            if not self._stopped:
                self._emit(as_remote(error))
        finally:
            await self._end_source()

    async def _close(self) -> None:
        """Nobody has begun to read it."""
        await self._end_source()

    async def _end_source(self) -> None:
        closer = cast("Callable[[], Awaitable[None]] | None", getattr(self._source, "aclose", None))
        if closer is not None and (self._instance is None or self._instance.broken is None):
            await closer()

    def _emit(self, item: bytes | Parcel | PerdureError | None) -> None:
        if item is not None and not isinstance(item, PerdureError):
            self._ahead += 1
            self._bytes += _size(item)
        if self._instance is None:
            self._hand_over(item)
        else:
            self._instance.output.emit(self._hand_over, item)

    def _hand_over(self, item: bytes | Parcel | PerdureError | None) -> None:
        if isinstance(item, PerdureError):
            self._error, self._ended = item, True
        elif item is None:
            self._ended = True
        elif self._stopped:  # it waited at the gate
            _lost(item)
        else:
            self._ready.append(item)
        _wake(self._come)

    # ------------------------------------------------------------------ what the reader asks
    async def pull(self) -> tuple[bytes, list[Parcel]]:
        """What is ready, at least one item unless the stream has ended: a packed [ended, items]. Raises what the source did."""
        while not self._ready and not self._ended:
            if self._stopped:
                raise cut_early()
            if self._come is None or self._come.done():
                self._come = self._exports.loop.create_future()
            await asyncio.shield(self._come)  # two may ask
        if not self._ready and self._error is not None:
            raise self._error
        items, self._ready = list(self._ready), deque()
        self._ahead -= len(items)
        self._bytes -= sum(map(_size, items))
        _wake(self._room)
        ended = self._ended and self._error is None
        packer = msgpack.Packer(autoreset=False)
        packer.pack_array_header(2)
        packer.pack(ended)
        packer.pack_array_header(len(items))
        parts = [item if isinstance(item, bytes) else item.payload for item in items]
        return b"".join((packer.bytes(), *parts)), [item for item in items if not isinstance(item, bytes)]

    def stop(self, context: Context) -> None:
        """Nobody reads any more. `context`: in which the stream was sent."""
        self._stopped = True
        for item in self._ready:
            _lost(item)
        self._ready.clear()
        if self._task is not None:
            self._task.cancel()
        elif not isinstance(self._source, types.AsyncGeneratorType) and hasattr(self._source, "aclose"):
            self._task = self._exports.loop.create_task(self._close(), name="stream", context=context.copy())
        _wake(self._come)


def _lost(item: bytes | Parcel) -> None:
    """It will never be read."""
    if not isinstance(item, bytes):
        item.withdraw()


def _cancelled() -> bool:
    """Whether the running task is being cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _size(item: bytes | Parcel) -> int:
    return len(item if isinstance(item, bytes) else item.payload)


def _wake(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)


class RemoteStream(AsyncIterator[object]):
    """The reader's end: an async iterator. Closing it (`aclose`), or dropping it, closes the source."""

    def __init__(self, stub: RpcStub) -> None:
        self.stub = stub
        self._items: deque[object] = deque()
        self._next: asyncio.Future[object] | None = None
        self._ended = False

    def _ask(self) -> asyncio.Future[object]:
        return self.stub._import().call((), None, {}, inside=True)  # pyright: ignore[reportPrivateUsage]

    def __anext__(self) -> Awaitable[object]:
        return cast("Awaitable[object]", self.stub._imported.exports.through(self._one()))  # pyright: ignore[reportPrivateUsage]

    def __iter__(self) -> RemoteStream:
        return self

    def __next__(self) -> object:
        """For threads of a blocking client. Raises ProgramBug elsewhere."""
        enter = self.stub._imported.exports.enter  # pyright: ignore[reportPrivateUsage]
        if enter is None:
            raise ProgramBug("a stream is read with `async for`", hint="`for` is for clients of `connect_blocking`")
        try:
            return enter(self._one)
        except StopAsyncIteration:
            raise StopIteration from None

    async def _one(self) -> object:
        while not self._items:
            if self._ended:
                raise StopAsyncIteration
            asked = self._next = self._next or self._ask()
            try:
                ended, items = cast("tuple[bool, list[object]]", await asyncio.shield(asked))
            except asyncio.CancelledError:  # what it brings is for the next time
                if asked.cancelled() and not _cancelled():
                    raise StopAsyncIteration from None  # it was closed meanwhile
                raise
            except (HostGone, ShardLost):
                self.dispose()
                raise cut_early() from None
            except PerdureError:
                self.dispose()
                raise
            if self._next is not asked:  # another reader has taken them
                continue
            self._items.extend(items)
            if ended:
                self.dispose()
            else:  # while these are worked on the next ones come
                self._next = self._ask()
        return self._items.popleft()

    @property
    def untouched(self) -> bool:
        """Whether nobody has begun to read it: it can be passed on as it is."""
        return not self._items and self._next is None and not self._ended

    def dup(self) -> RemoteStream:
        """The rest of it, for whoever it is passed on to."""
        assert self.untouched, "what was read of it stays here"
        return RemoteStream(self.stub.dup())

    async def aclose(self) -> None:
        """The reader does not want the rest."""
        self._items.clear()
        self.dispose()

    def dispose(self) -> None:
        """Let go of the source."""
        self._ended = True
        asked, self._next = self._next, None
        if asked is not None:
            asked.cancel()
        self.stub.dispose()


for _function in (Producer._pump, Producer._close):  # pyright: ignore[reportPrivateUsage]
    entry(cast("types.FunctionType", _function))
