"""The key `assets` of a configuration: which files are served beside the Worker, and how (spec: config, assets)."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..engine.errors import ConfigError
from .tables import Table, choice, names, optional_text, table, text

HTML = ("auto-trailing-slash", "force-trailing-slash", "drop-trailing-slash", "none")
NOT_FOUND = ("none", "single-page-application", "404-page")
_RULES_MAX = 100


@dataclass(frozen=True, slots=True)
class Assets:
    """What the file says."""

    folder: str
    """Absolute."""
    binding: str | None = None
    html_handling: str = HTML[0]
    not_found_handling: str = NOT_FOUND[0]
    run_worker_first: bool | tuple[str, ...] = False
    """Patterns of paths, `*` for anything; those with `!` in front are excepted."""


def read_assets(path: str, found: Table) -> Assets | None:
    """The section, or None where there is none. Raises ConfigError."""
    section = table(path, found.get("assets"), "assets")
    if not section:
        return None
    folder = os.path.join(os.path.dirname(os.path.abspath(path)), text(path, section, "directory", "assets: "))
    if not os.path.isdir(folder):
        raise ConfigError(f"{path}: assets: the directory {folder} does not exist")
    first = section.get("run_worker_first", False)
    if not isinstance(first, bool):
        first = tuple(names(path, section, "run_worker_first", "paths"))
        _check_rules(path, first)
    return Assets(
        os.path.realpath(folder),
        optional_text(path, section, "binding", "assets: "),
        choice(path, section, "html_handling", HTML, "assets: "),
        choice(path, section, "not_found_handling", NOT_FOUND, "assets: "),
        first,
    )


def _check_rules(path: str, rules: tuple[str, ...]) -> None:
    for rule in rules:
        if not rule.removeprefix("!").startswith("/"):
            raise ConfigError(f"{path}: assets: run_worker_first: '{rule}' must begin with / or !/")
    if rules and all(rule.startswith("!") for rule in rules):
        raise ConfigError(f"{path}: assets: run_worker_first has exceptions only", hint="name what they are taken from")
    if len(rules) > _RULES_MAX:
        raise ConfigError(f"{path}: assets: run_worker_first has {len(rules)} entries, the limit is {_RULES_MAX}")
