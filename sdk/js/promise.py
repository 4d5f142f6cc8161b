"""`Promise`: a result that is there or will be; also what `await` takes. Work that it stands for is already running.

What always holds: a rejected promise that nobody waits for is not an error of the process; callbacks run as tasks of the event
that gave them, so in an object they pass its gate.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterable
from typing import Any, cast

from ...engine.errors import PerdureError
from .arrays import Array
from .errors import AggregateError, as_error
from .objects import JsObject
from .proxies import JsProxy, call, missing


def _seen(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()  # nobody is told when it is never awaited


class Promise(JsProxy):
    """Await it, or give it callbacks: `then`, `catch`, `finally_`."""

    __slots__ = ("_future",)

    def __init__(self, work: Awaitable[Any]) -> None:
        self._future: asyncio.Future[Any] = asyncio.ensure_future(work)
        self._future.add_done_callback(_seen)

    def __await__(self) -> Generator[Any, Any, Any]:
        return asyncio.shield(self._future).__await__()

    @classmethod
    def new(cls, executor: object) -> Promise:
        """`executor(resolve, reject)` is called now."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def resolve(value: object = None) -> None:
            if not future.done():
                future.set_result(value)

        def reject(reason: object = None) -> None:
            if not future.done():
                future.set_exception(as_error(reason))

        try:
            call(executor, resolve, reject)
        except Exception as error:
            reject(error)
        return cls(_settled(future))

    @classmethod
    def resolve(cls, value: object = None) -> Promise:
        return value if isinstance(value, Promise) else cls(_value(value))

    @classmethod
    def reject(cls, reason: object = None) -> Promise:
        async def fail() -> object:
            raise as_error(reason)

        return cls(fail())

    @classmethod
    def withResolvers(cls) -> JsObject:
        """`promise`, `resolve` and `reject`."""
        parts: list[object] = []

        def take(resolve: object, reject: object) -> None:
            parts.extend((resolve, reject))

        promise = cls.new(take)
        return JsObject(promise=promise, resolve=parts[0], reject=parts[1])

    @classmethod
    def all(cls, items: object) -> Promise:
        """All results, or the first failure."""
        begun = _begin(items)

        async def wait() -> Array:
            return Array(await asyncio.gather(*begun))

        return cls(wait())

    @classmethod
    def allSettled(cls, items: object) -> Promise:
        """What became of each: `status`, and `value` or `reason`."""
        begun = _begin(items)

        async def wait() -> Array:
            results = await asyncio.gather(*begun, return_exceptions=True)
            return Array(
                JsObject(status="rejected", reason=result)
                if isinstance(result, BaseException)
                else JsObject(status="fulfilled", value=result)
                for result in results
            )

        return cls(wait())

    @classmethod
    def race(cls, items: object) -> Promise:
        """The first that is settled."""
        begun = _begin(items)

        async def wait() -> object:
            done, _ = await asyncio.wait(begun, return_when=asyncio.FIRST_COMPLETED)
            return next(future for future in begun if future in done).result()

        return cls(wait())

    @classmethod
    def any(cls, items: object) -> Promise:
        """The first that succeeds."""
        begun = _begin(items)

        async def wait() -> object:
            pending: set[asyncio.Future[Any]] = set(begun)
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for future in begun:
                    if future in done and not future.cancelled() and future.exception() is None:
                        return future.result()
            raise AggregateError.new([future.exception() for future in begun], "All promises were rejected")

        return cls(wait())

    def then(self, onfulfilled: object = None, onrejected: object = None) -> Promise:
        """A promise of what the callback returns."""
        return Promise(_then(self._future, onfulfilled, onrejected))

    def catch(self, onrejected: object) -> Promise:
        return self.then(None, onrejected)

    def finally_(self, onfinally: object) -> Promise:
        """Calls it with nothing, whatever came of it."""

        async def wait() -> object:
            try:
                return await self
            finally:
                await _value(call(onfinally))

        return Promise(wait())

    def add_done_callback(self, callback: Callable[[asyncio.Future[Any]], object]) -> None:
        """As of a future of asyncio."""
        self._future.add_done_callback(callback)

    def done(self) -> bool:
        return self._future.done()

    def result(self) -> Any:
        return self._future.result()

    def toString(self) -> str:
        return "[object Promise]"


async def _settled(future: asyncio.Future[Any]) -> object:
    return await _value(await future)


async def _value(value: object) -> object:
    """What a value is once nothing is left to wait for."""
    while hasattr(value, "__await__"):
        value = await cast("Awaitable[object]", value)
    return value


async def _then(future: asyncio.Future[Any], onfulfilled: object, onrejected: object) -> object:
    try:
        value = await asyncio.shield(future)
    except Exception as error:
        if missing(onrejected):
            raise
        return await _value(call(onrejected, error))
    return value if missing(onfulfilled) else await _value(call(onfulfilled, value))


def _begin(items: object) -> list[asyncio.Future[Any]]:
    if not isinstance(items, Iterable):
        raise PerdureError("undefined is not iterable", name="TypeError")
    begun: list[asyncio.Future[Any]] = [asyncio.ensure_future(_value(item)) for item in cast("Iterable[object]", items)]
    for future in begun:
        future.add_done_callback(_seen)
    return begun


setattr(Promise, "finally", Promise.finally_)
