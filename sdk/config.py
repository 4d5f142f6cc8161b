"""Reading a program's configuration: wrangler.json, wrangler.jsonc, wrangler.toml (spec: config).

What always holds: unknown keys warn and do not fail; what is wrong is a ConfigError that names the file and the key.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import json5

from ..engine.errors import ConfigError
from . import compatibility
from .class_migrations import NOTHING, Deployed, Step, check_bindings, plan
from .crons import Cron

NAMES = ("wrangler.json", "wrangler.jsonc", "wrangler.toml")
_KNOWN = frozenset(
    [
        "$schema",
        "name",
        "main",
        "compatibility_date",
        "compatibility_flags",
        "durable_objects",
        "migrations",
        "vars",
        "env",
        "observability",
        "logpush",
        "placement",
        "routes",
        "route",
        "workers_dev",
        "preview_urls",
        "build",
        "rules",
        "python_modules",
        "base_dir",
        "limits",
        "account_id",
        "triggers",
        "kv_namespaces",
        "d1_databases",
        "ratelimits",
        "unsafe",
    ]
)
SECTIONS = ("kv_namespaces", "d1_databases", "r2_buckets", "queues", "ratelimits", "ai", "unsafe")
"""What the package of the bindings reads."""
_LATER = frozenset(
    [
        "services",
        "r2_buckets",
        "queues",
        "workflows",
        "assets",
        "exports",
        "vectorize",
        "analytics_engine_datasets",
        "hyperdrive",
        "images",
        "ai",
        "version_metadata",
        "mtls_certificates",
        "worker_loaders",
    ]
)
_NOT_INHERITED = ("durable_objects", "vars", *SECTIONS)
CPU_MS_MAX = 300_000  # spec/limits.md
Table = dict[str, object]


@dataclass(frozen=True, slots=True)
class Binding:
    """A name in `env` for the objects of a class."""

    name: str
    class_name: str


@dataclass(frozen=True, slots=True)
class Config:
    """What the runtime uses of a configuration."""

    name: str
    main: str
    """Path of the main module."""
    bindings: tuple[Binding, ...] = ()
    vars: Mapping[str, object] = field(default_factory=dict[str, object])
    keys: Mapping[str, str] = field(default_factory=dict[str, str])
    """Class → the class name that its namespace was created under; they differ after a rename."""
    sqlite: frozenset[str] = frozenset()
    """Classes with SQL."""
    compatibility_date: str = ""
    compatibility_flags: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()
    path: str = ""
    """Of the configuration file; empty: there is none."""
    steps: tuple[Step, ...] = ()
    """Its migrations."""
    deployed: Deployed = NOTHING
    """What the deployment remembers when the steps are applied."""
    crons: tuple[Cron, ...] = ()
    """When the Worker's `scheduled` runs."""
    limits: Mapping[str, int] = field(default_factory=dict[str, int])
    """Bounds that the program sets itself, by their names here."""
    sections: Mapping[str, object] = field(default_factory=dict[str, object])
    """What the file says of bindings that are no objects (`kv_namespaces`, `queues`, …), for the package of the bindings."""


def find(folder: str) -> str | None:
    """The configuration file of a folder."""
    for name in NAMES:
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            return path
    return None


def read(path: str, env_name: str | None = None, deployments: Mapping[str, Deployed] | None = None) -> Config:
    """The configuration in a file. `deployments`: program name → what is deployed already. Raises ConfigError."""
    found = _parse(path)
    warnings: list[str] = []
    if env_name is not None:
        found = _overlay(path, found, env_name, warnings)
    for key in found:
        if key in _LATER:
            warnings.append(f"{path}: '{key}' is not supported by this version and is ignored")
        elif key not in _KNOWN:
            warnings.append(f"{path}: unknown key '{key}' is ignored")
    name, main = _text(path, found, "name"), _text(path, found, "main")
    if not main.endswith(".py"):
        raise ConfigError(f"{path}: main '{main}' needs to end with a .py file extension")
    main = os.path.join(os.path.dirname(os.path.abspath(path)), main)
    if not os.path.isfile(main):
        raise ConfigError(f"{path}: main '{main}' does not exist")
    bindings = _bindings(path, found)
    steps, bound = _steps(path, found), [binding.class_name for binding in bindings]
    before = (deployments or {}).get(name, NOTHING)
    deployed = plan(before, steps, where=path, bound=bound)
    keys = dict(deployed.keys)
    for class_name in check_bindings(keys, bound, steps, path):
        keys[class_name] = class_name
        warnings.append(f"{path}: class {class_name} has no migration; add it to new_sqlite_classes to give it SQL")
    given = found.get("vars") or {}
    if not isinstance(given, dict):
        raise ConfigError(f"{path}: vars must be a table")
    variables = {**cast("Table", given), **_secrets(os.path.dirname(os.path.abspath(path)), env_name)}
    date = str(found.get("compatibility_date") or "")
    flags = frozenset(_names(path, found, "compatibility_flags", "flags"))
    compatibility.applies(compatibility.DELETE_ALL_DELETES_ALARM, date, flags)  # contradictions are found here
    return Config(
        name,
        main,
        tuple(bindings),
        variables,
        keys,
        deployed.sqlite,
        date,
        flags,
        tuple(warnings),
        path,
        steps,
        deployed,
        _crons(path, found),
        _limits(path, found),
        {key: found[key] for key in SECTIONS if key in found},
    )


