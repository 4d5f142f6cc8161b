"""A loaded program: its classes, its Worker, and what `env` holds.

program = load("examples/counter")
program.runtimes(env)            → class key → ClassRuntime, for a shard
program.worker(env)              → the front door, for a gateway

What `env` holds beside objects and variables is put together by the package of the bindings.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType, TracebackType
from typing import cast

from ..engine.class_runtime import ClassRuntime
from ..engine.durable import DurableObject
from ..engine.errors import ConfigError
from ..engine.ids import ClassKey
from ..engine.stubs import Namespace, Transport
from . import aliases, config
from .adapter import SdkHttp, fetch_through
from .class_migrations import Deployed, check_exports
from .compatibility import (
    DELETE_ALL_DELETES_ALARM,
    ENHANCED_ERRORS,
    NO_GLOBAL_HANDLERS,
    PENDING_PREVENTS_EVICTION,
    Change,
    applies,
)
from .config import Binding, Config
from .entrypoints import ExecutionContext, WorkerEntrypoint
from .env import Env


@dataclass(frozen=True, slots=True)
class Program:
    """What was found in the main module and its configuration."""

    config: Config
    module: ModuleType
    classes: dict[str, type]
    """Class name → class, of those that objects can have."""

    @property
    def name(self) -> str:
        return self.config.name

    def key(self, class_name: str) -> str:
        """The class's key: survives renames of the class, not of the program."""
        return f"{self.config.name}-{self.config.keys.get(class_name, class_name)}"

    def keys(self) -> dict[str, str]:
        """Class name → key."""
        return {name: self.key(name) for name in self.classes}

    @property
    def removing(self) -> list[str]:
        """Keys of classes that a migration has deleted, and whose objects may not all be gone yet."""
        return [f"{self.config.name}-{key_name}" for key_name in self.config.deployed.removing]

    def namespaces(self, transport: Transport) -> dict[str, object]:
        """The bindings of objects, which are reached through `transport`, and the variables."""
        bindings = {
            binding.name: Namespace(ClassKey(self.key(binding.class_name)), transport, fetch_through)
            for binding in self.config.bindings
        }
        return {**self.config.vars, **bindings}

    def runtimes(self, env: Env) -> dict[str, ClassRuntime]:
        """Class key → how a shard runs the class."""
        http = SdkHttp()
        settings = self.config

        def asks_for(change: Change) -> bool:
            return applies(change, settings.compatibility_date, settings.compatibility_flags)

        return {
            self.key(name): ClassRuntime(
                ClassKey(self.key(name)),
                name,
                cls,
                env,
                http,
                name in settings.sqlite,
                delete_all_deletes_alarm=asks_for(DELETE_ALL_DELETES_ALARM),
                pending_prevents_eviction=asks_for(PENDING_PREVENTS_EVICTION),
                errors_keep_properties=asks_for(ENHANCED_ERRORS),
                legacy_handler_names=not asks_for(NO_GLOBAL_HANDLERS),
            )
            for name, cls in self.classes.items()
        }

    def worker(self, env: Env) -> Callable[[ExecutionContext], object] | None:
        """Makes the Worker for one request: `Default`. None when the program has no front door."""
        cls = getattr(self.module, "Default", None)
        if not isinstance(cls, type) or not issubclass(cls, WorkerEntrypoint):
            return None
        return lambda context: cls(context, env)


Deployments = Mapping[str, Deployed]
"""Program name → the migrations that are applied already."""


def configuration(path: str, env_name: str | None = None, deployments: Deployments | None = None) -> Config | None:
    """The configuration of a program, without importing it; None for a plain Python file. Raises ConfigError."""
    path = _find(path)
    return None if path.endswith(".py") else config.read(path, env_name, deployments)


def exported_classes(path: str, env_name: str | None, deployments: Deployments) -> list[str]:
    """Import the program and say which classes its main module has. Raises ConfigError."""
    aliases.install()
    settings = configuration(path, env_name, deployments)
    return [] if settings is None else sorted(_exported(_import(settings.main)))


def _find(path: str) -> str:
    path = os.path.abspath(path)
    if os.path.isdir(path):
        found = config.find(path)
        if found is None:
            raise ConfigError(
                f"{path} has no {', '.join(config.NAMES[:-1])} or {config.NAMES[-1]}",
                hint="name a Python file instead, or make a program with `perdure new NAME`",
            )
        path = found
    return path


def load(path: str, env_name: str | None = None, deployments: Deployments | None = None) -> Program:
    """The program in a folder with a wrangler file, in such a file, or in a Python file. Raises ConfigError."""
    aliases.install()
    path = _find(path)
    if not path.endswith(".py"):
        settings = config.read(path, env_name, deployments)
        module = _import(settings.main)
        return Program(settings, module, _bound(settings, module))
    if env_name is not None:
        raise ConfigError("--env-name needs a wrangler file")
    if not os.path.isfile(path):
        raise ConfigError(f"there is no program at {path}")
    module = _import(path)
    classes = _declared(module)
    if not classes:
        raise ConfigError(
            f"{path} declares no class that objects could have", hint="declare `class Name(DurableObject)` in it"
        )
    bindings = tuple(Binding(name, name) for name in classes)
    name = os.path.splitext(os.path.basename(path))[0].replace("_", "-")
    return Program(Config(name, path, bindings, sqlite=frozenset(classes)), module, classes)


def _import(path: str) -> ModuleType:
    folder, name = os.path.dirname(path), os.path.splitext(os.path.basename(path))[0]
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        text = "".join(traceback.format_exception(type(error), error, _from_program(error))).strip()
        hint = "fix the program; what it imports must be installed in this environment"
        if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] == os.path.basename(folder):
            hint = f"drop the `{os.path.basename(folder)}.` prefix: the directory of main is on sys.path"
        raise ConfigError(f"the program {path} fails to import:\n{text}", hint=hint) from error
    return module


def _from_program(error: BaseException) -> TracebackType | None:
    """The traceback without our own and importlib's frames."""
    found = error.__traceback__
    while found is not None and (
        found.tb_frame.f_code.co_filename == __file__ or "importlib" in found.tb_frame.f_code.co_filename
    ):
        found = found.tb_next
    return found


def _bound(settings: Config, module: ModuleType) -> dict[str, type]:
    """The classes that bindings and migrations name."""
    names = list(dict.fromkeys([b.class_name for b in settings.bindings] + list(settings.keys)))
    exported = _exported(module)
    check_exports(settings.keys, [b.class_name for b in settings.bindings], exported, settings.path)
    return {name: exported[name] for name in names}


def _exported(module: ModuleType) -> dict[str, type]:
    return {name: value for name, value in vars(module).items() if isinstance(value, type)}


def _declared(module: ModuleType) -> dict[str, type]:
    """Public classes of the main module that derive from DurableObject; imported ones count."""
    names = cast(
        "list[str]", getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    )
    found = {name: getattr(module, name, None) for name in names}
    return {
        name: value
        for name, value in found.items()
        if isinstance(value, type) and issubclass(value, DurableObject) and value is not DurableObject
    }
