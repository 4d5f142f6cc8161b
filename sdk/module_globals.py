"""Which globals of a program's module its code writes after it was loaded: all objects of a shard share them, and others do not.

What always holds: each name is told once. Looks are shallow and bounded: a change deep inside a value is not seen.
"""

from __future__ import annotations

import dis
import itertools
import types
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

ADVICE = (
    "every object of the same process shares it, those of other processes do not, and it is gone when the process ends: "
    "keep it in `self` for one object, or in ctx.storage"
)
_ITEMS_MAX = 256
_CONTAINERS = (dict, list, set, bytearray, deque)
_CONSTANT = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type)


@dataclass(frozen=True, slots=True)
class Written:
    """A global that is written. `where`: the function with a `global` statement; empty: it was seen to change."""

    name: str
    where: str = ""


class ModuleGlobals:
    """Of one module, since it was loaded."""

    def __init__(self, module: types.ModuleType) -> None:
        self._module = module
        self._told: set[str] = set()
        self._before = self._look()

    def declared(self) -> list[Written]:
        """Names that functions of the module rebind (`global name`), found in their code."""
        found: list[Written] = []
        for function in _functions(self._module):
            for name in _rebound(function.__code__):
                if name not in self._told:
                    self._told.add(name)
                    found.append(Written(name, f"{function.__qualname__}, line {function.__code__.co_firstlineno}"))
        return found

    def written(self) -> list[Written]:
        """Names that were rebound or whose containers have changed since the last look."""
        before, self._before = self._before, self._look()
        changed = [
            name
            for name, now in self._before.items()
            if before.get(name) != now and name not in self._told and not name.startswith("__")
        ]
        self._told.update(changed)
        return [Written(name) for name in changed]

    def _look(self) -> dict[str, object]:
        return {
            name: _fingerprint(value)
            for name, value in list(vars(self._module).items())
            if not isinstance(value, _CONSTANT)
        }


def _fingerprint(value: object) -> object:
    if not isinstance(value, _CONTAINERS):
        return id(value)
    held = cast("dict[object, object] | list[object]", value)
    if isinstance(held, dict):
        items = itertools.islice(list(held.items()), _ITEMS_MAX)
        return id(held), len(held), tuple((id(key), id(found)) for key, found in items)
    return id(held), len(held), tuple(id(found) for found in itertools.islice(list(held), _ITEMS_MAX))


def _functions(module: types.ModuleType) -> Iterator[types.FunctionType]:
    """The module's own functions, and the methods of its classes."""
    for value in list(vars(module).values()):
        if isinstance(value, types.FunctionType) and value.__module__ == module.__name__:
            yield value
        elif isinstance(value, type) and value.__module__ == module.__name__:
            for member in vars(value).values():
                function = getattr(member, "__func__", member)
                if isinstance(function, types.FunctionType):
                    yield function


def _rebound(code: types.CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            yield str(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _rebound(constant)
