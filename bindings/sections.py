"""Reading what a configuration declares of bindings: lists of tables, each with a name for `env`."""

from __future__ import annotations

from typing import cast

from ..engine.errors import ConfigError
from ..sdk.config import Config

Item = dict[str, object]


def items(config: Config, section: str, value: object = None) -> list[Item]:
    """The tables of a section (`value`: of a part of it). Raises ConfigError."""
    found = config.sections.get(section) if value is None else value
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in cast("list[object]", found)):
        raise ConfigError(f"{config.path}: {section} must be a list of tables")
    return cast("list[Item]", found)


def text(config: Config, section: str, item: Item, key: str) -> str:
    """What a table must say. Raises ConfigError."""
    value = item.get(key)
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{config.path}: {section}: '{key}' is missing or no text")
    return value


def identity(config: Config, section: str, item: Item, *keys: str) -> str:
    """What names the thing itself: the first of `keys` that is given, the same in every program; else program and binding."""
    for key in keys:
        if item.get(key):
            return text(config, section, item, key)
    return f"{config.name}/{text(config, section, item, 'binding')}"
