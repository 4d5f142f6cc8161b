"""Class migrations of a deployment, carried out: what Meta remembers, and how a new configuration is let in.

`prepare` is called before processes of a new configuration start, at the start and at a reload. What always holds: the new state
is one value of Meta, written when everything about the steps has been checked, the program's code included; until then, and
when it fails, everything is as it was.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import cast

from ..engine.errors import ConfigError, PerdureError, from_wire
from ..router.control import Message
from ..sdk.class_exports import called_now, plan_exports
from ..sdk.class_migrations import NOTHING, Deployed, pending, plan, unique_key, without
from ..sdk.config import Config
from ..sdk.program import configuration, described
from ..sdk.programs import check_together
from .children import held_back
from .interfaces import Meta

KEY = "class_migrations"
"""In Meta: program name → what is deployed of it."""
IMPORT_S_MAX = 120.0
Exported = Callable[[str, str | None, Message], Awaitable[frozenset[str]]]
"""(program, environment, deployments) → the classes of its main module. Raises ConfigError."""


class ClassMigrations:
    """Of one data folder; the supervisor has it."""

    def __init__(
        self,
        meta: Meta,
        report: Callable[[str, str, dict[str, object]], None],
        exported: Exported | None = None,
        check: Callable[[Config], None] = lambda _: None,
    ) -> None:
        """`check`: raises ConfigError for a configuration that cannot be served for reasons of others."""
        self._meta = meta
        self._report = report
        self._exported = exported or import_apart
        self._check = check
        self._done: dict[tuple[str, str], set[int]] = {}
        """(program, class key) → shards that have nothing of it any more."""

    def _read(self) -> tuple[bytes | None, dict[str, Deployed]]:
        raw = self._meta.get(KEY)
        found = cast("dict[str, dict[str, object]]", json.loads(raw)) if raw else {}
        return raw, {name: Deployed.from_wire(fields) for name, fields in found.items()}

    def _write(self, before: bytes | None, deployments: dict[str, Deployed]) -> None:
        wire = {name: deployed.to_wire() for name, deployed in sorted(deployments.items())}
        if not self._meta.compare_and_set(KEY, before, json.dumps(wire).encode()):
            raise PerdureError("the class migrations were changed by somebody else meanwhile", hint="start again")

    def to_wire(self) -> Message:
        """For the start message of a process: program name → what is deployed."""
        return {name: deployed.to_wire() for name, deployed in self._read()[1].items()}

    async def prepare_all(self, programs: Sequence[str], env_name: str | None) -> list[Config]:
        """The same for programs that are served beside each other: theirs, in order. Raises ConfigError."""
        deployments = self._read()[1]
        found = [(path, described(path, env_name, deployments)) for path in programs]
        check_together([config for _, config in found])
        for _, config in found:  # all of them before anything of one is written
            self._check(config)
        ready: dict[str, Config] = {}
        order = sorted(found, key=lambda each: not _takes_over(each[1]))  # sources change before they are looked at
        for path, config in [*order, *(each for each in order if _expects(each[1]))]:  # what was promised meanwhile
            bound = {
                called_now(binding.class_name, config.steps, config.exports, config.deployed.keys)
                for _, other in found
                for binding in other.bindings
                if binding.program == config.name and other is not config
            }
            prepared = await self.prepare(path, env_name, bound_elsewhere=bound)
            ready[path] = config if prepared is None else prepared
        return [ready[path] for path in programs]

    async def prepare(
        self, program: str, env_name: str | None, *, bound_elsewhere: Collection[str] = ()
    ) -> Config | None:
        """Check a configuration and apply what is pending of it; it, or None for a plain Python file. Raises ConfigError.

        `bound_elsewhere`: its classes that bindings of other programs name.
        """
        before, deployments = self._read()
        settings = configuration(program, env_name, deployments)
        if settings is None:
            return None
        deployed = deployments.get(settings.name, NOTHING)
        others = {name: each for name, each in deployments.items() if name != settings.name}
        if settings.exports is not None:
            changed = await self._by_exports(settings, program, env_name, deployed, others, bound_elsewhere)
        else:
            changed = await self._by_steps(settings, program, env_name, deployed, others, bound_elsewhere)
        if changed is None:
            return settings
        after = {**others, settings.name: changed}
        self._write(before, after)
        return configuration(program, env_name, after)

    async def _by_steps(
        self,
        settings: Config,
        program: str,
        env_name: str | None,
        deployed: Deployed,
        others: dict[str, Deployed],
        bound_elsewhere: Collection[str],
    ) -> Deployed | None:
        """What the pending migrations make of it; None: there are none."""
        steps = pending(deployed, settings.steps, settings.path)
        if not steps:
            return None
        exported = await self._exported(program, env_name, self.to_wire())
        bound = [binding.class_name for binding in settings.bindings if binding.program is None]
        after = plan(
            deployed,
            settings.steps,
            where=settings.path,
            bound=[*bound, *bound_elsewhere],
            exported=exported,
            name=settings.name,
            others=others,
        )
        for step in steps:
            self._report(
                "info",
                "migration_applied",
                {
                    "program": settings.name,
                    "tag": step.tag,
                    "new": [*step.new, *step.new_sqlite],
                    "renamed": [f"{old} -> {new}" for old, new in step.renamed],
                    "deleted": list(step.deleted),
                    "transferred": [f"{old} of {source} -> {new}" for old, source, new in step.transferred],
                },
            )
        return after

    async def _by_exports(
        self,
        settings: Config,
        program: str,
        env_name: str | None,
        deployed: Deployed,
        others: dict[str, Deployed],
        bound_elsewhere: Collection[str],
    ) -> Deployed | None:
        """What the map of classes makes of it; None: nothing changes."""
        assert settings.exports is not None, "asked for by those that have it"
        exported = await self._exported(program, env_name, self.to_wire())
        outcome = plan_exports(
            deployed,
            settings.exports,
            where=settings.path,
            name=settings.name,
            exported=exported,
            others=others,
            bound_elsewhere=bound_elsewhere,
        )
        fields: dict[str, object] = {"program": settings.name, "done": list(outcome.done), "notes": list(outcome.notes)}
        if outcome.done or outcome.notes:
            self._report("info", "exports_applied", fields)
        return outcome.deployed if outcome.deployed != deployed else None

    def removed(self, class_key: str, shard: int, shards: int) -> None:
        """A shard has nothing left of a deleted class; when no shard has, that is remembered."""
        before, deployments = self._read()
        for name, deployed in deployments.items():
            for key_name in deployed.removing:
                if class_key != unique_key(name, key_name):
                    continue
                done = self._done.setdefault((name, class_key), set())
                done.add(shard)
                if len(done) == shards:
                    self._write(before, {**deployments, name: without(deployed, key_name)})
                    self._report("info", "class_deleted", {"class_key": class_key})
                return


def _takes_over(config: Config) -> bool:
    """Whether it may take classes of another program."""
    return any(step.transferred for step in config.steps)


def _expects(config: Config) -> bool:
    """Whether a class of another program is to come to it."""
    return any(entry.state == "expecting-transfer" for entry in (config.exports or {}).values())


async def import_apart(program: str, env_name: str | None, deployments: Message) -> frozenset[str]:
    """Import the program in a process of its own, which ends then. Raises ConfigError when it cannot be imported."""
    request = json.dumps({"program": program, "env_name": env_name, "deployments": deployments})
    with held_back():
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "perdure.sdk.import_apart",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=os.environ.copy(),
        )
    try:
        out, _ = await asyncio.wait_for(process.communicate(request.encode()), IMPORT_S_MAX)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise ConfigError(f"the program {program} is not imported after {IMPORT_S_MAX:.0f} s") from None
    try:
        answer = cast("Message", json.loads(out))
    except ValueError as error:
        if process.returncode == -signal.SIGINT:
            raise ConfigError(f"interrupted while {program} was imported") from None
        raise ConfigError(
            f"the process that imports {program} ended with code {process.returncode} and said nothing",
            hint="its messages are above",
        ) from error
    if "error" in answer:
        raise from_wire(cast("dict[str, object]", answer["error"]))
    return frozenset(cast("list[str]", answer["exported"]))
