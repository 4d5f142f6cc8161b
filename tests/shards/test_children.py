"""How processes are started."""

from __future__ import annotations

import signal
import subprocess
import sys

from perdure.router.control import TERMINAL_SIGNALS
from perdure.shards.children import held_back

CHILD = """
import os, signal
os.kill(os.getpid(), signal.SIGINT)  # Ctrl-C while it imports
print("imported")
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
print("lives")
"""


def test_a_process_that_imports_is_not_met_by_signals_of_the_terminal() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    command = [sys.executable, "-c", CHILD]
    with held_back():
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) >= TERMINAL_SIGNALS
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
    said, complained = child.communicate(timeout=20)
    assert (child.returncode, said, complained) == (0, "imported\nlives\n", "")
