"""A loaded program: its classes, its Worker, and what `env` holds.

program = load("examples/counter")
program.runtimes(env)            → class key → ClassRuntime, for a shard
program.doors(env)               → its Workers: the front door, and named entrypoints

What `env` holds beside objects and variables is put together by the package of the bindings.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType, TracebackType
from typing import TypeGuard, cast

from ..engine.blocking import let_workers_block
from ..engine.class_runtime import ClassRuntime
from ..engine.durable import DurableObject
from ..engine.errors import ConfigError
from ..engine.ids import ClassKey
from ..engine.stubs import Namespace, Transport
from ..engine.subrequests import Counting
from ..engine.web_socket import Behaviour
from . import aliases, config, django_cf, program_modules
from .adapter import SdkHttp, fetch_through
from .blocking import uses_run_sync
from .class_migrations import Deployed, check_exports, unique_key
from .compatibility import (
    AUTO_REPLY_TO_CLOSE,
    CLOSE_REASONS_BOUNDED,
    DELETE_ALL_DELETES_ALARM,
    ENHANCED_ERRORS,
    NO_GLOBAL_HANDLERS,
    PENDING_PREVENTS_EVICTION,
    Change,
    applies,
)
from .config import Binding, Config
from .doors import Doors, check_consumer, public_names
from .entrypoints import WorkerEntrypoint
from .env import RUNNING, Env
from .installed import use_packages
from .program_modules import ProgramModules, execute


@dataclass(frozen=True, slots=True)
class Program:
    """What was found in the main module and its configuration."""

    config: Config
    module: ModuleType
    classes: dict[str, type]
    """Class name → class, of those that objects can have."""
    modules: ProgramModules | None = None
    """Its modules, where it is served beside others; None: they are those of the process."""

    @property
    def name(self) -> str:
        return self.config.name

    def key(self, class_name: str) -> str:
        """The class's key: survives renames of the class, not of the program."""
        return unique_key(self.config.name, self.config.keys.get(class_name, class_name))

    def keys(self) -> dict[str, str]:
        """Class name → key."""
        return {name: self.key(name) for name in self.classes}

    @property
    def removing(self) -> list[str]:
        """Keys of classes that a migration has deleted, and whose objects may not all be gone yet."""
        return [unique_key(self.config.name, key_name) for key_name in self.config.deployed.removing]

    @property
    def blocking(self) -> bool:
        """Whether its code uses `run_sync`."""
        return uses_run_sync(self.config.main, self.classes.values(), whole_folder=bool(self.config.path))

    def named(self, class_name: str) -> str:
        """What a class that a binding names is called now: it may have been renamed."""
        return self.config.renamed.get(class_name, class_name)

    def namespace(self, class_name: str, transport: Transport) -> Namespace:
        """All objects of a class, reached through `transport`."""
        return Namespace(ClassKey(self.key(self.named(class_name))), transport, fetch_through)

    def runtimes(self, env: Env, exports: object = None) -> dict[str, ClassRuntime]:
        """Class key → how a shard runs the class. `exports`: what its objects find as `ctx.exports`."""
        http, blocking = SdkHttp(), self.blocking
        django_cf.adapt()
        settings, sockets = self.config, self.sockets

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
                sockets=sockets,
                subrequests_max=settings.subrequests_max,
                legacy_handler_names=self.legacy,
                exports=exports,
                blocking=blocking,
            )
            for name, cls in self.classes.items()
        }

    def doors(self, env: Env) -> Doors:
        """Its Workers. Raises ConfigError: two default entrypoints."""
        if self.blocking:
            let_workers_block()
        most = self.config.subrequests_max
        Counting.on = Counting.on or most > 0
        return Doors(self.name, self.module, env, legacy=self.legacy, sockets=self.sockets, subrequests_max=most)

    @property
    def sockets(self) -> Behaviour:
        """How its WebSockets close, by its compatibility date. Raises ConfigError."""
        date, flags = self.config.compatibility_date, self.config.compatibility_flags
        return Behaviour(applies(AUTO_REPLY_TO_CLOSE, date, flags), applies(CLOSE_REASONS_BOUNDED, date, flags))

    @property
    def entrypoints(self) -> list[str]:
        """Names of its Workers; `Default` among them when there is one."""
        return Doors(self.name, self.module, Env({}), legacy=self.legacy).names

    @property
    def legacy(self) -> bool:
        """Handlers carry `on_`, and may be functions of the module."""
        return not applies(NO_GLOBAL_HANDLERS, self.config.compatibility_date, self.config.compatibility_flags)


Deployments = Mapping[str, Deployed]
"""Program name → the migrations that are applied already."""


def configuration(path: str, env_name: str | None = None, deployments: Deployments | None = None) -> Config | None:
    """The configuration of a program, without importing it; None for a plain Python file. Raises ConfigError."""
    path = _find(path)
    return None if path.endswith(".py") else config.read(path, env_name, deployments)


def described(path: str, env_name: str | None = None, deployments: Deployments | None = None) -> Config:
    """The same; of a plain Python file its name only. Raises ConfigError."""
    found = configuration(path, env_name, deployments)
    return Config(_name_of(path), os.path.abspath(path)) if found is None else found


def _name_of(path: str) -> str:
    """The name of a program that is a plain Python file."""
    return os.path.splitext(os.path.basename(path))[0].replace("_", "-")


