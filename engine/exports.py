"""What a process lets others call: functions, RpcTargets and streams that it has sent by reference, by number.

What always holds: each sending gives a number of its own, which cannot be guessed; a parameter's is let go when its call ends
unless the receiver has kept it, a result's when the receiver drops it, all of a receiver's when it is gone; what an object has
sent is called in its turns and dies with its instance.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, cast

from .awake import add_piece
from .errors import ByReference, DataCloneError, Overloaded
from .gate import Section
from .ids import ClassKey, ObjectId
from .references import Import, Received, RemotePath, RpcStub, Way
from .rpc_target import FUNCTIONS, RpcTarget
from .streaming import Producer, RemoteStream
from .stubs import FetchAdapter, Namespace, Remote, Stub, Transport
from .turns import SCOPE
from .value_types import NAMESPACE, STUB, made_of, parts_of, register_arriving
from .values import NEED_EXPORTER, REFERENCE, TYPED, pack, pack_crossing, unpack_crossing

if TYPE_CHECKING:
    from .instance import Instance

EXPORTS_MAX = 100_000
HOST_BYTES = 8
ID_BYTES = 16
_CALLABLE, _STREAM = 0, 1
NEED_EXPORTER.update((*FUNCTIONS, RpcTarget, RpcStub, RemotePath, Remote))


class Export:
    """One thing that was sent once. A piece of its object's work: it keeps the object in memory."""

    __slots__ = ("context", "exports", "id", "instance", "kept", "released", "section", "value")

    def __init__(
        self, exports: Exports, value: object, instance: Instance | None, section: Section | None, context: Context
    ) -> None:
        self.exports = exports
        self.id = exports.new_id()
        self.value = value
        self.instance = instance
        """Whose turns it runs in; None: as a task of the process."""
        self.section = section
        """The critical section that it was sent in: calls of it enter that section."""
        self.context = context
        """What it runs in outside of events."""
        self.kept = False
        """The receiver of a parameter has kept it beyond the call."""
        self.released = False

    def over(self) -> bool:
        return self.released

    def end(self) -> None:
        """Its object leaves memory: calls of it will fail."""
        self.exports.release(self.id)


class Parcel:
    """A packed value with what was exported for it."""

    __slots__ = ("_exports", "exported", "payload", "transferred")

    def __init__(self, exports: Exports) -> None:
        self._exports = exports
        self.payload = b""
        self.exported: list[Export] = []
        self.transferred: list[RpcStub | RemoteStream] = []
        """Stubs that were passed on: they are the receiver's now."""

    @property
    def ids(self) -> list[bytes]:
        return [export.id for export in self.exported]

    @staticmethod
    def lost(result: object) -> None:
        """A result that will never leave."""
        if isinstance(result, Parcel):
            result.withdraw()

    def handed_over(self) -> None:
        """It was sent as a result: what it holds stays until the receiver drops it."""
        transferred, self.transferred = self.transferred, []
        for stub in transferred:
            stub.dispose()

    def returned(self) -> None:
        """The call that it was sent with has ended: what was not kept is let go."""
        self.handed_over()
        for export in self.exported:
            if not export.kept:
                self._exports.release(export.id)

    def withdraw(self) -> None:
        """Nobody will receive it. The stubs in it are gone all the same."""
        self.handed_over()
        for export in self.exported:
            self._exports.release(export.id)


