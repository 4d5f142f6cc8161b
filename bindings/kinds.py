"""The kinds of bindings beside objects, and what is made of them: a program's `env`, and the classes that shards host for them.

A new kind is a file with a class like `Kind`, and a line in KINDS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ..engine.class_runtime import ClassRuntime
from ..engine.durable import DurableObject
from ..engine.errors import ConfigError
from ..sdk.adapter import SdkHttp
from ..sdk.binding_names import bound_names
from ..sdk.compatibility import ASSETS_FOR_NAVIGATION, applies
from ..sdk.config import Config
from ..sdk.doors import DEFAULT, check_consumer
from ..sdk.env import Env
from ..sdk.program import Program
from ..sdk.programs import Programs
from ..sdk.service import Exports, Service, Target
from .ai import AiModels, where_models_are
from .assets import AssetFiles, AssetsBinding
from .d1 import D1Databases
from .kv import KvNamespaces
from .queues import Queues
from .r2 import R2Buckets
from .rate_limits import RateLimits, UnsafeRateLimits
from .services import InProcessCalls
from .surroundings import Surroundings
from .system_classes import key_of


class Kind(Protocol):
    """One kind: reads its section of the configuration (`config.sections[self.section]`), and makes what it declares."""

    section: str
    """Key of the configuration: `kv_namespaces`."""
    classes: Mapping[str, type[DurableObject]]
    """System classes by name (`kv`); their objects have the shard's Surroundings as `env`."""

    def check(self, config: Config) -> None:
        """Raises ConfigError for a section that says what cannot be; called before anything starts."""
        ...

    def bind(self, config: Config, around: Surroundings) -> dict[str, object]:
        """Name in `env` → what the program uses."""
        ...


KINDS: tuple[Kind, ...] = (
    KvNamespaces(),
    RateLimits(),
    UnsafeRateLimits(),
    D1Databases(),
    Queues(),
    R2Buckets(),
    AiModels(),
)


def check(config: Config) -> None:
    """Raises ConfigError: a section is wrong, nothing here serves it, or a name in `env` is given twice."""
    known = {kind.section for kind in KINDS}
    for section in config.sections:
        if section not in known:
            raise ConfigError(f"{config.path}: '{section}' cannot be served by this version of perdure")
    for kind in KINDS:
        if kind.section in config.sections:
            kind.check(config)
    taken = set(config.vars)
    for name in bound_names(config):
        if name in taken:
            raise ConfigError(f"{config.path}: two bindings or variables are named {name}", hint="rename one of them")
        taken.add(name)


def check_served(config: Config, settings: Mapping[str, object]) -> None:
    """The same with what the operator says (`binding_settings` of a process): all that can be known before the code is there."""
    check(config)
    if AiModels.section in config.sections:
        where_models_are(config, settings)


def environments(programs: Programs, around: Surroundings) -> dict[str, Env]:
    """Program name → its `env`. The programs' Workers and files are in `around` then. Raises ConfigError."""
    calls = InProcessCalls(around)
    if around.link is not None:
        around.link[0].exports.services = calls
    found: dict[str, Env] = {}
    for program in programs.all:
        env = found[program.name] = Env(_values(programs, program, around, calls))
        doors = around.doors[program.name] = program.doors(env)
        doors.exports = _exports(program, around, calls, doors.names)
        _check_consumers(program, around)
    return found


def _values(programs: Programs, program: Program, around: Surroundings, calls: InProcessCalls) -> dict[str, object]:
    """What a program's `env` holds."""
    config = program.config
    check(config)
    bound: list[tuple[str, object]] = [
        (binding.name, programs.get(binding.program or program.name).namespace(binding.class_name, around.transport))
        for binding in config.bindings
    ]
    bound += [
        (each.name, Service(Target(each.program, each.entrypoint, each.props), calls)) for each in config.services
    ]
    files = _asset_files(config)
    if files is not None:
        around.assets[program.name] = files
    if files is not None and config.assets is not None and config.assets.binding is not None:
        bound.append((config.assets.binding, AssetsBinding(files)))
    for kind in KINDS:
        if kind.section in config.sections:
            bound += kind.bind(config, around).items()
    return {**config.vars, **dict(bound)}


def _check_consumers(program: Program, around: Surroundings) -> None:
    queues = [queue for queue, consumer in around.consumers.items() if consumer.program == program.name]
    check_consumer(program.config.path, queues, around.doors[program.name])


def _asset_files(config: Config) -> AssetFiles | None:
    """The files that are served beside a program's Worker."""
    if config.assets is None:
        return None
    prefers = applies(ASSETS_FOR_NAVIGATION, config.compatibility_date, config.compatibility_flags)
    return AssetFiles(config.assets, prefers_navigation=prefers)


def _exports(program: Program, around: Surroundings, calls: InProcessCalls, entrypoints: Sequence[str]) -> Exports:
    """`ctx.exports` of a program."""
    found: dict[str, object] = {name: program.namespace(name, around.transport) for name in program.classes}
    found |= {name: Service(Target(program.name, name), calls) for name in entrypoints}
    if DEFAULT in found:
        found["default"] = found[DEFAULT]
    return Exports(found)


def runtimes(programs: Programs, around: Surroundings) -> dict[str, ClassRuntime]:
    """Class key → how a shard runs the class: the programs' and those of bindings."""
    envs = environments(programs, around)
    found: dict[str, ClassRuntime] = {}
    for program in programs.all:
        found |= program.runtimes(envs[program.name], around.doors[program.name].exports)
    for kind in KINDS:
        for name, cls in kind.classes.items():
            key = key_of(name)
            found[key.unique] = ClassRuntime(key, key.unique, cls, around, SdkHttp())
    return found