def _parse(path: str) -> Table:
    try:
        with open(path, "rb") as file:
            data = file.read()
        found: object = tomllib.loads(data.decode()) if path.endswith(".toml") else json5.loads(data.decode())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path} must hold an object")
    return cast("Table", found)


def _overlay(path: str, found: Table, env_name: str, warnings: list[str]) -> Table:
    environments = found.get("env") or {}
    if not isinstance(environments, dict) or env_name not in environments:
        known = ", ".join(cast("Table", environments)) if isinstance(environments, dict) else ""
        raise ConfigError(f"{path} has no environment '{env_name}'", hint=f"it has: {known or 'none'}")
    chosen = cast("Table", cast("Table", environments)[env_name])
    merged = {key: value for key, value in found.items() if key != "env"}
    for key in _NOT_INHERITED:
        if key in merged and key not in chosen:
            warnings.append(f"{path}: env.{env_name} does not repeat '{key}', so it has none")
        merged.pop(key, None)
    merged["name"] = f"{found.get('name', '')}-{env_name}"
    return {**merged, **chosen}


def _text(path: str, table: Table, key: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{path}: '{key}' is missing or no text")
    return value


def _limits(path: str, found: Table) -> dict[str, int]:
    """`limits.cpu_ms`: the budget of one turn. Raises ConfigError."""
    given = found.get("limits")
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise ConfigError(f"{path}: limits must be a table")
    cpu_ms = cast("Table", given).get("cpu_ms")
    if cpu_ms is None:
        return {}
    if not isinstance(cpu_ms, int) or isinstance(cpu_ms, bool) or not 1 <= cpu_ms <= CPU_MS_MAX:
        raise ConfigError(f"{path}: limits.cpu_ms must be a whole number from 1 to {CPU_MS_MAX}, got {cpu_ms!r}")
    return {"turn_ms_max": cpu_ms}


def _tables(path: str, value: object, what: str) -> list[Table]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in cast("list[object]", value)):
        raise ConfigError(f"{path}: {what} must be a list of tables")
    return cast("list[Table]", value)


def _bindings(path: str, found: Table) -> list[Binding]:
    section = found.get("durable_objects") or {}
    if not isinstance(section, dict):
        raise ConfigError(f"{path}: durable_objects must be a table")
    bindings: list[Binding] = []
    for item in _tables(path, cast("Table", section).get("bindings"), "durable_objects.bindings"):
        if item.get("script_name") not in (None, found.get("name")):
            raise ConfigError(
                f"{path}: binding {item.get('name')} is of another Worker ({item['script_name']})",
                hint="one program is served at a time",
            )
        bindings.append(Binding(_text(path, item, "name"), _text(path, item, "class_name")))
    names = [binding.name for binding in bindings]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{path}: two bindings are named {name}")
    return bindings


def _names(path: str, item: Table, key: str, what: str = "class names") -> list[str]:
    value = item.get(key) or []
    if not isinstance(value, list) or not all(isinstance(name, str) for name in cast("list[object]", value)):
        raise ConfigError(f"{path}: {key} must be a list of {what}")
    return cast("list[str]", value)


def _steps(path: str, found: Table) -> tuple[Step, ...]:
    """The migrations, as they are written."""
    steps: list[Step] = []
    for item in _tables(path, found.get("migrations"), "migrations"):
        if item.get("transferred_classes"):
            raise ConfigError(
                f"{path}: transferred_classes is not supported",
                hint="one program is served: copy objects with `perdure objects`",
            )
        pairs = _tables(path, item.get("renamed_classes"), "renamed_classes")
        steps.append(
            Step(
                _text(path, item, "tag"),
                tuple(_names(path, item, "new_classes")),
                tuple(_names(path, item, "new_sqlite_classes")),
                tuple((_text(path, pair, "from"), _text(path, pair, "to")) for pair in pairs),
                tuple(_names(path, item, "deleted_classes")),
            )
        )
    return tuple(steps)


def _crons(path: str, found: Table) -> tuple[Cron, ...]:
    """`triggers.crons`; one that stands there twice runs once."""
    section = found.get("triggers") or {}
    if not isinstance(section, dict):
        raise ConfigError(f"{path}: triggers must be a table")
    texts = _names(path, cast("Table", section), "crons", "cron expressions")
    try:
        return tuple(Cron.parse(text) for text in dict.fromkeys(texts))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}", hint=error.hint) from error


def _secrets(folder: str, env_name: str | None) -> dict[str, str]:
    """`.dev.vars` (or `.dev.vars.<env>`), else `.env`: NAME=value lines."""
    names = [f".dev.vars.{env_name}"] if env_name else []
    for name in [*names, ".dev.vars", ".env"]:
        path = os.path.join(folder, name)
        if not os.path.isfile(path):
            continue
        found: dict[str, str] = {}
        with open(path) as file:
            for line in file:
                text = line.strip()
                if text and not text.startswith("#") and "=" in text:
                    key, value = text.split("=", 1)
                    found[key.strip().removeprefix("export ").strip()] = value.strip().strip("\"'")
        return found
    return {}
