"""Reading the tables of a configuration: each value has its type, or a ConfigError names the file and the key."""

from __future__ import annotations

from typing import cast

from ..engine.errors import ConfigError

Table = dict[str, object]


def text(path: str, table: Table, key: str, where: str = "") -> str:
    """A text that must be there. `where`: what the table is, for the message."""
    value = table.get(key)
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{path}: {where}'{key}' is missing or no text")
    return value


def optional_text(path: str, table: Table, key: str, where: str = "") -> str | None:
    """A text, or None where the key is not there."""
    return None if table.get(key) is None else text(path, table, key, where)


def table(path: str, value: object, what: str) -> Table:
    """A table; an empty one for nothing."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: {what} must be a table")
    return cast("Table", value)


def tables(path: str, value: object, what: str) -> list[Table]:
    """A list of tables; none for nothing."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in cast("list[object]", value)):
        raise ConfigError(f"{path}: {what} must be a list of tables")
    return cast("list[Table]", value)


def names(path: str, item: Table, key: str, what: str = "class names") -> list[str]:
    """A list of texts; none for nothing."""
    value = item.get(key) or []
    if not isinstance(value, list) or not all(isinstance(name, str) for name in cast("list[object]", value)):
        raise ConfigError(f"{path}: {key} must be a list of {what}")
    return cast("list[str]", value)


def choice(path: str, found: Table, key: str, choices: tuple[str, ...], where: str = "") -> str:
    """One of some texts; the first where the key is not there."""
    value = found.get(key, choices[0])
    if value not in choices:
        raise ConfigError(f"{path}: {where}{key} must be one of {', '.join(choices)}, got {value!r}")
    return cast("str", value)
