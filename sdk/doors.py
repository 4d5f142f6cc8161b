"""What a program answers beside its objects: its default Worker and its named entrypoints (spec: objects, class).

What always holds: each event has a Worker of its own; a class's name is the name of its entrypoint, `Default` is the one that
requests go to when none is named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType

from ..engine.errors import ClassNotFound, ConfigError
from ..engine.subrequests import OF_WORKER, Subrequests
from ..engine.web_socket import BEHAVIOUR, NEWEST, Behaviour
from .entrypoints import CURRENT, HANDLERS, ExecutionContext, WorkerEntrypoint
from .env import RUNNING, Env
from .legacy import LegacyWorker, functions_of

DEFAULT = "Default"
MakeWorker = Callable[[ExecutionContext], object]


def public_names(module: ModuleType) -> list[str]:
    """What a main module exports: `__all__`, else every name without a `_` in front. Imported ones count."""
    listed: list[str] | None = getattr(module, "__all__", None)
    return list(listed) if listed else [name for name in vars(module) if not name.startswith("_")]


def entrypoints_of(module: ModuleType) -> dict[str, type[WorkerEntrypoint]]:
    """Name → class, of the Workers that the main module exports."""
    found: dict[str, type[WorkerEntrypoint]] = {}
    for name in public_names(module):
        value = getattr(module, name, None)
        if isinstance(value, type) and issubclass(value, WorkerEntrypoint) and value is not WorkerEntrypoint:
            found[name] = value
    return found


def check_consumer(path: str, queues: Sequence[str], doors: Doors) -> None:
    """A program that consumes queues has a handler for what comes. Raises ConfigError."""
    if queues and not doors.handles("queue"):
        raise ConfigError(
            f"{path}: the program consumes the queue '{queues[0]}' and has no queue() handler",
            hint="write `async def queue(self, batch)` in its `Default` WorkerEntrypoint",
        )


class Doors:
    """Of one program in one process. Raises ConfigError: two default entrypoints."""

    def __init__(
        self,
        program: str,
        module: ModuleType,
        env: Env,
        *,
        legacy: bool = False,
        sockets: Behaviour = NEWEST,
        subrequests_max: int = 0,
    ) -> None:
        """`legacy`: handlers carry `on_`, and may be functions of the module. `sockets`: what its WebSockets do.
        `subrequests_max`: fetches and calls of one event; 0: they are not counted."""
        self.program = program
        self.env = env
        self.exports: Mapping[str, object] | object = None
        """What Workers find as `ctx.exports`."""
        self._legacy = legacy
        self._sockets = sockets
        self._subrequests_max = subrequests_max
        self._classes = entrypoints_of(module)
        self._functions = functions_of(module) if legacy else {}

    @property
    def names(self) -> list[str]:
        """The entrypoints; `Default` among them when there is one."""
        return sorted({*self._classes, *([DEFAULT] if self._functions else [])})

    def handles(self, name: str) -> bool:
        """Whether the default Worker has that handler."""
        names = (name, f"on_{name}") if self._legacy else (name,)
        cls = self._classes.get(DEFAULT)
        return name in self._functions or any(hasattr(cls, each) for each in names)

    def maker(self, entrypoint: str | None = None) -> MakeWorker | None:
        """Makes the Worker for one event; None when the program has no default one. Raises ClassNotFound for another."""
        name = entrypoint or DEFAULT
        cls = self._classes.get(name)
        if cls is None and not (name == DEFAULT and self._functions):
            if name == DEFAULT:
                return None
            raise ClassNotFound(
                f"the program {self.program} has no entrypoint '{name}'",
                hint=f"it has: {', '.join(self.names) or 'none'}; entrypoints derive from WorkerEntrypoint",
            )

        def make(context: ExecutionContext) -> object:
            context.exports = self.exports
            CURRENT.set(context)
            RUNNING.set(self.env)
            BEHAVIOUR.set(self._sockets)
            OF_WORKER.set(Subrequests(self._subrequests_max) if self._subrequests_max else None)
            return LegacyWorker(self._functions, context, self.env) if cls is None else self._made(cls, context)

        return make

    def _made(self, cls: type[WorkerEntrypoint], context: ExecutionContext) -> object:
        worker = cls(context, self.env)
        if self._legacy:
            _alias_handlers(worker)
        return worker


def _alias_handlers(worker: WorkerEntrypoint) -> None:
    """Handlers of a class of before 2025-08-14 are found by their names of today too."""
    for name in HANDLERS:
        found = getattr(worker, f"on_{name}", None)
        if callable(found):
            setattr(worker, name, found)
