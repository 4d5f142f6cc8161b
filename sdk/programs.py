"""Programs that are served beside each other: the first answers HTTP, the others are reached through bindings.

What always holds: names of programs differ; what a binding names is there before anything starts; classes of the first go by
their names, those of the others by `<program>/<class>`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

from ..engine.errors import ConfigError
from .config import Config, ServiceBinding
from .doors import DEFAULT
from .program import Deployments, Program, load


@dataclass(frozen=True, slots=True)
class Programs:
    """In the order in which they were named."""

    all: tuple[Program, ...]

    def __post_init__(self) -> None:
        check_together([program.config for program in self.all])
        for program in self.all:
            for service in program.config.services:
                self._check_entrypoint(program, service)
            for binding in program.config.bindings:
                other = self.get(binding.program or program.name)
                if other.named(binding.class_name) not in other.classes:
                    raise ConfigError(
                        f"{program.config.path}: the binding {binding.name} is of a class {binding.class_name} that "
                        f"{other.name} does not have",
                        hint=f"it has: {', '.join(sorted(other.classes)) or 'none'}",
                    )

    def _check_entrypoint(self, program: Program, service: ServiceBinding) -> None:
        names = self.get(service.program).entrypoints
        if service.entrypoint is not None and service.entrypoint not in names:
            raise ConfigError(
                f"{program.config.path}: the service {service.name}: {service.program} has no entrypoint "
                f"'{service.entrypoint}'",
                hint=f"it has: {', '.join(names) or 'none'}; entrypoints derive from WorkerEntrypoint",
            )

    @property
    def first(self) -> Program:
        return self.all[0]

    def get(self, name: str) -> Program:
        """The program of that name, which there is."""
        return next(program for program in self.all if program.name == name)

    def spoken(self, program: Program) -> dict[str, str]:
        """Class name → how the class is called outside of its program."""
        prefix = "" if program is self.first else f"{program.name}/"
        return {name: f"{prefix}{name}" for name in program.classes}

    def keys(self) -> dict[str, str]:
        """Class name, as it is called → key."""
        return {called: program.key(name) for program in self.all for name, called in self.spoken(program).items()}

    @property
    def removing(self) -> list[str]:
        """Keys of classes that migrations have deleted, and whose objects may not all be gone yet."""
        return [key for program in self.all for key in program.removing]

    @property
    def warnings(self) -> list[str]:
        """Of the configurations, and what the code lacks that they ask for."""
        found = [warning for program in self.all for warning in program.config.warnings]
        settings = self.first.config
        if settings.path and settings.main and settings.assets is None and DEFAULT not in self.first.entrypoints:
            found.append(
                f"{settings.main}: nothing answers HTTP: declare `class Default(WorkerEntrypoint)`"
                f"{_instead(self.first.entrypoints)}"
            )
        return found + [
            f"{program.config.path}: triggers.crons: no `scheduled` is in {program.config.main}"
            for program in self.all
            if program.config.crons and not _has_scheduled(program)
        ]

    @property
    def modules(self) -> list[ModuleType]:
        """Their main modules."""
        return [program.module for program in self.all]


def _instead(entrypoints: Sequence[str]) -> str:
    return f"; it has {', '.join(entrypoints)}" if entrypoints else ""


def _has_scheduled(program: Program) -> bool:
    default = getattr(program.module, DEFAULT, program.module)
    return any(callable(getattr(default, name, None)) for name in ("scheduled", "on_scheduled"))


def check_together(configs: Sequence[Config]) -> None:
    """Raises ConfigError: two of one name, a binding to what is not served."""
    names = [config.name for config in configs]
    for config in configs:
        if names.count(config.name) > 1:
            raise ConfigError(
                f"two programs are named '{config.name}'",
                hint="their `name` makes the keys of their classes: change one",
            )
        wanted = [(f"the service {each.name}", each.program) for each in config.services]
        wanted += [(f"the binding {each.name}", each.program) for each in config.bindings if each.program is not None]
        for what, name in wanted:
            if name not in names:
                raise ConfigError(
                    f"{config.path}: {what} is of the program '{name}', which is not served",
                    hint=f"serve it too: perdure run {config.path or config.main} PATH_OF_{name}; "
                    f"served: {', '.join(names)}",
                )


def load_programs(
    paths: Sequence[str], env_name: str | None = None, deployments: Deployments | None = None
) -> Programs:
    """The programs in folders or files, imported. Raises ConfigError."""
    apart = len(paths) > 1
    return Programs(tuple(load(path, env_name, deployments, apart=apart) for path in paths))
