"""Methods and properties of a result that is not there yet: `await stub.make(12).increment(3)`.

What always holds: calls on one un-awaited result are made in the order written, as soon as it is there; their arguments are
copied when they are written, awaited or not; if the first call fails they fail with its error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import cast

from .calls import MadeCall, pass_on
from .errors import ByReference, Disposed, PerdureError, from_wire
from .references import RpcStub
from .rpc_target import check_depth, not_a_function, step
from .values import pack, unpack


class Pipelined:
    """`call.a.b`: to be called, or awaited to be read."""

    __slots__ = ("_first", "_path")

    def __init__(self, first: MadeCall, path: tuple[str, ...]) -> None:
        check_depth(path)
        self._first = first
        self._path = path

    def __getattr__(self, name: str) -> Pipelined:
        if name.startswith("__"):
            raise AttributeError(name)
        return Pipelined(self._first, (*self._path, name))

    def __call__(self, *args: object, **kwargs: object) -> MadeCall:
        given = [*args, kwargs] if kwargs else list(args)
        try:
            given = cast("list[object]", unpack(pack(given)))
        except ByReference:
            pass  # stubs and functions are not copied
        return self._then(lambda target: _call(target, self._path, given))

    def __await__(self) -> Generator[object, None, object]:
        return self._then(_read).__await__()

    def _then(self, go_on: Callable[[object], object]) -> MadeCall:
        """What `go_on` makes of what the path leads to, as soon as it is there."""
        first, path = self._first, self._path
        result = MadeCall(loop=first.get_loop())

        def come(_first: object) -> None:
            if result.done():
                return
            if first.cancelled():
                result.set_exception(Disposed("RPC promise used after being disposed."))
                return
            error = first.exception()
            if error is not None:
                result.set_exception(from_wire(error.to_wire()) if isinstance(error, PerdureError) else error)
                return
            try:
                target: object = first.result()
                for index, name in enumerate(path):
                    target = getattr(target, name) if _is_remote(target) else step(target, name, path[: index + 1])
                _pass_to(go_on(target), result)
            except Exception as failure:
                result.set_exception(failure)

        result.call_behind = first
        first.add_done_callback(come)
        return result


def _is_remote(value: object) -> bool:
    return not isinstance(value, dict | list | set | str | bytes | int | float | None)


def _call(target: object, path: tuple[str, ...], args: list[object]) -> object:
    if not callable(target):
        raise not_a_function(path)
    return target(*args)


def _read(target: object) -> object:
    return target


def _pass_to(made: object, result: MadeCall) -> None:
    """Give `result` what `made` gives."""
    if isinstance(made, RpcStub) or not hasattr(made, "__await__"):
        result.set_result(made)
        return
    waited = (
        made if isinstance(made, asyncio.Future) else asyncio.ensure_future(_awaited(cast("Awaitable[object]", made)))
    )
    pass_on(cast("asyncio.Future[object]", waited), result)


async def _awaited(made: Awaitable[object]) -> object:
    return await made
