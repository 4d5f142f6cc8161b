"""What the C library has free goes back to the system; what Python's allocator keeps does not."""

from __future__ import annotations

import subprocess
import sys

import pytest
from perdure.engine import freed
from perdure.engine.freed import give_back

_FREED = """
import os
from perdure.engine.freed import give_back
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 10
made = [bytes(50_000) + b"x" for _ in range(400)]
full = resident()
stays = made[-1]
del made
give_back()
print(full, resident())
"""


@pytest.mark.skipif(freed._trim() is None, reason="this C library gives nothing back")
def test_free_pages_below_one_that_is_used_go_back() -> None:
    done = subprocess.run([sys.executable, "-c", _FREED], capture_output=True, text=True, check=True)
    full, after = map(int, done.stdout.split())
    assert after < full - 15_000


def test_giving_back_does_nothing_where_it_cannot_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freed, "_trim", lambda: None)
    give_back()
