"""Calls of what was sent by reference, over one link between two processes: the same at both ends.

What always holds: each call is answered once, or fails when the link is gone or its deadline has passed; what the other side
holds of this one is let go when it says so, and when it is gone. Every frame begins with the number of what it is for, whose
first bytes name the process that gave it, so that a relay between the two can pass frames on without looking further.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from math import inf
from typing import cast

from ..engine.calls import REQUEST_ID, Extras, MadeCall, Result
from ..engine.deadlines import too_late
from ..engine.errors import DataCloneError, Overloaded, PerdureError, ProtocolError, VersionMismatch, from_wire
from ..engine.exports import HOST_BYTES, ID_BYTES, Exports, Parcel
from ..engine.reference_calls import begin
from ..engine.references import Received, host_gone
from ..engine.values import unpack
from .wire import REF_CALL, REF_CANCEL, REF_DROP, REF_ERROR, REF_GONE, REF_KEEP, REF_REPLY, Frame

RUNNING_MAX = 10_000
"""Calls over one link that run at a time."""
CARRIES, PATIENT = 1, 2
Send = Callable[[Frame, int], None]


class PortCall(MadeCall):
    """A call of an import, as its caller awaits it."""

    call_port: Port | None = None
    export_id = b""
    call_id = b""
    call_passed_on = False
    call_given: Parcel | None = None
    call_deadline: asyncio.TimerHandle | None = None

    def cancel(self, msg: object | None = None) -> bool:
        """The caller does not want the answer any more."""
        done = super().cancel(msg)
        if done and self.call_port is not None:
            self.call_port.give_up(self)
        return done


class Port:
    """One end. Implements the engine's Way."""

    def __init__(self, exports: Exports, send: Send, deadline_s: float) -> None:
        """`send(frame, size)`: to the other end; `size`: bytes of its payload."""
        self.exports = exports
        self.broken: PerdureError | None = None
        self._send = send
        self._deadline_s = deadline_s
        self._calls: dict[bytes, PortCall] = {}
        """What was called and is not answered."""
        self._running: dict[bytes, Callable[[], None]] = {}
        """Calls from there that run here, and what cancels each."""
        self._held: dict[bytes, bytes] = {}
        """What the other side has of this one, and the process that has it (empty: the other end itself)."""
        self._imports: set[bytes] = set()
        """What this side has of the other one."""

    @property
    def needed(self) -> bool:
        """Whether anything would break if the link were closed now."""
        return bool(self._calls or self._running or self._held or self._imports)

    # ------------------------------------------------------------------ Way
    def call(
        self,
        export_id: bytes,
        path: Sequence[str],
        payload: bytes | None,
        parcel: Parcel | None,
        extras: Extras | None,
        *,
        patient: bool = False,
    ) -> PortCall:
        """See `Way`."""
        future = PortCall(loop=self.exports.loop)
        if self.broken is not None:
            future.set_exception(from_wire(self.broken.to_wire()))
            if parcel is not None:
                parcel.returned()
            return future
        future.call_port, future.export_id, future.call_id = self, export_id, self.exports.new_id()
        future.call_given = parcel
        self._calls[future.call_id] = future
        if not patient:
            seconds = self._deadline_s if extras is None else min(self._deadline_s, extras.within_s)
            future.call_deadline = self.exports.loop.call_later(seconds, self._too_late, future, seconds, extras)
        fields = None if extras is None else extras.to_wire()
        if fields is not None and extras is not None and extras.within_s < inf:
            fields[2:] = [extras.parcel is not None, int(extras.within_s * 1000)]
        flags = (CARRIES if parcel is not None else 0) | (PATIENT if patient else 0)
        frame = [REF_CALL, export_id, future.call_id, list(path), payload, fields, REQUEST_ID.get(), flags]
        self._send(frame, len(payload or b""))
        return future

    def forward(
        self, export_id: bytes, path: Sequence[str], payload: bytes | None, *, patient: bool
    ) -> Awaitable[bytes | tuple[object]]:
        """See `Way`."""
        future = self.call(export_id, path, payload, None, None, patient=patient)
        future.call_passed_on = True
        return cast("Awaitable[bytes | tuple[object]]", future)

    def give_up(self, future: PortCall) -> None:
        """Nobody waits for the answer."""
        if self._ended(future):
            self._send([REF_CANCEL, future.export_id, future.call_id], 0)

    def _too_late(self, future: PortCall, seconds: float, extras: Extras | None) -> None:
        self.give_up(future)
        if not future.done():
            led = () if extras is None else [label for _, label in extras.trail]
            future.set_exception(too_late(seconds, [*led, "a callback"]))

    def _ended(self, future: PortCall) -> bool:
        if future.call_deadline is not None:
            future.call_deadline.cancel()
        if future.call_given is not None:
            given, future.call_given = future.call_given, None
            given.returned()
        return self._calls.pop(future.call_id, None) is not None

    def imported(self, export_id: bytes) -> None:
        """Something of the other side is held here from now on."""
        self._imports.add(export_id)

    def keep(self, export_id: bytes) -> None:
        """See `Way`."""
        if self.broken is None:
            self.imported(export_id)
            self._send([REF_KEEP, export_id, self.exports.host], 0)

    def drop(self, export_id: bytes) -> None:
        """See `Way`."""
        self._imports.discard(export_id)
        if self.broken is None:
            self._send([REF_DROP, export_id], 0)

    # ------------------------------------------------------------------ results of calls of objects
    def hand_over(self, parcel: Parcel, holder: bytes = b"") -> None:
        """A result that is being sent: the other side has what was exported for it. `holder`: which process there, if known."""
        for export_id in parcel.ids:
            self._held[export_id] = holder
        parcel.handed_over()

    def unpack_result(self, payload: bytes, ids: Sequence[bytes]) -> object:
        """A result that has come. Raises DataCloneError."""
        for export_id in ids:
            self.imported(export_id)
        try:
            return self.exports.unpack(payload, self)
        except DataCloneError:
            for export_id in ids:  # no stub may have been made of it
                self.drop(export_id)
            raise

    def refuse(self, ids: Sequence[bytes]) -> None:
        """A result that nobody waits for."""
        for export_id in ids:
            self._send([REF_DROP, export_id], 0)

    # ------------------------------------------------------------------ in
    def receive(self, frame: Frame) -> None:
        """A frame of the other end. Raises ProtocolError, TypeError, ValueError, IndexError for what is none."""
        kind, number = frame[0], frame[1]
        if type(number) is not bytes or len(number) not in (ID_BYTES, HOST_BYTES):
            raise ProtocolError("malformed reference")
        if kind == REF_CALL:
            self._on_call(frame)
        elif kind == REF_REPLY:
            self._on_reply(number, frame)
        elif kind == REF_ERROR:
            error, future = from_wire(frame[2]), self._calls.get(number)
            if future is not None:
                self._fail(future, error)
        elif kind == REF_CANCEL:
            cancel = self._running.get(frame[2])
            if cancel is not None:
                cancel()
        elif kind == REF_KEEP:
            if type(frame[2]) is not bytes:
                raise ProtocolError("malformed reference")
            if self.exports.keep(number):
                self._held[number] = frame[2]
        elif kind == REF_DROP:
            if self._held.pop(number, None) is not None:
                self.exports.release(number)
        elif kind == REF_GONE:
            self._on_gone(number)
        else:
            raise ProtocolError(f"a frame of kind {kind!r} is not for references")

    def _on_call(self, frame: Frame) -> None:
        _, export_id, call_id, path, payload, fields, request_id, flags = frame
        if type(call_id) is not bytes or len(call_id) != ID_BYTES or call_id in self._running:
            raise ProtocolError("malformed reference")
        if type(request_id) is not str or not isinstance(path, list) or not isinstance(payload, bytes | None):
            raise ProtocolError("malformed call of a reference")
        names = tuple(str(name) for name in cast("list[object]", path))
        extras = None if fields is None else Extras.from_wire(fields)
        export = self.exports.find(export_id)
        received: Received | None = self.exports.received(self) if flags & CARRIES else None

        def answer(result: Result) -> None:
            if received is not None:
                received.returned()
            if self._running.pop(call_id, None) is None:
                if isinstance(result, Parcel):
                    result.withdraw()
            elif isinstance(result, PerdureError):
                self._send([REF_ERROR, call_id, result.to_wire()], 0)
            elif isinstance(result, Parcel):
                self.hand_over(result, call_id[:HOST_BYTES])
                self._send([REF_REPLY, call_id, result.payload, result.ids], len(result.payload))
            else:
                self._send([REF_REPLY, call_id, result, None], len(result))

        self._running[call_id] = _nothing
        try:
            if export is None:
                raise host_gone()
            if len(self._running) > RUNNING_MAX:
                raise Overloaded("too many calls of functions and targets run here", hint="back off, and try again")
            patient = bool(flags & PATIENT)
            cancel = begin(self.exports, export, names, payload, received, extras, request_id, answer, patient=patient)
        except PerdureError as error:
            answer(error)
            return
        if call_id in self._running:
            self._running[call_id] = cancel

    def _on_reply(self, number: bytes, frame: Frame) -> None:
        payload, ids = frame[2], frame[3]
        if type(payload) is not bytes or not (ids is None or _are_numbers(ids)):
            raise ProtocolError("malformed reply of a reference")
        future = self._calls.get(number)
        if future is None or not self._ended(future) or future.done():
            self.refuse(ids or ())
            return
        try:
            if future.call_passed_on:
                value = payload if ids is None else (self.unpack_result(payload, ids),)
            else:
                value = unpack(payload) if ids is None else self.unpack_result(payload, ids)
        except PerdureError as error:
            future.set_exception(error)
            return
        future.set_result(value)

    # ------------------------------------------------------------------ the end
    def _on_gone(self, host: bytes) -> None:
        """A process behind the other end is gone."""
        for future in [found for found in self._calls.values() if found.export_id.startswith(host)]:
            self._fail(future, host_gone())
        for export_id in [found for found, holder in self._held.items() if holder == host]:
            del self._held[export_id]
            self.exports.release(export_id)
        for call_id in [found for found in self._running if found.startswith(host)]:
            self._running.pop(call_id)()

    def _fail(self, future: PortCall, error: PerdureError) -> None:
        if self._ended(future) and not future.done():
            future.set_exception(error)

    def lost(self) -> None:
        """The link is gone."""
        if self.broken is not None:
            return
        self.broken = host_gone()
        for future in list(self._calls.values()):
            self._fail(future, host_gone())
        running, self._running = self._running, {}
        for cancel in running.values():
            cancel()
        held, self._held = self._held, {}
        for export_id in held:
            self.exports.release(export_id)
        self._imports.clear()


def loopback(exports: Exports, deadline_s: float) -> tuple[Port, Port]:
    """Both ends of a link from a process to itself, for calls of Workers in it. What is sent arrives in a later round."""
    loop, clean = exports.loop, exports.clean

    def to_far(frame: Frame, _size: int) -> None:
        loop.call_soon(far.receive, frame, context=clean)

    def to_near(frame: Frame, _size: int) -> None:
        loop.call_soon(near.receive, frame, context=clean)

    near, far = Port(exports, to_far, deadline_s), Port(exports, to_near, deadline_s)
    return near, far


def too_old() -> VersionMismatch:
    """The error for a result that the caller could not understand."""
    return VersionMismatch(
        "the result holds functions, targets or streams, and the caller is of an older version",
        hint="use the same version of perdure on both sides",
    )


def _are_numbers(ids: object) -> bool:
    return isinstance(ids, list) and all(
        type(found) is bytes and len(found) == ID_BYTES for found in cast("list[object]", ids)
    )


def _nothing() -> None:
    """It ends before it can be cancelled."""
