"""What a process gives to the bindings of the programs that it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ..engine.blocking import run_worker
from ..engine.errors import ConfigError, DurableObjectAbort
from ..engine.exports import Exports, Parcel
from ..engine.outgoing import send_out
from ..engine.raised import as_remote
from ..engine.references import Way
from ..engine.stubs import Namespace, Transport
from ..sdk.adapter import fetch_through
from ..sdk.doors import Doors
from ..sdk.entrypoints import ExecutionContext
from ..sdk.worker_handlers import call_handler
from .assets import AssetFiles
from .queue_rules import Consumer
from .system_classes import key_of

Report = Callable[[str, str, dict[str, object]], None]


class End(Way, Protocol):
    """One end of a link over which things travel by reference (`router.ports.Port`)."""

    exports: Exports

    def hand_over(self, parcel: Parcel) -> None:
        """A result is sent from this end."""
        ...

    def unpack_result(self, payload: bytes, ids: Sequence[bytes]) -> object:
        """A result has come to this end."""
        ...


@dataclass(slots=True)
class Surroundings:
    """One a process. Objects of bindings have it as their `env`."""

    transport: Transport
    """Reaches objects; inside of objects past their gates."""
    loop: asyncio.AbstractEventLoop
    report: Report
    data: str
    """The data folder, for what is stored in files of its own; empty: nothing is."""
    link: tuple[End, End] | None = None
    """From the process to itself, by which Workers in it are given functions and streams; None: they get values only."""
    doors: dict[str, Doors] = field(default_factory=dict[str, Doors])
    """Program name → its Workers."""
    assets: dict[str, AssetFiles] = field(default_factory=dict[str, AssetFiles])
    """Program name → the files that are served beside its default Worker."""
    consumers: dict[str, Consumer] = field(default_factory=dict[str, Consumer])
    """Queue → the program that gets its messages."""
    settings: Mapping[str, object] = field(default_factory=dict[str, object])
    _pending: set[asyncio.Future[object]] = field(default_factory=set[asyncio.Future[object]])

    def namespace(self, system_class: str) -> Namespace:
        """The objects of a binding's own class (`system_classes.py`)."""
        return Namespace(key_of(system_class), self.transport, fetch_through)

    def run_handler(self, program: str, handler: str, *args: object) -> Awaitable[object]:
        """Call a handler (`queue`, …) of a program's default Worker in this process, with as many arguments as it takes.

        It leaves past the output gate of the object that asks, and runs outside of its turns. Awaiting raises PerdureError
        when there is no such handler, and what the handler raises.
        """
        return send_out(lambda: self._run(program, handler, args))

    async def _run(self, program: str, handler: str, args: tuple[object, ...]) -> object:
        context = ExecutionContext(self.report)
        try:
            return await run_worker(self._call(program, handler, args, context))
        except asyncio.CancelledError:
            raise
        except (Exception, SystemExit, DurableObjectAbort) as error:
            raise as_remote(error) from error
        finally:
            self.keep(context)

    async def _call(self, program: str, handler: str, args: tuple[object, ...], context: ExecutionContext) -> object:
        return await call_handler(self.make(program, None, context), handler, *args)

    def make(self, program: str, entrypoint: str | None, context: ExecutionContext) -> object:
        """A Worker of a program, for one event. Raises ConfigError, ClassNotFound: there is none."""
        doors = self.doors.get(program)
        make = doors.maker(entrypoint) if doors is not None else None
        if make is None:
            raise ConfigError(f"the program {program} is not served here, or has no default Worker")
        return make(context)

    def keep(self, context: ExecutionContext) -> None:
        """Hold what `waitUntil` was given until it is done."""
        if context.tasks:
            self._pending.update(context.tasks)
            for task in context.tasks:
                task.add_done_callback(self._pending.discard)

    async def close(self, seconds: float) -> None:
        """Wait, up to a bound, for what Workers have given to `waitUntil`."""
        if self._pending:
            await asyncio.wait(set(self._pending), timeout=seconds)
