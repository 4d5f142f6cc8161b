"""Calls of what was sent by reference: how they run where it lives.

What always holds: of an object it is an event, past its gates, in the critical section that it was sent in; elsewhere a task of
the process; each is answered once, unless its caller has cancelled it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, cast

from .calls import REFERENCE, REQUEST_ID, Call, Extras, Result
from .errors import DurableObjectAbort, PerdureError
from .gate import Section, innermost_open
from .mailbox import cancel
from .raised import as_remote
from .references import Received, RemotePath, RpcStub, host_gone
from .rpc_target import check_depth, follow, not_a_function
from .streaming import Producer, RemoteStream
from .values import EMPTY_ARGS, unpack

if TYPE_CHECKING:
    from .exports import Export, Exports, Parcel

READING = b"\xc0"
"""In place of the packed arguments: a property is read."""


class Reached:
    """What a path leads to from `value`, and whether it is read or called. `done`: names of the path that lie behind."""

    __slots__ = ("_done", "_exports", "_path", "_reading", "_value", "section")

    def __init__(
        self,
        exports: Exports,
        value: object,
        path: Sequence[str],
        done: int = 0,
        *,
        reading: bool,
        section: Section | None = None,
    ) -> None:
        self._exports = exports
        self._value = value
        self._path = path
        self._done = done
        self._reading = reading
        self.section = section

    async def perform(self, payload: bytes, received: Received | None) -> bytes | Parcel:
        """Call or read it; what it gave, packed. Raises what it raises."""
        result = follow(self._value, self._path, self._done)
        if not self._reading:
            if not callable(result):
                raise not_a_function(self._path)
            if payload == EMPTY_ARGS:
                args: list[object] = []
            else:
                args = cast("list[object]", unpack(payload) if received is None else received.unpack(payload))
            result = result(*args)
        if hasattr(result, "__await__"):
            result = await cast("Awaitable[object]", result)
        return self._exports.pack_result(result)


def section_of(call: Call) -> Section | None:
    """The critical section that a call of something sent by reference enters."""
    return None if call.reached is None else innermost_open(call.reached.section)


def begin(
    exports: Exports,
    export: Export,
    path: Sequence[str],
    payload: bytes | None,
    received: Received | None,
    extras: Extras | None,
    request_id: str,
    answer: Callable[[Result], None],
) -> Callable[[], None]:
    """Begin a call of an export. `answer(result)` is called once; what is given back cancels the call."""
    check_depth(path)
    value, instance = export.value, export.instance
    if instance is not None and (instance.broken is not None or instance.abandoned):
        raise host_gone()
    if isinstance(value, Producer):
        return _as_task(exports, export, request_id, _pull(export, value, exports), answer)
    if isinstance(value, RemoteStream | RpcStub | RemotePath):
        return _as_task(exports, export, request_id, _pass_on(exports, value, path, payload, received), answer)
    reading = payload is None
    reached = Reached(exports, value, path, reading=reading, section=export.section)
    if instance is None:
        return _as_task(exports, export, request_id, reached.perform(payload or READING, received), answer)
    call = Call(
        instance.runtime.key.unique,
        instance.object_id,
        instance.name,
        REFERENCE,
        ".".join(path) or "callback",
        payload or READING,
        lambda _call, result: answer(result),
        request_id=request_id,
    )
    call.reached, call.received = reached, received
    if extras is not None:
        call.chain, call.trail, call.within_s = extras.chain, extras.trail, extras.within_s
    instance.deliver(call)
    return lambda: cancel(instance, call)


async def _pull(export: Export, producer: Producer, exports: Exports) -> bytes | Parcel:
    export.context.run(producer.start)
    payload, parcels = await producer.pull()
    return exports.joined(payload, parcels) if parcels else payload


async def _pass_on(
    exports: Exports,
    value: RemoteStream | RpcStub | RemotePath,
    path: Sequence[str],
    payload: bytes | None,
    received: Received | None,
) -> bytes | Parcel:
    """Forwarded to a third party: its calls pass through here."""
    stub = value.stub if isinstance(value, RemoteStream) else value
    if received is None:
        found = await stub._forward(path, payload)  # pyright: ignore[reportPrivateUsage]
        return found if isinstance(found, bytes) else exports.pack_result(found[0])
    target: object = stub
    for name in path:
        target = getattr(target, name)
    args = cast("list[object]", received.unpack(cast("bytes", payload)))
    return exports.pack_result(await cast("Callable[..., Awaitable[object]]", target)(*args))


def _as_task(
    exports: Exports,
    export: Export,
    request_id: str,
    work: Coroutine[object, None, bytes | Parcel],
    answer: Callable[[Result], None],
) -> Callable[[], None]:
    async def run() -> None:
        REQUEST_ID.set(request_id)
        result: Result
        try:
            result = await work
        except asyncio.CancelledError as error:
            result = as_remote(error)
        except PerdureError as error:
            result = error if error.remote else as_remote(error)
        except (Exception, DurableObjectAbort) as error:
            result = as_remote(error)
        answer(result)

    # A producer's task is its object's; what waits for it is the runtime's own.
    context = export.context if export.instance is None else exports.clean
    task = exports.loop.create_task(run(), name="callback", context=context.copy())
    exports.tasks.add(task)
    task.add_done_callback(lambda ended: (exports.tasks.discard(ended), work.close()))  # it may never have begun
    return lambda: cast("None", task.cancel())
