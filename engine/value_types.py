"""Types of values that cross a call as their parts: requests, responses, blobs, streams, stubs of objects.

What always holds: parts are plain values, functions, RpcTargets, async iterators or registered values again, so they cross by the
same rules; what is registered here crosses calls and is never stored. A code is given once, also between versions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .errors import DataCloneError, ProgramBug
from .values import NEED_EXPORTER

if TYPE_CHECKING:
    from .exports import Exports

ToParts = Callable[[Any], object]
FromParts = Callable[[Any], object]
Arrives = Callable[[Any, "Exports"], object]
"""As FromParts, for what needs to know the process that it arrives in."""

_to_parts: dict[type, tuple[int, ToParts]] = {}
_from_parts: dict[int, Arrives] = {}
_further: list[Callable[[], object]] = []
STUB, NAMESPACE = 1, 2
"""Codes from 16 on are for other packages: 16 to 31 the SDK's HTTP and stream classes, 32 to 47 bindings and entrypoints."""


def register(kind: type, code: int, to_parts: ToParts, from_parts: FromParts) -> None:
    """Let values of a class (and of its subclasses that are not registered) cross calls.

    `to_parts(value)` is called once for each crossing, in the sender's code; `from_parts(parts)` where it arrives, with
    copies of the parts. Raises ProgramBug for a code that is taken.
    """
    register_arriving(kind, code, to_parts, lambda parts, _exports: from_parts(parts))


def register_arriving(kind: type, code: int, to_parts: ToParts, arrives: Arrives) -> None:
    """The same for what leads to something through the process it arrives in: stubs, bindings, entrypoints."""
    taken = next((found for found, (number, _) in _to_parts.items() if number == code and found is not kind), None)
    if taken is not None:
        raise ProgramBug(f"code {code} is {taken.__name__}'s already, {kind.__name__} needs another")
    _to_parts[kind] = (code, to_parts)
    _from_parts[code] = arrives
    NEED_EXPORTER.add(kind)


def look_further(load: Callable[[], object]) -> None:
    """Call `load`, which registers more types, when a value of an unknown one arrives: for what few processes need."""
    _further.append(load)


def parts_of(value: object) -> tuple[int, object] | None:
    """Code and parts of a value of a registered class, None for another."""
    for base in type(value).__mro__:
        found = _to_parts.get(base)
        if found is not None:
            return found[0], found[1](value)
    return None


def made_of(code: int, parts: object, exports: Exports) -> object:
    """The value of those parts. Raises DataCloneError for a code that nobody has registered here."""
    arrives = _from_parts.get(code)
    while arrives is None and _further:
        _further.pop()()
        arrives = _from_parts.get(code)
    if arrives is None:
        raise DataCloneError(f"a value of an unknown type ({code}) arrived", hint="use the same version on both sides")
    return arrives(parts, exports)
