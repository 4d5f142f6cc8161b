"""Operations: what is asked of a shard from outside about its objects, beside their turns (`client.operate`).

What always holds: an operation runs as a task of the shard, never inside an object's turn; it ends with its caller, and at its
deadline at the latest; arguments are checked against the function's signature before it is called.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import cast

from ..engine.calls import Call
from ..engine.errors import (
    DeadlineExceeded,
    InvalidArgument,
    ObjectReset,
    OperationNotFound,
    Overloaded,
    PerdureError,
)
from ..engine.ids import ClassKey
from ..engine.values import pack, unpack
from .arguments import Entry, Registry

OPERATION_S_MAX = 3_600.0
"""No operation runs longer, whatever its caller's deadline is."""
OPERATIONS_MAX = 64
"""Running at once in one shard."""

Report = Callable[[str, str, dict[str, object]], None]


class Operations(Registry):
    """Name → async function of keyword arguments that gives a plain value.

    A function with a parameter `object_id` is given the 32 bytes that the call was sent to; if it has a `class_key` too, an id
    of another class is refused. Every other parameter comes from the caller and must be of the annotated type.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, report: Report) -> None:
        super().__init__()
        self._loop = loop
        self._report = report
        self._running: dict[Call, asyncio.Task[None]] = {}
        self._stopped = False

    @property
    def running(self) -> int:
        """How many run now."""
        return len(self._running)

    # ------------------------------------------------------------------ calls of the acceptor
    def start(self, call: Call) -> None:
        """Run the call's operation and answer it. Never raises."""
        if self._stopped or len(self._running) >= OPERATIONS_MAX:
            call.answer(call, self._refusal())
            return
        # A context of its own: whatever called us, no object's scope goes along.
        task = self._loop.create_task(self._run(call), name=f"operation {call.method}", context=contextvars.Context())
        self._running[call] = task
        task.add_done_callback(lambda _: self._running.pop(call, None))

    def _refusal(self) -> PerdureError:
        if self._stopped:
            return ObjectReset("this shard is shutting down", retryable=True, reset=False)
        return Overloaded(f"{OPERATIONS_MAX} operations are running in this shard", hint="try again later")

    def cancel(self, call: Call) -> None:
        """The caller is gone or gave up."""
        task = self._running.get(call)
        if task is not None:
            task.cancel()

    async def stop(self) -> None:
        """Refuse new ones, cancel those that run and wait for their end."""
        self._stopped = True
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, call: Call) -> None:
        seconds = OPERATION_S_MAX
        if call.deadline_s is not None:
            seconds = min(seconds, call.deadline_s - self._loop.time())
        limit = asyncio.timeout(seconds)
        result: bytes | PerdureError
        try:
            async with limit:
                if seconds <= 0:  # a function that never suspends would not notice
                    raise DeadlineExceeded(f"operation {call.method!r} arrived after its deadline")
                result = pack(await self.perform(call.method, call.object_id, unpack(call.payload)))
        except asyncio.CancelledError:
            call.answer(call, ObjectReset(f"operation {call.method!r} was cancelled", retryable=True, reset=False))
            raise
        except PerdureError as error:
            result = error
        except TimeoutError as error:
            result = self._failed(call, error)
            if limit.expired():
                result = DeadlineExceeded(f"operation {call.method!r} took over {seconds:g} s and was given up")
        except Exception as error:
            result = self._failed(call, error)
        call.answer(call, result)

    def _failed(self, call: Call, error: Exception) -> PerdureError:
        """What the caller of a function gets that raised something untyped; the operator finds it in the log."""
        fields: dict[str, object] = {"operation": call.method, "error": f"{type(error).__name__}: {error}"}
        self._report("error", "operation_failed", fields)
        return PerdureError(f"operation {call.method!r} failed: {type(error).__name__}: {error}")

    # ------------------------------------------------------------------ one operation
    async def perform(self, name: str, object_id: bytes, arguments: object) -> object:
        """Check and run an operation on an object, or on the shard that `object_id` leads to.

        Raises OperationNotFound, InvalidArgument, and what the operation raises.
        """
        entry = self._entries.get(name)
        if entry is None:
            raise OperationNotFound(
                f"there is no operation {name!r}", hint=f"known here: {', '.join(self.names)}; is the runtime older?"
            )
        return await entry.function(**_check(name, entry, object_id, arguments))


def _check(name: str, entry: Entry, object_id: bytes, arguments: object) -> dict[str, object]:
    """The keyword arguments for the function. Raises InvalidArgument."""
    if not isinstance(arguments, dict):
        raise InvalidArgument(f"operation {name!r}: arguments must be a dict, got {type(arguments).__name__}")
    given = dict(cast("dict[str, object]", arguments))
    takes_id = "object_id" in entry.hints
    if takes_id:
        if "object_id" in given:
            raise InvalidArgument(f"operation {name!r}: the object is named by where the call goes, not by an argument")
        given["object_id"] = object_id
    entry.check(f"operation {name!r}", given)
    class_key = given.get("class_key")
    if takes_id and isinstance(class_key, str) and not ClassKey(class_key).owns(object_id):
        raise InvalidArgument("Durable Object ID is not valid for this namespace")
    return given


__all__ = ["OPERATIONS_MAX", "OPERATION_S_MAX", "Operations"]
