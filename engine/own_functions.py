"""Functions in Python that a program's SQL may call (frameworks bring some: Django's dates).

What always holds: they are of one open connection and gone with it; the runtime's own statements and SQLite's functions are not
changed; a name of the runtime's (`_cf_`, `sqlite_`) is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import InvalidArgument

if TYPE_CHECKING:
    from .storage import DurableObjectStorage

_RESERVED = ("_cf_", "sqlite_")


@dataclass(frozen=True, slots=True)
class OwnFunction:
    """`arguments`: how many, -1 for any. `make`: the function itself, or for an aggregate a class with `step` and `finalize`."""

    name: str
    arguments: int
    make: Callable[..., Any]
    aggregate: bool = False
    deterministic: bool = False


def give(storage: DurableObjectStorage, functions: tuple[OwnFunction, ...]) -> None:
    """Let the object's SQL call `functions`, until its database is closed; cheap when they were given already.

    Raises InvalidArgument for a reserved name.
    """
    own = storage._storage
    own.enter()
    database = own.opened()
    names = frozenset(function.name.lower() for function in functions)
    if names <= database.guard.functions:
        return
    for function in functions:
        if function.name.lower().startswith(_RESERVED):
            raise InvalidArgument(f"a function of SQL cannot have the name {function.name}")
        if function.aggregate:
            database.connection.create_aggregate_function(function.name, _factory(function.make), function.arguments)
        else:
            database.connection.create_scalar_function(
                function.name, function.make, function.arguments, deterministic=function.deterministic
            )
    database.guard.functions |= names


def _factory(cls: Callable[[], Any]) -> Callable[[], Any]:
    """An aggregate as apsw wants it, of a class as sqlite3 wants it."""

    def make() -> Any:
        return cls(), _step, _finalize

    return make


def _step(made: Any, *values: object) -> None:
    made.step(*values)


def _finalize(made: Any) -> object:
    return made.finalize()
