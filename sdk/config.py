"""Reading a program's configuration: wrangler.json, wrangler.jsonc, wrangler.toml (spec: config).

What always holds: unknown keys warn and do not fail; what is wrong is a ConfigError that names the file and the key.
"""

from __future__ import annotations

import datetime
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast

import json5

from ..engine.errors import ConfigError
from . import compatibility
from .asset_settings import Assets, read_assets
from .class_exports import ClassExports, plan_exports, read_exports, renames
from .class_migrations import NOTHING, Deployed, Step, check_bindings, plan, read_steps
from .config_keys import SECTIONS, check_keys, overlay
from .crons import Cron
from .secret_files import read_secrets
from .tables import Table, names, optional_text, table, tables, text

NAMES = ("wrangler.json", "wrangler.jsonc", "wrangler.toml")
CPU_MS_MAX = 300_000  # spec/limits.md
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True, slots=True)
class Binding:
    """A name in `env` for the objects of a class."""

    name: str
    class_name: str
    program: str | None = None
    """Of another program that is served beside this one; None: it is this one's class."""


@dataclass(frozen=True, slots=True)
class ServiceBinding:
    """A name in `env` for a Worker."""

    name: str
    program: str
    entrypoint: str | None = None
    """None: the default one."""
    props: object = None


@dataclass(frozen=True, slots=True)
class Config:
    """What the runtime uses of a configuration."""

    name: str
    main: str
    """Path of the main module; empty: the program has assets only."""
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
    subrequests_max: int = 0
    """Fetches and calls that one event may make; 0: they are not counted."""
    sections: Mapping[str, object] = field(default_factory=dict[str, object])
    """What the file says of bindings that are no objects (`kv_namespaces`, `queues`, …), for the package of the bindings."""
    services: tuple[ServiceBinding, ...] = ()
    assets: Assets | None = None
    """Files that are served beside the Worker."""
    exports: ClassExports | None = None
    """The classes as the newer key `exports` has them; None: there is none, `migrations` count."""
    renamed: Mapping[str, str] = field(default_factory=dict[str, str])
    """Class names of before → what they are now: bindings that still say them lead there."""


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
        found = overlay(path, found, _environment(path, found, env_name), env_name, warnings)
    warnings += check_keys(path, found)
    folder = os.path.dirname(os.path.abspath(path))
    name = text(path, found, "name")
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{path}: the name {name!r} is no good name", hint="letters, digits, and dashes")
    assets = read_assets(path, found)
    main = _main(path, folder, found, assets)
    bindings, variables = _bindings(path, found), {**_variables(path, found), **read_secrets(folder, env_name)}
    steps, exports = read_steps(path, found), read_exports(path, found)
    bound = [binding.class_name for binding in bindings if binding.program is None]
    deployed = _deployed(path, name, steps, exports, bound, deployments)
    keys, renamed = dict(deployed.keys), renames(steps, exports, deployed.keys)
    for index, binding in enumerate(bindings):
        if binding.program is None and binding.class_name in renamed:
            now = renamed[binding.class_name]
            warnings.append(f"{path}: class {binding.class_name} is {now} now; name that in the binding {binding.name}")
            bindings[index] = replace(binding, class_name=now)
    bound = [binding.class_name for binding in bindings if binding.program is None]
    for class_name in check_bindings(keys, bound, [*steps, *(exports or ())], path):
        keys[class_name] = class_name
        warnings.append(f"{path}: class {class_name} has no migration; add it to new_sqlite_classes to give it SQL")
    date = str(found.get("compatibility_date") or "")
    if date and not _DATE.fullmatch(date):
        raise ConfigError(f"{path}: compatibility_date must be yyyy-mm-dd, got {date!r}")
    flags = frozenset(names(path, found, "compatibility_flags", "flags"))
    compatibility.applies(compatibility.DELETE_ALL_DELETES_ALARM, date, flags)  # contradictions are found here
    warnings += [f"{path}: {each}" for each in compatibility.unknown(flags)]
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
        _crons(path, found, name),
        _limits(path, found),
        _subrequests(path, found),
        {key: found[key] for key in SECTIONS if found.get(key)},
        _services(path, found),
        assets,
        exports,
        renamed,
    )


def _parse(path: str) -> Table:
    try:
        with open(path, "rb") as file:
            data = file.read()
        found: object = tomllib.loads(data.decode()) if path.endswith(".toml") else json5.loads(data.decode())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        what = str(error).replace("<string>:", "line ", 1)  # as the parser of JSON calls a text
        raise ConfigError(f"{path} cannot be read: {what}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path} must hold an object")
    return cast("Table", found)


def _environment(path: str, found: Table, env_name: str) -> Table:
    environments = table(path, found.get("env"), "env")
    if env_name not in environments:
        raise ConfigError(
            f"{path} has no environment '{env_name}'", hint=f"it has: {', '.join(environments) or 'none'}"
        )
    return table(path, environments[env_name], f"env.{env_name}")


