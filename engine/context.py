"""`ctx`: what an object knows of itself and may ask of the runtime (spec: context).

Also the transport that stubs use inside an object: a call made after a write leaves when the write is durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from .alarm_calls import blame_abort
from .awake import counted
from .background import wait_until
from .call_chains import extras_of
from .calls import Extras
from .deadlines import left_s
from .errors import DurableObjectAbort
from .http import HttpRequest, HttpResponse
from .ids import ObjectId
from .outgoing import leave
from .ranges import read_options
from .resetting import abort_error
from .socket_members import SocketMembers
from .stubs import OnReset, Transport
from .turns import SCOPE, Scope, outside

if TYPE_CHECKING:
    from .exports import Exports
    from .instance import Instance
    from .storage import DurableObjectStorage

T = TypeVar("T")


class DurableObjectContext(SocketMembers):
    """The state of one object. `id`, `storage`, `blockConcurrencyWhile`, `waitUntil`, `abort`, and its WebSockets."""

    props: object = None
    container: object = None
    version: object = None
    primaryStub: object = None
    configureReadReplication: object = None

    def __new__(cls, instance: Instance | DurableObjectContext) -> DurableObjectContext:
        """Wrapping a wrapped context gives it back (spec: objects)."""
        return instance if isinstance(instance, DurableObjectContext) else super().__new__(cls)

    def __init__(self, instance: Instance | DurableObjectContext) -> None:
        if isinstance(instance, DurableObjectContext):
            return
        self._instance = instance
        self.id: ObjectId = instance.id
        self.storage: DurableObjectStorage = instance.storage_api
        """The object's own storage: KV, SQL, transactions."""

    @property
    def exports(self) -> object:
        """The program's own classes as bindings: namespaces of objects, and Workers."""
        return self._instance.runtime.exports

    @property
    def _ctx(self) -> DurableObjectContext:
        """What the reference's wrapper wraps: here nothing is wrapped."""
        return self

    def blockConcurrencyWhile(self, body: Callable[[], Awaitable[T]]) -> Awaitable[T]:
        """Run `body` with all other events blocked, awaited or not; its value. An exception in it resets the object."""
        return self._instance.sections.enter(body, "blockConcurrencyWhile", breaking=True)

    def waitUntil(self, awaitable: Awaitable[object]) -> None:
        """Keep the object alive until `awaitable` is settled, at most 15 minutes; a failure of it is only logged."""
        wait_until(self._instance, awaitable)

    def onNextSessionRestore(self, snapshot: object) -> Awaitable[object]:
        """Begin the object's next instance with what `ctx.storage.snapshot()` has taken; the snapshot that undoes this."""
        return self.storage.restore_snapshot(snapshot)

    def abort(self, reason: str | None = None, options: object = None, **more: object) -> None:
        """Reset the object at once: the running turn's writes are undone, all calls in flight fail with `reason`.

        `retryAlarm=False`: an alarm run that aborts is not tried again.

        Raises DurableObjectAbort, always.
        """
        instance = self._instance
        dropped = read_options(options, more).get("retryAlarm", True) is False
        error = abort_error(instance, reason)
        if instance.broken is None and instance.fatal is None:
            instance.fatal = error
            blame_abort(instance, dropped)
            if instance.turns.running is instance:
                instance.turns.running = None  # from here on the instance's storage refuses
            instance.turns.loop.call_soon(instance.break_now)  # where no turn of its own runs nobody else would
        raise DurableObjectAbort(error.message)

    block_concurrency_while = blockConcurrencyWhile
    wait_until = waitUntil
    on_next_session_restore = onNextSessionRestore


class GatedTransport:
    """Calls made by objects: held at the caller's output gate, and outside of its context.

    Outside its turns (a Worker, a loop callback) a call leaves at once.
    """

    def __init__(self, inner: Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._inner = inner
        self._loop = loop

    @property
    def exports(self) -> Exports:
        return self._inner.exports

    def call(
        self,
        class_key: str,
        object_id: bytes,
        name: str | None,
        method: str,
        args: bytes,
        deadline_s: float | None = None,
        on_reset: OnReset | None = None,
        extras: Extras | None = None,
    ) -> Awaitable[object]:
        scope = SCOPE.get()
        if scope is not None:
            extras = extras_of(scope.event, extras)
            deadline_s = left_s(scope.event, deadline_s)

        def send() -> Awaitable[object]:
            return self._inner.call(class_key, object_id, name, method, args, deadline_s, on_reset, extras)

        return counted(self._leave(scope, send, extras))

    def fetch(
        self,
        class_key: str,
        object_id: bytes,
        name: str | None,
        request: HttpRequest,
        deadline_s: float | None = None,
        on_reset: OnReset | None = None,
        extras: Extras | None = None,
    ) -> Awaitable[HttpResponse]:
        scope = SCOPE.get()
        if scope is not None:
            extras = extras_of(scope.event, extras)
            deadline_s = left_s(scope.event, deadline_s)

        def send() -> Awaitable[HttpResponse]:
            return self._inner.fetch(class_key, object_id, name, request, deadline_s, on_reset, extras)

        return counted(self._leave(scope, send, extras))

    def _leave(self, scope: Scope | None, send: Callable[[], Awaitable[T]], extras: Extras | None) -> Awaitable[T]:
        if scope is None or extras is None:
            return outside().run(send)
        return leave(scope, send, extras.trail[-1][0], self._loop, extras.parcel)
