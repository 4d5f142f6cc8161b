"""What programs hand to streams, taken apart: sources, sinks, transformers, strategies; each a dict or an object with attributes.

What always holds: a function of the program gets as many arguments as it takes; what it raises is told to the stream, never lost.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar, cast

from ..engine.errors import PerdureError
from ..engine.handlers import call_relaxed
from ..engine.interruption import entry
from ..engine.values import UNDEFINED, Buffer

T = TypeVar("T")


def member(holder: object, name: str) -> object:
    """The member of a dict or of an object; None when it has none."""
    if holder is None or holder is UNDEFINED:
        return None
    found: object
    if isinstance(holder, Mapping):
        found = cast("Mapping[str, object]", holder).get(name)
    else:
        found = getattr(holder, name, None)
    return None if found is UNDEFINED else found


class Members:
    """The functions of a source, sink or transformer."""

    __slots__ = ("_given", "_holder")

    def __init__(self, holder: object, given: Mapping[str, object]) -> None:
        """`given`: keyword arguments, which stand beside the members of `holder`."""
        self._holder = holder
        self._given = given

    def get(self, name: str) -> object:
        """A member, None when it is missing."""
        if name in self._given:
            return self._given[name]
        return member(self._holder, name)

    def call(self, name: str, *args: object) -> object:
        """Call a member; None when it is missing. Raises what it raises."""
        function = self.get(name)
        if function is None:
            return None
        if not callable(function):
            raise TypeError(f"{name} must be a function, not {type(function).__name__}")
        return call_relaxed(function, *args)


def strategy_of(strategy: object, default: float) -> tuple[float, Callable[[object], float]]:
    """The high water mark, and how a chunk is measured. Raises ValueError for a mark that is no number from 0 on."""
    mark = member(strategy, "highWaterMark")
    high_water = default if mark is None else float(cast("float", mark))
    if not high_water >= 0:
        raise ValueError(f"highWaterMark must be a number from 0 on, not {mark}")
    size = member(strategy, "size")
    return high_water, cast("Callable[[object], float]", size) if size is not None else _one


def _one(_chunk: object) -> float:
    return 1


def byte_length(chunk: object) -> int:
    """Bytes of a chunk; a text's characters, anything else counts as one."""
    length = getattr(chunk, "byteLength", None)
    if isinstance(length, int):
        return length
    if isinstance(chunk, memoryview):
        return chunk.nbytes
    return len(chunk) if isinstance(chunk, bytes | bytearray | str) else 1


def as_bytes(chunk: object) -> bytes:
    """A chunk of a body. Raises TypeError for what is no bytes."""
    if isinstance(chunk, bytes):
        return chunk
    if isinstance(chunk, bytearray | memoryview):
        return bytes(chunk)
    if isinstance(chunk, str):
        return chunk.encode("utf-8", "surrogatepass")
    to_bytes = getattr(chunk, "to_bytes", None)
    if to_bytes is not None and not isinstance(chunk, int):
        return bytes(to_bytes())
    raise TypeError(f"a body's chunks must be bytes, not {type(chunk).__name__}")


def as_chunk(value: object) -> object:
    """A chunk as a reader sees it: bytes answer the style of JavaScript's buffers too."""
    return Buffer(value) if type(value) is bytes else value


def as_error(reason: object) -> BaseException:
    """What a stream broke with, as something that can be raised."""
    if isinstance(reason, BaseException):
        return reason
    text = "The stream was ended without a reason" if reason is None or reason is UNDEFINED else str(reason)
    return PerdureError(text)


def done(value: T) -> asyncio.Future[T]:
    """A future that has its result."""
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    future.set_result(value)
    return future


def failed(error: BaseException) -> asyncio.Future[None]:
    """A future that has failed; nobody is told when it is never awaited."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    reject(future, error)
    return future


def reject(future: asyncio.Future[T], error: BaseException) -> None:
    """Fail it, unless it is done; nobody is told when it is never awaited."""
    if future.done():
        return
    if isinstance(error, StopIteration):  # a future refuses it
        error = PerdureError(f"{type(error).__name__}: {error}")
    if isinstance(error, asyncio.CancelledError):
        future.cancel()
        return
    future.set_exception(error)
    future.exception()


def settle(future: asyncio.Future[T], value: T) -> None:
    """Give it its result, unless it is done."""
    if not future.done():
        future.set_result(value)


async def finished(result: object) -> object:
    """Await what may be awaited."""
    if hasattr(result, "__await__"):
        return await cast("Awaitable[object]", result)
    return result


entry(cast("types.FunctionType", finished))
