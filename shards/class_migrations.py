"""Class migrations of a deployment, carried out: what Meta remembers, and how a new configuration is let in.

`prepare` is called before processes of a new configuration start, at the start and at a reload. What always holds: the new state
is one value of Meta, written when everything about the steps has been checked, the program's code included; until then, and
when it fails, everything is as it was.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from typing import cast

from ..engine.errors import ConfigError, PerdureError, from_wire
from ..router.control import Message
from ..sdk.class_migrations import NOTHING, Deployed, pending, plan, without
from ..sdk.config import Config
from ..sdk.program import configuration
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
    ) -> None:
        self._meta = meta
        self._report = report
        self._exported = exported or import_apart
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

    async def prepare(self, program: str, env_name: str | None) -> Config | None:
        """Check a configuration and apply its pending steps; it, or None for a plain Python file. Raises ConfigError."""
        before, deployments = self._read()
        settings = configuration(program, env_name, deployments)
        if settings is None:
            return None
        deployed = deployments.get(settings.name, NOTHING)
        steps = pending(deployed, settings.steps, settings.path)
        if not steps:
            return settings
        exported = await self._exported(program, env_name, self.to_wire())
        bound = [binding.class_name for binding in settings.bindings]
        after = plan(deployed, settings.steps, where=settings.path, bound=bound, exported=exported)
        self._write(before, {**deployments, settings.name: after})
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
                },
            )
        return configuration(program, env_name, {settings.name: after})

    def removed(self, class_key: str, shard: int, shards: int) -> None:
        """A shard has nothing left of a deleted class; when no shard has, that is remembered."""
        before, deployments = self._read()
        for name, deployed in deployments.items():
            for key_name in deployed.removing:
                if class_key != f"{name}-{key_name}":
                    continue
                done = self._done.setdefault((name, class_key), set())
                done.add(shard)
                if len(done) == shards:
                    self._write(before, {**deployments, name: without(deployed, key_name)})
                    self._report("info", "class_deleted", {"class_key": class_key})
                return


async def import_apart(program: str, env_name: str | None, deployments: Message) -> frozenset[str]:
    """Import the program in a process of its own, which ends then. Raises ConfigError when it cannot be imported."""
    request = json.dumps({"program": program, "env_name": env_name, "deployments": deployments})
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
        raise ConfigError(
            f"the process that imports {program} ended with code {process.returncode} and said nothing",
            hint="its messages are above",
        ) from error
    if "error" in answer:
        raise from_wire(cast("dict[str, object]", answer["error"]))
    return frozenset(cast("list[str]", answer["exported"]))
