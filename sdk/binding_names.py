"""Under which names of `env` the sections of a configuration put something: known without making any of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from .config import Config

_NAMED = frozenset({"ratelimits", "unsafe"})
"""Sections whose entries have `name` in the place of `binding`."""


def section_names(config: Config) -> list[str]:
    """Names of the bindings that are no objects, Workers or variables; in the order of the file."""
    return [name for name, _ in sections_of(config)]


def sections_of(config: Config) -> list[tuple[str, str]]:
    """The same, each with the key of the configuration that it stands under."""
    found: list[tuple[str, str]] = []
    for section, value in config.sections.items():
        if section == "unsafe" and isinstance(value, Mapping):
            value = cast("Mapping[str, object]", value).get("bindings")
        names: list[str] = []
        _look(value, ("binding", "name") if section in _NAMED else ("binding",), names)
        found += [(name, section) for name in names]
    if config.assets is not None and config.assets.binding is not None:
        found.append((config.assets.binding, "assets"))
    return found


def bound_names(config: Config) -> list[str]:
    """All names that bindings ask for; one stands there twice when two ask for it."""
    return [
        *(binding.name for binding in config.bindings),
        *(service.name for service in config.services),
        *section_names(config),
    ]


def _look(value: object, keys: tuple[str, ...], found: list[str]) -> None:
    if isinstance(value, Mapping):
        table = cast("Mapping[str, object]", value)
        found += [name for key in keys if isinstance(name := table.get(key), str)][:1]
        for each in table.values():
            _look(each, keys, found)
    elif isinstance(value, list):
        for each in cast("list[object]", value):
            _look(each, keys, found)
