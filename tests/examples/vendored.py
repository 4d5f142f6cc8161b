"""The files from npm that the pages of examples import: fetched once for all tests, pinned (scripts/vendor)."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

import pytest

from .stage import EXAMPLES

OUT_OF_REACH = 3


@functools.cache
def fetched(example: str) -> tuple[int, str]:
    script = f"{os.path.dirname(EXAMPLES)}/scripts/vendor"
    done = subprocess.run(
        [sys.executable, script, f"{EXAMPLES}/{example}"], capture_output=True, text=True, timeout=300, check=False
    )
    return done.returncode, done.stderr


def vendored(example: str) -> str:
    """The example's folder, with its files from npm. Skips, and names them, where npm is out of reach."""
    code, said = fetched(example)
    if code == OUT_OF_REACH:
        pytest.skip(said.strip())
    assert code == 0, said
    return f"{EXAMPLES}/{example}"
