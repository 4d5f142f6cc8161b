"""Memory goes back to the system although a few things that stay lie anywhere in it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from perdure.engine.freed import give_back, interpreter_settings

_SCATTERED = """
import gc, os
from perdure.engine.freed import give_back
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 10
gc.collect()
give_back()
before = resident()
made = [[number] for number in range(200_000)]
peak = resident()
stays = made[::2_000]
del made
gc.collect()
give_back()
print(before, peak, resident())
"""
_needs_trim = pytest.mark.skipif(not interpreter_settings(), reason="this C library gives nothing back")


def resident_kib(settings: dict[str, str]) -> tuple[int, int, int]:
    """Of a process with small objects: before them, with all, with every 2,000th."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHONMALLOC", "MALLOC_"))
    }
    command = [sys.executable, "-c", _SCATTERED]
    done = subprocess.run(command, env={**environment, **settings}, capture_output=True, text=True, check=True)
    before, peak, after = map(int, done.stdout.split())
    return before, peak, after


@_needs_trim
def test_scattered_things_keep_little_memory() -> None:
    before, peak, after = resident_kib(interpreter_settings())
    assert peak > before + 15_000
    assert after < before + 3_000


@_needs_trim
def test_with_the_allocator_of_python_they_keep_nearly_all() -> None:
    """Why the settings are there."""
    before, peak, after = resident_kib({"PYTHONMALLOC": "pymalloc"})
    assert after - before > (peak - before) // 2


def test_giving_back_does_nothing_where_it_cannot_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.engine.freed._trim", lambda: None)
    give_back()
    assert interpreter_settings() == {}
