"""What an object asks of the world: leaves past its output gate, is done outside of its turns, comes back by its input gate.

What always holds: nothing is asked before what was written before it is durable, and never if that fails; the object is awake as
long as an answer is awaited; of an object that was reset nothing goes on.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import Context
from typing import TypeVar, cast

from .awake import add_piece
from .bodies import OutgoingBody
from .turns import SCOPE, outside

T = TypeVar("T")


class _Asked:
    """A question that has left, as live work. It ends with its object."""

    __slots__ = ("_answer",)

    def __init__(self, answer: asyncio.Future[T]) -> None:
        self._answer = weakref.ref(answer)

    def over(self) -> bool:
        found = self._answer()
        return found is None or found.done()

    def end(self) -> None:
        found = self._answer()
        if found is not None:
            found.cancel()


def outward(ask: Callable[[], Awaitable[T]]) -> Awaitable[T]:
    """Call `ask()` and give its answer. From an object: past its gate and outside of its turns; else at once.

    Cancelling what this gives cancels what `ask` gave.
    """
    scope = SCOPE.get()
    if scope is None:
        return ask()
    instance = scope.instance
    answer: asyncio.Future[T] = instance.turns.loop.create_future()
    if instance.broken is not None:  # its code ends: nothing of it leaves any more
        answer.cancel()
        return answer
    add_piece(instance, _Asked(answer))
    context = outside()
    instance.output.emit(_begin, ask, answer, context)
    return answer


def _begin(ask: Callable[[], Awaitable[T]], answer: asyncio.Future[T], context: Context) -> None:
    if answer.done():
        return
    task = cast("asyncio.Future[T]", answer.get_loop().create_task(_ask(ask), name="outward", context=context))

    def finish(ended: asyncio.Future[T]) -> None:
        if answer.done():
            if not ended.cancelled():
                ended.exception()  # nobody waits for it any more
        elif ended.cancelled():
            answer.cancel()
        elif (error := ended.exception()) is not None:
            answer.set_exception(error)
        else:
            answer.set_result(ended.result())

    task.add_done_callback(finish, context=context)
    answer.add_done_callback(lambda done: task.cancel() if done.cancelled() else None, context=context)


async def _ask(ask: Callable[[], Awaitable[T]]) -> T:
    return await ask()


def leaving_body(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The body of a request that leaves: an object's is produced in its turns, and leaves past its gate. Call in its turn."""
    scope = SCOPE.get()
    if scope is None or scope.instance.broken is not None or isinstance(body, OutgoingBody):
        return body
    return OutgoingBody(scope.instance, body)


def end_body(body: object) -> None:
    """The request that carried it was not answered: nobody reads it any more."""
    if isinstance(body, OutgoingBody):
        body.end()
