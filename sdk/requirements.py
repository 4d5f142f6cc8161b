"""What a program needs beside perdure: `pyproject.toml` or `requirements.txt` beside its configuration (spec: config).

What always holds: nothing is installed or imported here; what only the reference's own tools need is left out.
"""

from __future__ import annotations

import importlib.metadata
import os
import tomllib
from collections.abc import Iterable
from typing import cast

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ..engine.errors import ConfigError

_OF_THE_REFERENCE = frozenset({"workers-py", "workers-runtime-sdk", "pyodide-py", "webtypy", "perdure"})


def required(program: str) -> list[Requirement]:
    """The requirements of a program (a folder or a file) that count on this machine. Raises ConfigError."""
    folder = program if os.path.isdir(program) else os.path.dirname(os.path.abspath(program))
    for name, read in (("pyproject.toml", _of_project), ("requirements.txt", _of_lines)):
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            found = [_parsed(path, text) for text in read(path)]
            return [
                each
                for each in found
                if canonicalize_name(each.name) not in _OF_THE_REFERENCE
                and (each.marker is None or each.marker.evaluate())
            ]
    return []


def missing(requirements: Iterable[Requirement]) -> list[Requirement]:
    """Those that are not installed, or in another version."""
    found: list[Requirement] = []
    for each in requirements:
        try:
            version = importlib.metadata.version(each.name)
        except importlib.metadata.PackageNotFoundError:
            found.append(each)
            continue
        if each.url is None and not each.specifier.contains(version, prereleases=True):
            found.append(each)
    return found


def _of_project(path: str) -> list[str]:
    try:
        with open(path, "rb") as file:
            found = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    project = found.get("project")
    listed = cast("dict[str, object]", project).get("dependencies") if isinstance(project, dict) else None
    if listed is None:
        return []
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in cast("list[object]", listed)):
        raise ConfigError(f"{path}: project.dependencies must be a list of texts")
    return cast("list[str]", listed)


def _of_lines(path: str) -> list[str]:
    """Its plain lines; options of pip and local paths are left to pip."""
    with open(path, encoding="utf-8") as file:
        lines = [line.split(" #", 1)[0].strip() for line in file]
    return [line for line in lines if line and not line.startswith(("#", "-", ".", "/"))]


def _parsed(path: str, text: str) -> Requirement:
    try:
        return Requirement(text)
    except InvalidRequirement as error:
        raise ConfigError(f"{path}: {text!r} is no requirement: {error}") from error
