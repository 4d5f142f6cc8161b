"""The kinds of bindings beside objects, and what is made of them: a program's `env`, and the classes that shards host for them.

A new kind is a file with a class like `Kind`, and a line in KINDS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ..engine.class_runtime import ClassRuntime
from ..engine.durable import DurableObject
from ..engine.errors import ConfigError
from ..sdk.adapter import SdkHttp
from ..sdk.config import Config
from ..sdk.env import Env
from ..sdk.program import Program
from .d1 import D1Databases
from .kv import KvNamespaces
from .rate_limits import RateLimits, UnsafeRateLimits
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


KINDS: tuple[Kind, ...] = (KvNamespaces(), RateLimits(), UnsafeRateLimits(), D1Databases())


def check(config: Config) -> None:
    """Raises ConfigError: a section is wrong, or two bindings have one name."""
    for kind in KINDS:
        kind.check(config)


def environment(program: Program, around: Surroundings) -> Env:
    """A program's `env`. Raises ConfigError."""
    config = program.config
    values = program.namespaces(around.transport)
    for kind in KINDS:
        if kind.section not in config.sections:
            continue
        for name, bound in kind.bind(config, around).items():
            if name in values:
                raise ConfigError(f"{config.path}: two bindings or variables are named {name}")
            values[name] = bound
    env = Env(values)
    worker = program.worker(env)
    if worker is not None:
        around.workers[program.name] = worker
    return env


def runtimes(program: Program, around: Surroundings) -> dict[str, ClassRuntime]:
    """Class key → how a shard runs the class: the program's and those of bindings."""
    found = program.runtimes(environment(program, around))
    for kind in KINDS:
        for name, cls in kind.classes.items():
            key = key_of(name)
            found[key.unique] = ClassRuntime(key, key.unique, cls, around, SdkHttp())
    return found
