"""The command itself: what ends it before it has begun."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

INTERRUPTED = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
from perdure.cli.main import main
sys.argv = ["perdure", "--version"]
main()
print("went on")
"""


@pytest.mark.parametrize("name", ["perdure.cli.commands", "perdure.cli.run", "perdure.engine.errors"])
def test_an_interrupt_while_it_is_imported_ends_it_without_a_traceback(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED.format(name=name)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_without_one_it_goes_on() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED.format(name="nobody")], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("perdure, version")
