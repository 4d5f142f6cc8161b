"""A binding to a Worker, of this program or of another that is served beside it (spec: config, services; rpc).

What always holds: arguments and results are copied when the call is made and when it ends; an unknown name is a remote method
of the entrypoint; nothing but the entrypoint's public methods can be called.
"""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from ..engine.errors import DataCloneError, MethodNotFound
from ..engine.exports import Exports as EngineExports
from ..engine.http import HttpRequest, HttpResponse
from ..engine.stubs import RESERVED_METHODS
from ..engine.value_types import register_arriving
from ..engine.values import JsDict, milliseconds
from .adapter import fetch_through

SERVICE = 32
"""Code of a binding to a Worker (`engine/value_types.py`)."""


@dataclass(frozen=True, slots=True)
class Target:
    """Which Worker: of which program, the entrypoint (None: the default one), and what it finds as `ctx.props`."""

    program: str
    entrypoint: str | None = None
    props: object = None


class Calls(Protocol):
    """How a process runs Workers for the code in it. Both begin at once, also when the result is not awaited."""

    def fetch(self, target: Target, request: HttpRequest) -> Awaitable[HttpResponse]: ...

    def call(self, target: Target, method: str, args: list[object]) -> Awaitable[object]: ...

    def scheduled(self, target: Target, cron: str, scheduled_ms: int | None) -> Awaitable[JsDict]: ...

    def queue(self, target: Target, queue: str, messages: Sequence[object]) -> Awaitable[JsDict]: ...


class Service:
    """`env.NAME` of an entry of `services`, and a Worker in `ctx.exports`."""

    def __init__(self, target: Target, calls: Calls) -> None:
        self._target = target
        self._calls = calls

    def fetch(self, request: object, **init: object) -> Awaitable[object]:
        """The HTTP call: an absolute URL or a Request; gives a Response."""
        return fetch_through(lambda wire: self._calls.fetch(self._target, wire), request, init)

    def connect(self, *_args: object, **_options: object) -> object:
        """Raises MethodNotFound: there are no sockets here."""
        raise MethodNotFound("connect() is not implemented in perdure", hint="call fetch() or a method of the service")

    def scheduled(self, options: object = None, **more: object) -> Awaitable[JsDict]:
        """Run its `scheduled`: `scheduledTime` (ms or a datetime; now), `cron`. Gives `outcome` ("ok"), `noRetry`."""
        given = _options(options, more)
        return self._calls.scheduled(self._target, str(given.get("cron") or ""), _ms(given.get("scheduledTime")))

    def queue(
        self, queueName: str, messages: Sequence[object], metadata: object = None, **_: object
    ) -> Awaitable[JsDict]:
        """Run its `queue` with messages of `{id, timestamp, attempts, body}`.

        Gives `outcome` ("ok"), `ackAll`, `retryBatch` ({"retry": bool}), `explicitAcks`, `retryMessages`.
        """
        return self._calls.queue(self._target, queueName, [_options(each, {}) for each in messages])

    def __call__(self, options: object = None, **more: object) -> Service:
        """The same Worker with other props: `ctx.exports.Name({"props": {…}})`."""
        props = _options(options, more).get("props")
        return Service(Target(self._target.program, self._target.entrypoint, props), self._calls)

    def __getattr__(self, method: str) -> Callable[..., Awaitable[object]]:
        if method.startswith("__"):
            raise AttributeError(method)
        if method in RESERVED_METHODS:
            raise MethodNotFound(f"'{method}' is a reserved method and cannot be called over RPC")
        target, calls = self._target, self._calls

        def remote(*args: object, **kwargs: object) -> Awaitable[object]:
            return calls.call(target, method, [*args, kwargs] if kwargs else list(args))

        remote.__name__ = method
        return remote

    def __repr__(self) -> str:
        return f"<Service {self._target.program}{'.' + self._target.entrypoint if self._target.entrypoint else ''}>"


def _options(given: object, more: Mapping[str, object]) -> dict[str, object]:
    """Options by name: a dict, an object with attributes, keyword arguments. Raises TypeError."""
    if given is None:
        return dict(more)
    if isinstance(given, Mapping):
        return {**cast("Mapping[str, object]", given), **more}
    if not hasattr(given, "__dict__"):
        raise TypeError(f"options must be an object, got {type(given).__name__}")
    return {**vars(given), **more}


def _ms(when: object) -> int | None:
    """Milliseconds since the epoch of a number or a datetime; None stays. Raises TypeError."""
    if when is None:
        return None
    if isinstance(when, datetime.datetime):
        return milliseconds(when)
    if isinstance(when, int | float):
        return round(when)
    raise TypeError(f"scheduledTime must be a number of ms or a datetime, got {type(when).__name__}")


class Exports:
    """`ctx.exports`: the program's own classes by name, as bindings. `default` is the default Worker."""

    def __init__(self, bindings: Mapping[str, object]) -> None:
        self.__dict__.update(bindings)

    def __getattr__(self, name: str) -> object:
        known = ", ".join(sorted(self.__dict__)) or "none"
        raise AttributeError(f"the program exports no {name!r}; it has: {known}")

    def __contains__(self, name: str) -> bool:
        return name in self.__dict__

    def __getitem__(self, name: str) -> object:
        return getattr(self, name)


def _arrived(parts: list[object], exports: EngineExports) -> Service:
    """A binding that has crossed a call leads to the same Worker, run by the process it arrives in."""
    if exports.services is None:
        raise DataCloneError(
            "a binding to a Worker arrived where no Workers run", hint="pass it between Workers and objects"
        )
    program, entrypoint, props = parts
    target = Target(cast("str", program), cast("str | None", entrypoint), props)
    return Service(target, cast("Calls", exports.services))


def _parts(service: Service) -> list[object]:
    target = service._target  # pyright: ignore[reportPrivateUsage]
    return [target.program, target.entrypoint, target.props]


register_arriving(Service, SERVICE, _parts, lambda parts, exports: _arrived(parts, exports))
