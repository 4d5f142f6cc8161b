"""What travels by reference through the router endpoint: frames are passed on by the process that they name, not looked into.

What always holds: what a guest holds of a shard is let go when the guest is gone, and the shard hears that what it holds of the
guest is gone too; what a guest holds of a shard that is gone fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sized
from typing import TYPE_CHECKING, cast

from ..engine.errors import ProtocolError
from ..engine.exports import EXPORTS_MAX, HOST_BYTES, ID_BYTES
from ..engine.references import host_gone
from .wire import REF_CALL, REF_DROP, REF_ERROR, REF_GONE, REF_KEEP, REF_REPLY, Frame

if TYPE_CHECKING:
    from .links import Link
    from .relay import Guest

PassOn = Callable[["Guest", Frame, int], None]


class ShardPort:
    """The end of a link to one session of a shard, for all guests."""

    def __init__(self, references: RelayedReferences, link: Link, host: bytes) -> None:
        self.link = link
        self.host = host
        self._references = references

    @property
    def needed(self) -> bool:
        """Whether a guest has anything of that session."""
        return self._references.holds(self.host)

    def receive(self, frame: Frame) -> None:
        """From the shard, for the guest that it names."""
        self._references.from_shard(frame)

    def lost(self) -> None:
        """The session is gone."""
        self._references.session_gone(self)


class RelayedReferences:
    """Who is where. `send(guest, frame, size)` sends to a guest; `size`: bytes of the payload."""

    def __init__(self, send: PassOn) -> None:
        self._send = send
        self._guests: dict[bytes, Guest] = {}
        self._ports: dict[bytes, ShardPort] = {}
        self._held: dict[Guest, set[bytes]] = {}
        """What guests have of shards."""
        self._kept: dict[Guest, dict[bytes, bytes]] = {}
        """What shards have of guests, and the name of the shard that has it."""

    # ------------------------------------------------------------------ who comes and goes
    def guest_came(self, guest: Guest, host: object) -> None:
        """A guest has said how its numbers begin. Raises ProtocolError."""
        if (
            type(host) is not bytes
            or len(host) != HOST_BYTES
            or self._guests.get(host, guest) is not guest
            or guest.host not in (b"", host)
        ):
            raise ProtocolError("malformed name of a process")
        guest.host = host
        self._guests[host] = guest
        self._held.setdefault(guest, set())

    def guest_gone(self, guest: Guest) -> None:
        held = self._held.pop(guest, None)
        self._kept.pop(guest, None)
        if held is None or self._guests.pop(guest.host, None) is None:
            return
        for export_id in held:
            self._to_shard([REF_DROP, export_id])
        for port in self._ports.values():
            port.link.send([REF_GONE, guest.host])

    def session_came(self, link: Link, host: bytes) -> ShardPort:
        port = self._ports[host] = ShardPort(self, link, host)
        return port

    def session_gone(self, port: ShardPort) -> None:
        if self._ports.pop(port.host, None) is None:
            return
        for guest, held in self._held.items():
            held.difference_update([found for found in held if found.startswith(port.host)])
            kept = self._kept.get(guest, {})
            for export_id in [found for found, holder in kept.items() if holder == port.host]:
                del kept[export_id]
            self._send(guest, [REF_GONE, port.host], 0)

    def concerned(self) -> list[Guest]:
        """Guests that have something, or of which a shard has something."""
        return [guest for guest, held in self._held.items() if held or self._kept.get(guest)]

    def holds(self, host: bytes) -> bool:
        return any(found.startswith(host) for held in self._held.values() for found in held)

    # ------------------------------------------------------------------ frames
    def given(self, guest: Guest, ids: Iterable[bytes]) -> None:
        """A result that holds these numbers is passed to a guest."""
        self._held[guest].update(ids)

    def from_shard(self, frame: Frame) -> None:
        """Raises ProtocolError."""
        guest = self._guests.get(_host_of(frame))
        if guest is None:
            if frame[0] == REF_CALL:
                self._to_shard([REF_ERROR, frame[2], host_gone().to_wire()])
            elif frame[0] == REF_REPLY:
                for export_id in cast("list[bytes]", frame[3] or ()):
                    self._to_shard([REF_DROP, export_id])
            return
        if frame[0] == REF_REPLY and frame[3]:
            self.given(guest, cast("list[bytes]", frame[3]))
        elif frame[0] == REF_KEEP:
            self._kept.setdefault(guest, {})[frame[1]] = frame[2]
        elif frame[0] == REF_DROP:
            self._kept.get(guest, {}).pop(frame[1], None)
        self._send(guest, frame, _size(frame))

    def from_guest(self, guest: Guest, frame: Frame) -> None:
        """Raises ProtocolError."""
        held = self._held.get(guest)
        if held is None or (frame[0] == REF_CALL and not _id(frame[2]).startswith(guest.host)):
            raise ProtocolError("malformed reference")
        if frame[0] == REF_KEEP:
            held.add(_id(frame[1]))
            self._bounded(held)
        elif frame[0] == REF_DROP:
            held.discard(_id(frame[1]))
        elif frame[0] == REF_REPLY and frame[3]:  # who called is named in the number of the call
            caller = _host_of(frame)
            kept = self._kept.setdefault(guest, {})
            kept.update((_id(found), caller) for found in frame[3])
            self._bounded(kept)
        elif frame[0] == REF_GONE:
            raise ProtocolError("only the router endpoint says who is gone")
        if not self._to_shard(frame) and frame[0] == REF_CALL:
            self._send(guest, [REF_ERROR, frame[2], host_gone().to_wire()], 0)

    def _bounded(self, books: Sized) -> None:
        """No shard lets a guest have more, so such numbers are made up. Raises ProtocolError."""
        if len(books) > EXPORTS_MAX * max(1, len(self._ports)):
            raise ProtocolError("more references than any process gives")

    def _to_shard(self, frame: Frame) -> bool:
        port = self._ports.get(_host_of(frame))
        if port is not None:
            port.link.send(frame, _size(frame))
        return port is not None


def _size(frame: Frame) -> int:
    payload: object = frame[4] if frame[0] == REF_CALL else frame[2] if frame[0] == REF_REPLY else None
    return len(payload) if isinstance(payload, bytes) else 0


def _id(number: object) -> bytes:
    if type(number) is not bytes or len(number) != ID_BYTES:
        raise ProtocolError("malformed reference")
    return number


def _host_of(frame: Frame) -> bytes:
    return _id(frame[1])[:HOST_BYTES]
