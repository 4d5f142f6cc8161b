"""What an instance needs of the collection that it stands in; implemented by `residents.Residents`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Protocol

from .bookmarks import History, Position
from .clock import Clock
from .disk import Disk
from .errors import PerdureError
from .fairness import Rotation
from .limits import Limits
from .meters import Meters
from .socket_calls import Holder
from .stubs import Transport
from .turns import Turns

if TYPE_CHECKING:
    from .instance import Instance


class Shelf(Protocol):
    """What an instance needs of the collection that it stands in."""

    turns: Turns
    clock: Clock
    disk: Disk
    limits: Limits
    transport: Transport
    history: History | None
    """None: nothing of the past is kept."""
    threads: Executor
    """For checkpoints that would stop the loop for too long."""
    now_s: float
    random: Callable[[], float]
    """From 0 to 1."""
    rotation: Rotation
    kept_out: dict[Instance, None]
    """Objects whose gate has kept somebody out: `ages` looks at them with each tick."""
    circling: dict[Instance, None]
    """Objects that `call_cycles` looks at with each tick."""
    write_refusal: PerdureError | None
    """Set while a quota refuses writes."""
    refused: dict[tuple[bytes, str], tuple[float, PerdureError]]
    """Events (object, method) that have ended their process again and again: until when they are refused, and how."""
    forsaken: set[bytes]
    """Objects that were reset by their own fault and whose sockets have ended with that: their rows go at the next load."""
    failed_restores: dict[bytes, Position]
    """Points that could not be restored, as long as that is not noted in the objects' own databases."""

    def forget(self, instance: Instance, error: PerdureError) -> None:
        """The instance is broken or evicted: the next event gets a new one, once `closed` was called."""
        ...

    def closed(self, instance: Instance) -> None:
        """A broken instance's storage is closed and its file is right."""
        ...

    def metered(self, instance: Instance, taken: Meters) -> None:
        """What an instance has used since its meters were last taken."""
        ...

    def settled(self, instance: Instance, change: int) -> None:
        """The main file is complete up to `change`."""
        ...

    def unsettled(self, instance: Instance, error: PerdureError) -> None:
        """The main file could not be completed; the object goes on."""
        ...

    def holders(self) -> Iterable[Holder]:
        """Who may hold connections of sockets: all that are connected now."""
        ...

    def report(self, level: str, event: str, fields: dict[str, object]) -> None: ...
