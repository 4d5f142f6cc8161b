"""What a process gives to the bindings of the programs that it runs."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from ..engine.errors import ConfigError, PerdureError
from ..engine.outgoing import send_out
from ..engine.stubs import Namespace, Transport
from ..sdk.adapter import fetch_through
from ..sdk.entrypoints import CURRENT, ExecutionContext
from .system_classes import key_of

Report = Callable[[str, str, dict[str, object]], None]
MakeWorker = Callable[[ExecutionContext], object]


@dataclass(slots=True)
class Surroundings:
    """One a process. Objects of bindings have it as their `env`."""

    transport: Transport
    """Reaches objects; inside of objects past their gates."""
    loop: asyncio.AbstractEventLoop
    report: Report
    data: str
    """The data folder, for what is stored in files of its own; empty: nothing is."""
    workers: dict[str, MakeWorker] = field(default_factory=dict[str, MakeWorker])
    """Program name → makes its default Worker."""
    settings: Mapping[str, object] = field(default_factory=dict[str, object])

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
        make = self.workers.get(program)
        if make is None:
            raise ConfigError(f"the program {program} is not served here, or has no default Worker")
        context = ExecutionContext(self.report)
        CURRENT.set(context)
        found = cast("Callable[..., Any] | None", getattr(make(context), handler, None))
        if found is None:
            raise PerdureError(f"Handler does not export a {handler}() function", name="TypeError")
        result = found(*args[: _positional(found)])
        if hasattr(result, "__await__"):
            result = await result
        return result


def _positional(function: Callable[..., object]) -> int | None:
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        return None
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(parameter.kind in kinds for parameter in parameters)
