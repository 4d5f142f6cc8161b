"""Functions that are asked for by name from outside: what they take, and whether that was given.

What always holds: a function is called only with arguments that fit its signature and annotations.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import cast, get_type_hints

from ..engine.errors import InvalidArgument

Function = Callable[..., Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Entry:
    """A function and what it takes. Every parameter is annotated with types that `isinstance` knows."""

    function: Function
    signature: inspect.Signature
    hints: Mapping[str, type]

    @classmethod
    def of(cls, name: str, function: Function) -> Entry:
        """`name` is for the message when a parameter has no annotation."""
        signature = inspect.signature(function)
        hints = get_type_hints(function)
        assert all(parameter in hints for parameter in signature.parameters), f"{name}: annotate all parameters"
        return cls(function, signature, hints)

    def check(self, what: str, given: Mapping[str, object]) -> None:
        """Raises InvalidArgument, its message begins with `what`, when `given` cannot be the keyword arguments."""
        try:
            self.signature.bind(**given)
        except TypeError as error:
            raise InvalidArgument(f"{what}: {error}") from None
        for parameter, value in given.items():
            hint = self.hints[parameter]
            if not isinstance(value, hint) or (isinstance(value, bool) and not isinstance(True, _without_int(hint))):
                wanted = getattr(hint, "__name__", None) or str(hint)
                raise InvalidArgument(f"{what}: {parameter} must be {wanted}, got {value!r}")


def _without_int(hint: object) -> tuple[type, ...]:
    """The types of a hint except int: True is an int to isinstance, but nobody who asks for a number means it."""
    kinds = cast("tuple[type, ...]", getattr(hint, "__args__", (hint,)))
    return tuple(kind for kind in kinds if kind is not int)


class Registry:
    """Functions by the name that they are asked for."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    @property
    def names(self) -> list[str]:
        """What can be asked for."""
        return sorted(self._entries)

    def add(self, name: str, function: Function) -> None:
        """Let callers ask for `function` by that name; every parameter must be annotated."""
        assert name not in self._entries, f"{name} is there already"
        self._entries[name] = Entry.of(name, function)
