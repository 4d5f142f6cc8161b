"""The public package django-cf, unmodified; `django_cf_program.py` is what runs, in a process of its own."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys

import pytest

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "django_cf_program.py")


@pytest.mark.slow
def test_each_object_has_a_database_of_its_own() -> None:
    done = subprocess.run([sys.executable, PROGRAM], capture_output=True, text=True, timeout=55, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    old = importlib.metadata.version("django-cf").startswith("0.1.")  # these lose the request's cookies
    adds = [1, 1, 1, 1] if old else [1, 1, 2, 3]
    added = [("ann", True), ("ben", True), ("ann", False), ("cat", True)]
    assert told == [
        {"status": "success"},
        {"status": "success"},
        *({"name": name, "made": made, "adds": count} for (name, made), count in zip(added, adds, strict=True)),
        {"names": ["ann", "cat"]},
        {"names": ["ben"]},
    ]
