"""Programs of before 2025-08-14: handlers are functions of the main module (`on_fetch(request, env, ctx)`), or carry `on_`.

What always holds: a program has one default Worker: functions, or the class `Default`, not both.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import TypeVar
from weakref import WeakSet

from ..engine.errors import ConfigError
from ..engine.handlers import call_relaxed
from .entrypoints import HANDLERS, ExecutionContext
from .request import Request

F = TypeVar("F", bound=Callable[..., object])
_CONVERTED: WeakSet[Callable[..., object]] = WeakSet()
"""Functions that ask for the SDK's classes."""


def handler(function: F) -> F:
    """`@handler` in front of `on_fetch`: requests come as the SDK's classes. Without it they come in JavaScript's style."""
    _CONVERTED.add(function)
    return function


class LegacyWorker:
    """The default Worker of a module with handlers as functions, for one event."""

    def __init__(self, functions: dict[str, Callable[..., object]], ctx: ExecutionContext, env: object) -> None:
        self._functions = functions
        self.ctx = ctx
        self.env = env

    def __getattr__(self, name: str) -> Callable[..., object]:
        function = self._functions.get(name)
        if function is None:
            raise AttributeError(name)

        def called(event: object) -> object:
            if isinstance(event, Request) and function not in _CONVERTED:
                from .js.web import Request as JsRequest  # only such programs need it

                event = JsRequest.of(event)
            return call_relaxed(function, event, self.env, self.ctx)

        return called


def functions_of(module: ModuleType) -> dict[str, Callable[..., object]]:
    """Handler name → the module's function. Raises ConfigError: there is a class Default beside them."""
    found = {name: getattr(module, f"on_{name}", None) for name in HANDLERS}
    functions = {name: function for name, function in found.items() if callable(function)}
    if functions and isinstance(getattr(module, "Default", None), type):
        listed = ", ".join(f"on_{name}" for name in functions)
        raise ConfigError(
            f"{module.__file__}: Cannot define multiple default entrypoints: the class Default, and {listed}",
            name="TypeError",
            hint="keep one of them; classes are the newer way",
        )
    return functions
