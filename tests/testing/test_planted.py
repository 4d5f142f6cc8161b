"""The planted bugs: a simulation finds each within its seeds, and leaves the repaired twins alone."""

from __future__ import annotations

import importlib.util
import os

import pytest
from perdure.testing import Simulation
from perdure.testing.simulation import SEEDS

FOLDER = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../examples/planted"))


def _checks():
    spec = importlib.util.spec_from_file_location("planted_checks_of_the_kit", f"{FOLDER}/checks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CHECKS


CHECKS = _checks()


def simulation(name: str, twin: str) -> Simulation:
    return Simulation(CHECKS[name], f"{FOLDER}/{name}/{twin}.py", shards=2)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", CHECKS)
def test_the_bug_is_found(name):
    simulated = simulation(name, "buggy")
    found = next((run for seed in range(SEEDS) if (run := simulated.run(seed)).error is not None), None)
    assert found is not None, f"not found in {SEEDS} seeds"
    assert isinstance(found.error, AssertionError), found.story
    assert simulated.run(found.seed).digest == found.digest


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", CHECKS)
def test_the_repair_holds(name):
    simulated = simulation(name, "fixed")
    failed = [run for seed in range(SEEDS) if (run := simulated.run(seed)).error is not None]
    assert [(run.seed, run.error, print(run.story)) for run in failed[:1]] == []
