"""Migrations of a D1 database: SQL files in a folder, applied in the order of their numbers, each once.

What always holds: a file and the row that says it was applied are one transaction; what was applied stays applied when a
later one fails.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from ..engine.errors import ConfigError, InvalidArgument

_NUMBER = re.compile(r"\d+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Migrations:
    """`folder`: where the files are. `table`: remembers which were applied."""

    folder: str
    table: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.table):
            raise ConfigError(f"migrations_table {self.table!r} is no name of a table")

    def files(self) -> list[str]:
        """Names of the files in their order: by the number they begin with. Raises ConfigError."""
        try:
            names = [name for name in os.listdir(self.folder) if name.endswith(".sql")]
        except OSError as error:
            hint = "`perdure d1 migrations create` makes it; `migrations_dir` names another"
            raise ConfigError(f"{self.folder}: {error.strerror}", hint=hint) from error
        return sorted(names, key=lambda name: (_number(name), name))

    def read(self, name: str) -> str:
        """The text of a file. Raises ConfigError."""
        try:
            with open(os.path.join(self.folder, name), encoding="utf-8") as file:
                return file.read()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{name} cannot be read: {error}") from error

    def create(self, message: str) -> str:
        """Make the next file; its path. Raises InvalidArgument."""
        words = re.sub(r"[^\w-]+", "_", message.strip()).strip("_")
        if not words:
            raise InvalidArgument(f"{message!r} gives no name for a file")
        os.makedirs(self.folder, exist_ok=True)
        number = max((_number(name) for name in self.files()), default=0) + 1
        path = os.path.join(self.folder, f"{number:04}_{words}.sql")
        with open(path, "x", encoding="utf-8") as file:
            file.write(f"-- Migration number: {number:04}\n")
        return path

    @property
    def make_table(self) -> str:
        """SQL that makes the table if it is not there."""
        return (
            f"create table if not exists {self.table}(id integer primary key autoincrement, name text unique, "
            "applied_at timestamp default current_timestamp not null)"
        )

    @property
    def applied(self) -> str:
        """SQL that lists the names of those that were applied."""
        return f"select name from {self.table} order by id"

    @property
    def note(self) -> str:
        """SQL that notes one as applied."""
        return f"insert into {self.table}(name) values (?)"


def _number(name: str) -> int:
    found = _NUMBER.match(name)
    return int(found.group()) if found else 0
