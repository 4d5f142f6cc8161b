"""Response bodies that an object streams: its code runs in its turns, chunks leave past its output gate.

What always holds: the next chunk is produced only when the reader asks, so a slow reader stops its writer; a body whose
object is reset fails for its reader instead of ending.
"""

from __future__ import annotations

import asyncio
import types
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .errors import DurableObjectAbort, PerdureError
from .interruption import entry
from .raised import as_remote

if TYPE_CHECKING:
    from .instance import Instance

T = TypeVar("T")


@types.coroutine
def next_of(body: types.AsyncGeneratorType[T, None]) -> Generator[Any, Any, tuple[bool, T | None]]:
    """(True, the next item), or (False, None) at the end. Closing this ends the program's generator where it waits.

    `yield from` would close the generator's step alone (until Python 3.13): its `finally` would not run, and closing it later
    would fail, since it counts as running.
    """
    step = body.__anext__().__await__()
    value: object = None
    thrown: BaseException | None = None
    try:
        while True:
            waiting = step.send(value) if thrown is None else step.throw(thrown)
            value, thrown = None, None
            try:
                value = yield waiting
            except GeneratorExit:
                with suppress(GeneratorExit, StopAsyncIteration, StopIteration):
                    step.throw(GeneratorExit())
                raise
            except BaseException as error:
                thrown = error
    except StopIteration as stop:
        return True, stop.value
    except StopAsyncIteration:
        return False, None


class OutgoingBody(AsyncIterator[bytes]):
    """What the connection reads, from outside of the object's turns. Make it inside one."""

    def __init__(self, instance: Instance, body: AsyncIterator[bytes]) -> None:
        loop = instance.turns.loop
        self._instance = instance
        self._loop = loop
        self._wanted: asyncio.Future[None] = loop.create_future()
        self._chunk: asyncio.Future[bytes | None] | None = None
        self._failure: PerdureError | None = None
        self._ended = False
        instance.bodies.add(self)
        self._task = loop.create_task(self._pump(body), name="response body")

    async def _pump(self, body: AsyncIterator[bytes]) -> None:
        emit = self._instance.output.emit
        try:
            while True:
                await self._wanted
                self._wanted = self._loop.create_future()
                if isinstance(body, types.AsyncGeneratorType):
                    _, chunk = await next_of(cast("types.AsyncGeneratorType[bytes, None]", body))
                else:
                    chunk = await anext(body, None)
                emit(self._hand_over, chunk)
                if chunk is None:
                    return
        except BaseException as error:
            instance = self._instance
            gone = self._ended or instance.broken is not None or instance.fatal is not None or self._loop.is_closed()
            if gone or isinstance(error, DurableObjectAbort):
                raise  # the reader or the object is gone, or will be: its reset says why
            emit(self.fail, as_remote(error, with_properties=self._instance.runtime.errors_keep_properties))
        finally:
            closer = getattr(body, "aclose", None)
            if closer is not None and self._instance.broken is None:
                await closer()

    def _hand_over(self, chunk: bytes | None) -> None:
        if chunk is None:
            self._finish()
        waiting, self._chunk = self._chunk, None
        if waiting is not None and not waiting.done():
            waiting.set_result(chunk)

    def fail(self, error: PerdureError) -> None:
        """The reader gets `error` instead of the next chunk."""
        self._failure = error
        self._finish()
        waiting, self._chunk = self._chunk, None
        if waiting is not None and not waiting.done():
            waiting.set_exception(error)

    def _finish(self) -> None:
        self._ended = True
        self._instance.bodies.discard(self)

    async def __anext__(self) -> bytes:
        if self._failure is not None:
            raise self._failure
        if self._ended:
            raise StopAsyncIteration
        self._chunk = self._loop.create_future()
        if not self._wanted.done():
            self._wanted.set_result(None)
        chunk = await self._chunk
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """The reader has gone: stop producing."""
        self.end()

    def end(self) -> None:
        """The same, at once."""
        if not self._ended:
            self._finish()
            self._task.cancel()


class ArrivingBody(AsyncIterator[bytes]):
    """The body of an answer that an object has got from outside: it is closed when the object leaves memory."""

    def __init__(self, instance: Instance, body: AsyncIterator[bytes], context: Context) -> None:
        """`context`: of no object."""
        self._body = body
        self._loop = instance.turns.loop
        self._context = context
        if instance.arriving is None:
            instance.arriving = weakref.WeakSet()
        instance.arriving.add(self)

    def __anext__(self) -> Awaitable[bytes]:
        return self._body.__anext__()

    async def aclose(self) -> None:
        """The reader does not want the rest."""
        closer = cast("Callable[[], Awaitable[None]] | None", getattr(self._body, "aclose", None))
        if closer is not None:
            await closer()

    def end(self) -> None:
        """The same, once the reader has been stopped."""
        task = self._loop.create_task(self._end(), name="body", context=self._context)
        _ending.add(task)
        task.add_done_callback(_ending.discard)

    async def _end(self) -> None:
        with suppress(RuntimeError):  # its reader, which was cancelled, is just closing it
            await self.aclose()


_ending: set[asyncio.Task[None]] = set()
"""The loop alone does not keep them."""
entry(cast("types.FunctionType", next_of))
entry(cast("types.FunctionType", OutgoingBody._pump))  # pyright: ignore[reportPrivateUsage]
