"""What leaves an object while its code runs: calls, fetches, work that the process does for it.

What always holds: nothing leaves before what was written before it is durable; what runs for the object outside runs in none of
its turns; the answer re-enters like anything that the object awaits.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar, cast

from .awake import add_piece, counted
from .bodies import ArrivingBody, OutgoingBody
from .call_chains import extras_of
from .calls import Extras, MadeCall
from .closing_codes import ABNORMAL
from .deadlines import left_s
from .socket_calls import Data
from .turns import SCOPE, Scope, outside
from .web_socket import Use, WebSocket

if TYPE_CHECKING:
    from .exports import Parcel

T = TypeVar("T")


class _Ending:
    """Work outside that nobody but its object wants: it ends with it."""

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


def send_out(send: Callable[[], Awaitable[T]], *, ends: bool = False, parcel: Parcel | None = None) -> Awaitable[T]:
    """Begin `send()` outside of the running object, past its output gate; where no object runs, at once.

    It is begun also when the result is not awaited; cancelling the result cancels it; it keeps the object awake.
    `ends`: it is cancelled when the object is reset or leaves memory. `parcel`: what is let go if it never begins.
    """
    scope = SCOPE.get()
    if scope is None:
        return asyncio.ensure_future(send())
    answer = leave(scope, lambda: asyncio.ensure_future(send()), 0, asyncio.get_running_loop(), parcel)
    if not ends:
        return counted(answer)
    if scope.instance.broken is None and isinstance(answer, asyncio.Future):
        add_piece(scope.instance, _Ending(answer))
    return answer


def depart(
    loop: asyncio.AbstractEventLoop, send: Callable[[Extras | None], Awaitable[T]], parcel: Parcel | None
) -> Awaitable[T]:
    """The same for a call, which carries the chain of calls that led to it. Where no object runs it leaves at once."""
    scope = SCOPE.get()
    if scope is None:
        return send(None)
    extras = extras_of(scope.event, None, left_s(scope.event, None))
    return counted(leave(scope, lambda: send(extras), extras.trail[-1][0], loop, parcel))


def leave(
    scope: Scope,
    send: Callable[[], Awaitable[T]],
    number: int,
    loop: asyncio.AbstractEventLoop,
    parcel: Parcel | None = None,
) -> Awaitable[T]:
    """`number`: of the call in its chain; 0: it has none. `parcel`: what it carries, which is let go if it never leaves."""
    # Tasks and callbacks of the client are not the object's: they must not run in its turns.
    context = outside()
    if scope.instance.broken is not None:
        return context.run(send)
    if number and scope.section is not None:
        scope.event.made_inside(number, scope.section)
    if scope.instance.output.open():
        sent = context.run(send)
        if isinstance(cast("object", sent), MadeCall):
            cast("MadeCall", sent).call_number = number
        return sent
    future = cast("asyncio.Future[T]", MadeCall(loop=loop))
    cast("MadeCall", future).call_number = number

    def start(carried: Parcel | None) -> None:
        if future.cancelled():
            if carried is not None:
                carried.withdraw()
            return
        try:
            sent = cast("asyncio.Future[T]", context.run(asyncio.ensure_future, context.run(send)))
        except Exception as error:  # the client is closed: it is the caller's to know, not of what is made durable
            if carried is not None:
                carried.withdraw()
            future.set_exception(error)
            return
        sent.add_done_callback(finish, context=context)
        future.add_done_callback(lambda ended: ended.cancelled() and sent.cancel(), context=context)

    def finish(sent: asyncio.Future[T]) -> None:
        if future.done():
            return
        if sent.cancelled():
            future.cancel()
        elif sent.exception() is not None:
            future.set_exception(cast("BaseException", sent.exception()))
        else:
            future.set_result(sent.result())

    scope.instance.output.emit(start, parcel)  # `resetting.answer_dropped` lets go of it
    return future


def leaving_body(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The body of a request that leaves: an object's is produced in its turns, and leaves past its gate. Call in its turn."""
    scope = SCOPE.get()
    if scope is None or scope.instance.broken is not None or isinstance(body, OutgoingBody):
        return body
    return OutgoingBody(scope.instance, body)


def arriving_body(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The body of an answer from outside: an object's is closed when the object leaves memory. Call in its turn."""
    scope = SCOPE.get()
    if scope is None or scope.instance.broken is not None:
        return body
    return ArrivingBody(scope.instance, body, outside())


def arriving_socket(socket: WebSocket) -> None:
    """A connection that was opened for the running object ends with it when nobody has accepted it. Call in its turn."""
    scope = SCOPE.get()
    if scope is not None and scope.instance.broken is None:
        add_piece(scope.instance, _EndingSocket(socket))


class _EndingSocket:
    """A connection that nobody has accepted yet."""

    __slots__ = ("_socket",)

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    def over(self) -> bool:
        return self._socket.use is not Use.NONE

    def end(self) -> None:
        if self._socket.use is Use.NONE:
            self._socket.take(_Nobody()).close(ABNORMAL, "")


class _Nobody:
    """Hears nothing."""

    def message(self, data: Data) -> None:
        return

    def closed(self, code: int, reason: str, clean: bool) -> None:
        return

    def failed(self, text: str) -> None:
        return


def end_body(body: object) -> None:
    """The request that carried it was not answered: nobody reads it any more."""
    if isinstance(body, OutgoingBody):
        body.end()
