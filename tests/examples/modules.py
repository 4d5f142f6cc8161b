"""The modules of an example by themselves: what needs no runtime is tested without one."""

from __future__ import annotations

import contextlib
import importlib
import sqlite3
import sys
from collections.abc import Iterator
from types import ModuleType

from .stage import EXAMPLES


@contextlib.contextmanager
def modules(example: str, *names: str) -> Iterator[list[ModuleType]]:
    """Imported as the example's main module imports them; forgotten at the end, so that examples may have the same names."""
    folder = f"{EXAMPLES}/{example}/src"
    before = set(sys.modules)
    sys.path.insert(0, folder)
    try:
        yield [importlib.import_module(name) for name in names]
    finally:
        sys.path.remove(folder)
        for name in set(sys.modules) - before:
            if (getattr(sys.modules[name], "__file__", None) or "").startswith(folder):
                del sys.modules[name]


class Sql:
    """`ctx.storage.sql` as far as the examples use it, on a database in memory."""

    def __init__(self) -> None:
        self.database = sqlite3.connect(":memory:", isolation_level=None)
        self.database.row_factory = sqlite3.Row

    def exec(self, statement: str, *values: object) -> list[dict[str, object]]:
        return [dict(row) for row in self.database.execute(statement, values)]