def exported_classes(path: str, env_name: str | None, deployments: Deployments) -> list[str]:
    """Import the program and say which classes its main module has. Raises ConfigError, also when its code lacks a handler."""
    aliases.install()
    use_packages()
    settings = configuration(path, env_name, deployments)
    if settings is None:
        return []
    module = _import(settings.main, settings.vars)
    legacy = not applies(NO_GLOBAL_HANDLERS, settings.compatibility_date, settings.compatibility_flags)
    check_consumer(settings.path, _consumed(settings), Doors(settings.name, module, Env({}), legacy=legacy))
    return sorted(_exported(module))


def _consumed(settings: Config) -> list[str]:
    """Names of the queues that the program consumes; what is wrong about them is said by their kind."""
    section = settings.sections.get("queues")
    found = cast("dict[str, object]", section).get("consumers") if isinstance(section, dict) else None
    items = cast("list[object]", found) if isinstance(found, list) else []
    return [str(cast("dict[str, object]", item).get("queue")) for item in items if isinstance(item, dict)]


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
    elif not os.path.exists(path):
        raise ConfigError(f"there is no program at {path}", hint="`perdure new NAME` makes one")
    return path


def load(
    path: str, env_name: str | None = None, deployments: Deployments | None = None, *, apart: bool = False
) -> Program:
    """The program in a folder with a wrangler file, in such a file, or in a Python file. Raises ConfigError.

    `apart`: others are served beside it, so its modules must be its own.
    """
    aliases.install()
    use_packages()
    path = _find(path)
    if not path.endswith(".py"):
        settings = config.read(path, env_name, deployments)
        modules = ProgramModules(settings.name, os.path.dirname(settings.main)) if apart and settings.main else None
        module = _import(settings.main, settings.vars, modules)
        return Program(settings, module, _bound(settings, module), modules)
    if env_name is not None:
        raise ConfigError("--env-name needs a wrangler file")
    name = _name_of(path)
    modules = ProgramModules(name, os.path.dirname(path)) if apart else None
    module = _import(path, {}, modules)
    classes = _declared(module)
    if not classes:
        raise ConfigError(
            f"{path} declares no class that objects could have", hint="declare `class Name(DurableObject)` in it"
        )
    bindings = tuple(Binding(name, name) for name in classes)
    return Program(Config(name, path, bindings, sqlite=frozenset(classes)), module, classes, modules)


@contextmanager
def importing(variables: Mapping[str, object]) -> Generator[None, None, None]:
    """Code that runs meanwhile finds these in `workers.env`."""
    running = RUNNING.set(Env(variables))
    try:
        yield
    finally:
        RUNNING.reset(running)


def _import(path: str, variables: Mapping[str, object], modules: ProgramModules | None = None) -> ModuleType:
    """The main module; an empty one without a path. `variables`: what it finds in `workers.env` meanwhile.

    Raises ConfigError.
    """
    if not path:
        return ModuleType("assets_only")
    folder, name = os.path.dirname(path), os.path.splitext(os.path.basename(path))[0]
    try:
        with importing(variables):
            return _main_module(path, folder, name) if modules is None else modules.load_main(path, name)
    except (Exception, SystemExit) as error:
        text = "".join(traceback.format_exception(type(error), error, _from_program(error))).strip()
        hint = "fix the program; what it imports must be installed in this environment"
        if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] == os.path.basename(folder):
            hint = f"drop the `{os.path.basename(folder)}.` prefix: the directory of main is on sys.path"
        raise ConfigError(f"the program {path} fails to import:\n{text}", hint=hint) from error


def _main_module(path: str, folder: str, name: str) -> ModuleType:
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "its name ends with .py"
    return execute(spec)


_IMPORTING = frozenset({__file__, program_modules.__file__})
"""Files of ours that stand between the caller and a program that is imported."""


def _from_program(error: BaseException) -> TracebackType | None:
    """The traceback without our own and importlib's frames."""
    found = error.__traceback__
    while found is not None and (
        found.tb_frame.f_code.co_filename in _IMPORTING or "importlib" in found.tb_frame.f_code.co_filename
    ):
        found = found.tb_next
    return found


def _bound(settings: Config, module: ModuleType) -> dict[str, type]:
    """The classes that bindings and migrations name."""
    bound = [binding.class_name for binding in settings.bindings if binding.program is None]
    exported = _exported(module)
    leaving = {name for name in settings.deployed.promised if name not in exported}
    keys = [name for name in settings.keys if name not in leaving]
    check_exports(keys, bound, exported, settings.path)
    return {name: exported[name] for name in dict.fromkeys([*bound, *keys])}


def _exported(module: ModuleType) -> dict[str, type]:
    """Classes that a binding may name, whatever their names: one that derives from nothing can be fetched."""
    found = {name: value for name, value in vars(module).items() if isinstance(value, type)}
    return {
        name: value
        for name, value in found.items()
        if value is not DurableObject and not issubclass(value, WorkerEntrypoint)
    }


def _is_of_objects(value: object) -> TypeGuard[type]:
    return isinstance(value, type) and issubclass(value, DurableObject) and value is not DurableObject


def _declared(module: ModuleType) -> dict[str, type]:
    """Public classes of the main module that derive from DurableObject; imported ones count."""
    found = {name: getattr(module, name, None) for name in public_names(module)}
    return {name: value for name, value in found.items() if _is_of_objects(value)}