def _main(path: str, folder: str, found: Table, assets: Assets | None) -> str:
    """Path of the main module; empty for a program of assets only."""
    if found.get("main") is None and assets is not None:
        return ""
    given = text(path, found, "main")
    if not given.endswith(".py"):
        raise ConfigError(f"{path}: main '{given}' needs to end with a .py file extension")
    main = os.path.join(folder, given)
    if not os.path.isfile(main):
        raise ConfigError(f"{path}: main '{main}' does not exist")
    return main


def _variables(path: str, found: Table) -> Table:
    """`vars`, and `version_metadata`, which is one more."""
    given = table(path, found.get("vars"), "vars")
    metadata = table(path, found.get("version_metadata"), "version_metadata")
    if metadata:
        changed = datetime.datetime.fromtimestamp(os.stat(path).st_mtime, datetime.UTC)
        about = {"id": found.get("name"), "tag": "", "timestamp": changed.isoformat(timespec="milliseconds")}
        given = {**given, text(path, metadata, "binding", "version_metadata: "): about}
    return given


def _limits(path: str, found: Table) -> dict[str, int]:
    """`limits.cpu_ms`: the budget of one turn. Raises ConfigError."""
    cpu_ms = table(path, found.get("limits"), "limits").get("cpu_ms")
    if cpu_ms is None:
        return {}
    if not isinstance(cpu_ms, int) or isinstance(cpu_ms, bool) or not 1 <= cpu_ms <= CPU_MS_MAX:
        raise ConfigError(f"{path}: limits.cpu_ms must be a whole number from 1 to {CPU_MS_MAX}, got {cpu_ms!r}")
    return {"turn_ms_max": cpu_ms}


def _subrequests(path: str, found: Table) -> int:
    """`limits.subrequests`: fetches and calls of one event; 0 where it is not given. Raises ConfigError."""
    most = table(path, found.get("limits"), "limits").get("subrequests")
    if most is None:
        return 0
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        raise ConfigError(f"{path}: limits.subrequests must be a whole number above 0, got {most!r}")
    return most


def _elsewhere(item: Table, key: str) -> str | None:
    """The program that an entry names: `<name>-<environment>` where it names an environment."""
    program, environment = item.get(key), item.get("environment")
    return f"{program}-{environment}" if program and environment else cast("str | None", program)


def _bindings(path: str, found: Table) -> list[Binding]:
    section = table(path, found.get("durable_objects"), "durable_objects")
    bindings: list[Binding] = []
    for item in tables(path, section.get("bindings"), "durable_objects.bindings"):
        optional_text(path, item, "script_name", "durable_objects.bindings: ")
        program = _elsewhere(item, "script_name")
        where = "durable_objects.bindings: "
        name, class_name = text(path, item, "name", where), text(path, item, "class_name", where)
        bindings.append(Binding(name, class_name, None if program == found.get("name") else program))
    _check_unique(path, [binding.name for binding in bindings])
    return bindings


def _services(path: str, found: Table) -> tuple[ServiceBinding, ...]:
    services: list[ServiceBinding] = []
    for item in tables(path, found.get("services"), "services"):
        name = text(path, item, "binding", "services: ")
        text(path, item, "service", "services: ")
        props = item.get("props")
        if props is not None and not isinstance(props, dict):
            raise ConfigError(f"{path}: services: props of {name} must be a table")
        entrypoint = optional_text(path, item, "entrypoint", "services: ")
        services.append(
            ServiceBinding(name, cast("str", _elsewhere(item, "service")), entrypoint, cast("object", props))
        )
    _check_unique(path, [service.name for service in services])
    return tuple(services)


def _check_unique(path: str, given: list[str]) -> None:
    for name in given:
        if given.count(name) > 1:
            raise ConfigError(f"{path}: two bindings are named {name}")


def _crons(path: str, found: Table, program: str) -> tuple[Cron, ...]:
    """`triggers.crons`; one that stands there twice runs once."""
    section = table(path, found.get("triggers"), "triggers")
    texts = names(path, section, "crons", "cron expressions")
    try:
        return tuple(replace(Cron.parse(text), program=program) for text in dict.fromkeys(texts))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}", hint=error.hint) from error


def _deployed(
    path: str,
    name: str,
    steps: tuple[Step, ...],
    exports: ClassExports | None,
    bound: list[str],
    deployments: Mapping[str, Deployed] | None,
) -> Deployed:
    """What is deployed when the migrations, or the exports, are applied."""
    before = (deployments or {}).get(name, NOTHING)
    others = None if deployments is None else {other: each for other, each in deployments.items() if other != name}
    if exports is None:
        return plan(before, steps, where=path, bound=bound, name=name, others=others)
    if steps:
        raise ConfigError(
            f"{path}: 'migrations' and 'exports' exclude each other", hint="remove the migrations: exports say it all"
        )
    return plan_exports(before, exports, where=path, name=name, others=others).deployed