class Exports:
    """Of one process. `host` names it to the others; `numbers(count)` gives that many random bytes."""

    def __init__(self, loop: asyncio.AbstractEventLoop, numbers: Callable[[int], bytes]) -> None:
        self.loop = loop
        self.host = numbers(HOST_BYTES)
        self.transport: Transport | None = None
        """How stubs of objects that arrive here make their calls."""
        self.fetch_adapter: FetchAdapter | None = None
        self.services: object = None
        """How bindings to Workers that arrive here make their calls (`sdk/service.py`); None: they cannot be used here."""
        self.through: Callable[[Any], Any] = _as_it_is
        """What callers get for an awaitable of this loop: `perdure.testing` lets code of another loop await it."""
        self.enter: Callable[[Callable[[], Any]], Any] | None = None
        """Runs work on this loop for code of other threads, which waits for it: set by clients for threads."""
        self._numbers = numbers
        self._by_id: dict[bytes, Export] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        """Calls that run here, of what is no object's."""
        self.clean = Context()

    def new_id(self) -> bytes:
        """A number of this process that was never given before."""
        return self.host + self._numbers(ID_BYTES - HOST_BYTES)

    @property
    def count(self) -> int:
        """How many things somebody may have."""
        return len(self._by_id)

    # ------------------------------------------------------------------ out
    def pack_arguments(self, args: list[object]) -> tuple[bytes, Parcel | None]:
        """Arguments of a call, copied. Raises what `values.pack` raises."""
        try:
            return pack(args), None
        except ByReference:
            pass  # outside of the handler: what goes wrong there has nothing to do with it
        parcel = self.pack(args)
        return parcel.payload, parcel

    def pack_result(self, value: object) -> bytes | Parcel:
        """The result of a call. Raises what `values.pack` raises."""
        try:
            return pack(value)
        except ByReference:
            pass
        return self.pack(value)

    def pack(self, value: object) -> Parcel:
        """A value in which something travels by reference. Raises what `values.pack` raises."""
        parcel = Parcel(self)
        try:
            parcel.payload = pack_crossing(value, lambda found: self._export(found, parcel))
        except BaseException:
            parcel.transferred.clear()  # it is not sent: they stay the sender's
            parcel.withdraw()
            raise
        return parcel

    def joined(self, payload: bytes, parcels: list[Parcel]) -> Parcel:
        """One parcel of several, whose payloads are in `payload`."""
        made = Parcel(self)
        made.payload = payload
        for parcel in parcels:
            made.exported += parcel.exported
            made.transferred += parcel.transferred
        return made

    def _export(self, value: object, parcel: Parcel) -> tuple[int, object] | None:
        if isinstance(value, RpcStub) or (isinstance(value, RemoteStream) and value.untouched):
            parcel.transferred.append(value)
            stream = isinstance(value, RemoteStream)
            return REFERENCE, self._added(value.dup(), parcel, _STREAM if stream else _CALLABLE, forwarded=True)
        typed = parts_of(value)
        if typed is not None:
            return TYPED, list(typed)
        if isinstance(value, (RpcTarget, RemotePath, Remote, *FUNCTIONS)):
            forwarded = isinstance(value, RemotePath | Remote)
            return REFERENCE, self._added(value, parcel, _CALLABLE, forwarded=forwarded)
        if isinstance(value, AsyncIterator):
            source = cast("AsyncIterator[object]", value)
            return REFERENCE, self._added(Producer(source, self), parcel, _STREAM)
        return None

    def _added(self, value: object, parcel: Parcel, kind: int, *, forwarded: bool = False) -> bytes:
        scope = None if forwarded else SCOPE.get()
        instance = None if scope is None else scope.instance
        if len(self._by_id) >= EXPORTS_MAX:
            raise Overloaded(
                f"others have {EXPORTS_MAX:,} functions, targets and streams of this process",
                hint="dispose of stubs that are not needed: with `with`, `dispose()`, or by letting go of them",
            )
        section = None if scope is None else scope.section
        outside_events = instance is None or isinstance(value, Producer)  # a context keeps its event, and that its call
        context = copy_context() if outside_events else self.clean
        export = Export(self, value, instance, section, context)
        self._by_id[export.id] = export
        parcel.exported.append(export)
        if instance is not None:
            add_piece(instance, export, lasting=True)
        return bytes([kind]) + export.id

    def find(self, export_id: bytes) -> Export | None:
        """What was sent with that number, as long as somebody may have it."""
        return self._by_id.get(export_id)

    def keep(self, export_id: bytes) -> bool:
        """Its receiver has kept a parameter. False: it has been let go already, or was never sent."""
        export = self._by_id.get(export_id)
        if export is not None:
            export.kept = True
        return export is not None

    def release(self, export_id: bytes) -> None:
        """Nobody has it any more."""
        export = self._by_id.pop(export_id, None)
        if export is None:
            return
        export.released = True
        value, export.value = export.value, None
        if isinstance(value, RpcStub | RemoteStream):
            value.dispose()
        elif isinstance(value, Producer):
            value.stop(export.context)

    # ------------------------------------------------------------------ in
    def unpack(self, payload: bytes, way: Way, borrowed: list[RpcStub] | None = None) -> object:
        """What came over `way`. `borrowed`: it is the arguments of a call, which owns the stubs. Raises DataCloneError."""

        def arrived(code: int, data: object) -> object:
            if code == REFERENCE:
                return self._import(cast("bytes", data), way, borrowed)
            number, parts = cast("list[Any]", data)
            return made_of(number, parts, self)

        return unpack_crossing(payload, arrived)

    def _import(self, data: bytes, way: Way, borrowed: list[RpcStub] | None) -> RpcStub | RemoteStream:
        if len(data) != 1 + ID_BYTES:
            raise DataCloneError("malformed reference")
        imported = Import(self, way, data[1:], parameter=borrowed is not None)
        stub = RpcStub(imported)
        if borrowed is not None:
            borrowed.append(stub)
        return stub if data[0] == _CALLABLE else RemoteStream(stub if borrowed is None else stub.dup())

    def received(self, way: Way) -> Received:
        """How the arguments of a call that came over `way` are unpacked."""
        return Received(self, way)

    def let_go(self, imported: Import) -> None:
        """A handle was disposed, perhaps on another thread."""
        if asyncio._get_running_loop() is self.loop:
            imported.release()
        else:
            self.collected(imported)

    def collected(self, imported: Import) -> None:
        """A handle was collected, perhaps on another thread or in the middle of something."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(imported.release, context=self.clean)

    # ------------------------------------------------------------------ stubs of objects
    def stub(self, parts: list[Any]) -> Stub:
        """A stub of an object that arrives."""
        assert self.transport is not None, "this process reaches objects"
        unique, raw, name = parts
        return Stub(ClassKey(unique), ObjectId(bytes(raw), name), self.transport, self.fetch_adapter)

    def namespace(self, parts: list[Any]) -> Namespace:
        """A namespace that arrives."""
        assert self.transport is not None, "this process reaches objects"
        return Namespace(ClassKey(parts[0]), self.transport, self.fetch_adapter)


def _as_it_is(work: object) -> object:
    return work


register_arriving(Stub, STUB, lambda stub: stub._parts(), lambda parts, exports: exports.stub(parts))
register_arriving(Namespace, NAMESPACE, lambda found: found._parts(), lambda parts, exports: exports.namespace(parts))
