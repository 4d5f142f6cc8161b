"""The programs that a process serves, as its start message names them. Apart from `process.py`: a keeper serves none."""

from __future__ import annotations

from typing import cast

from ..sdk.class_migrations import Deployed
from ..sdk.programs import Programs, load_programs
from .control import Message


def deployments_of(start: Message) -> dict[str, Deployed]:
    """Program name → which migrations are applied."""
    given = cast("dict[str, dict[str, object]]", start.get("deployments") or {})
    return {name: Deployed.from_wire(fields) for name, fields in given.items()}


def programs_of(start: Message) -> Programs:
    """The programs to serve, imported. Raises ConfigError."""
    paths = [cast("str", start["program"]), *cast("list[str]", start.get("beside") or [])]
    return load_programs(paths, cast("str | None", start["env_name"]), deployments_of(start))
