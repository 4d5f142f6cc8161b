"""Every name of the SDK is used by some program here, so that none can get lost unseen."""

from __future__ import annotations

import pathlib
import re

import pytest

from .names import SECTIONS
from .stage import PROGRAMS

SOURCES = {
    path.relative_to(PROGRAMS): path.read_text()
    for path in sorted(pathlib.Path(PROGRAMS).glob("*/src/**/*.py"))
    if "workflow" not in path.parts
}


def users(name: str) -> list[str]:
    """Programs whose code names it."""
    pattern = re.compile(rf"(?<![\w.]){re.escape(name)}\b" if "." in name else rf"\b{re.escape(name)}\b")
    return sorted({path.parts[0] for path, source in SOURCES.items() if pattern.search(_code(source))})


def _code(source: str) -> str:
    return re.sub(r"^\s*#.*$", "", source, flags=re.MULTILINE)


@pytest.mark.parametrize("section", SECTIONS)
def test_each_name_has_a_program(section: str) -> None:
    unused = [name for name in SECTIONS[section].split() if not users(name)]
    assert not unused


def test_a_name_that_nobody_uses_would_be_found() -> None:
    assert users("never_used_by_anyone") == []
    assert users("Object.fromEntries")
