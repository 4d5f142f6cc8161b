"""What a world runs: a program from a folder, a file, a module, or a list of classes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import cast

from ..engine.durable import DurableObject
from ..engine.errors import ConfigError
from ..sdk import aliases
from ..sdk.config import Binding, Config
from ..sdk.entrypoints import WorkerEntrypoint
from ..sdk.program import Program, importing, load
from ..sdk.programs import Programs

Source = str | os.PathLike[str] | ModuleType | type | Iterable[type]


def loader(
    source: Source, env: Mapping[str, object] | None = None, beside: Sequence[Source] = ()
) -> Callable[[], Programs]:
    """A function that gives the programs. From a folder or file each call imports the main module anew, as a new process does.

    `env`: variables beside, or instead of, those of the configuration; of all. `beside`: further programs. Raises ConfigError.
    """
    aliases.install()
    given = dict(env or {})
    loads = [_loader(each, given, apart=bool(beside)) for each in (source, *beside)]
    return lambda: Programs(tuple(load() for load in loads))


def _loader(source: Source, given: Mapping[str, object], *, apart: bool) -> Callable[[], Program]:
    if isinstance(source, str | os.PathLike):
        return _Reloaded(os.fspath(source), given, apart=apart).load
    if isinstance(source, ModuleType):
        program = _of_module(source)
    else:
        program = _of_classes([source] if isinstance(source, type) else list(source))
    made = _with(program, given)
    return lambda: made


class _Reloaded:
    """A program of files: its main module is executed anew for each process, and compiled once."""

    def __init__(self, path: str, env: Mapping[str, object], *, apart: bool) -> None:
        self._path, self._env, self._apart = path, env, apart
        self._first: Program | None = None

    def load(self) -> Program:
        first = self._first
        if first is None:
            self._first = first = _with(load(self._path, apart=self._apart), self._env)
            if not first.config.main:
                return first
            with open(first.config.main, "rb") as file:
                self._code = compile(file.read(), first.config.main, "exec")
            return first
        if not first.config.main:
            return first
        module = ModuleType(first.module.__name__)
        module.__file__ = first.config.main
        sys.modules[module.__name__] = module
        if first.modules is not None:
            module.__dict__["__builtins__"] = first.modules.builtins
        with importing(first.config.vars):
            exec(self._code, module.__dict__)
        classes = {name: getattr(module, name) for name in first.classes}
        return Program(first.config, module, classes, first.modules)


def _with(program: Program, env: Mapping[str, object]) -> Program:
    if not env:
        return program
    return replace(program, config=replace(program.config, vars={**program.config.vars, **env}))


def declared(module: ModuleType) -> list[type]:
    """The classes of a module that objects can have, and its Worker."""
    found: list[type] = []
    for name, value in vars(module).items():
        if isinstance(value, type) and not name.startswith("_") and value not in found:
            if issubclass(value, DurableObject | WorkerEntrypoint) and value not in (DurableObject, WorkerEntrypoint):
                found.append(value)
    return found


def _of_module(module: ModuleType) -> Program:
    name = module.__name__.rsplit(".", 1)[-1].replace("_", "-")
    return _made(name, getattr(module, "__file__", None) or name, declared(module))


def _of_classes(classes: list[type]) -> Program:
    return _made("program", "program", classes)


def _made(name: str, path: str, found: list[type]) -> Program:
    classes = {cls.__name__: cls for cls in found if issubclass(cls, DurableObject)}
    workers = [cls for cls in found if issubclass(cls, WorkerEntrypoint)]
    if not classes:
        raise ConfigError(
            f"{path} declares no class that objects could have", hint="declare `class Name(DurableObject)` in it"
        )
    module = ModuleType(name)
    module.__dict__.update({cls.__name__: cls for cls in workers})
    if workers and "Default" not in module.__dict__:
        module.__dict__["Default"] = cast("object", workers[0])
    bindings = tuple(Binding(name, name) for name in classes)
    return Program(Config(name, path, bindings, sqlite=frozenset(classes)), module, classes)
