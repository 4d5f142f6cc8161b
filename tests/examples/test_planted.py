"""The planted bugs: missed by an ordinary test, met when order and crashes are left to chance; the repairs hold."""

from __future__ import annotations

import importlib.util
import os

import pytest
from perdure.engine.errors import PerdureError
from perdure.sdk.program import Program, load
from perdure.testing.virtual import run

from .planted_world import PlantedWorld

FOLDER = os.path.join(os.path.dirname(__file__), "../../examples/planted")
SEEDS = 40


def _checks():
    spec = importlib.util.spec_from_file_location("planted_checks", f"{FOLDER}/checks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CHECKS


CHECKS = _checks()


def holds(name: str, program: Program, folder: object, seed: int | None) -> bool:
    async def body() -> None:
        async with PlantedWorld(program, folder, seed) as world:
            await CHECKS[name](world)

    try:
        run(body())
    except AssertionError:
        return False
    return True


def test_each_folder_has_its_check_and_its_paragraph() -> None:
    folders = {entry.name for entry in os.scandir(FOLDER) if entry.is_dir() and entry.name != "__pycache__"}
    assert folders == set(CHECKS)
    assert len(folders) == 10
    with open(f"{FOLDER}/README.md") as file:
        text = file.read()
    for name in folders:
        assert f"## {name}\n" in text


@pytest.mark.parametrize("twin", ["buggy", "fixed"])
@pytest.mark.parametrize("name", CHECKS)
def test_an_ordinary_test_finds_nothing(name, twin, tmp_path) -> None:
    assert holds(name, load(f"{FOLDER}/{name}/{twin}.py"), tmp_path, None)


@pytest.mark.parametrize("name", CHECKS)
def test_chance_meets_the_bug(name, tmp_path) -> None:
    program = load(f"{FOLDER}/{name}/buggy.py")
    assert not all(holds(name, program, tmp_path / str(seed), seed) for seed in range(SEEDS))


@pytest.mark.parametrize("name", CHECKS)
def test_the_repair_holds_whatever_happens(name, tmp_path) -> None:
    program = load(f"{FOLDER}/{name}/fixed.py")
    failed = [seed for seed in range(SEEDS) if not holds(name, program, tmp_path / str(seed), seed)]
    assert failed == []


def test_a_retry_is_made_only_where_it_may_be() -> None:
    """The client of the checks: an error that is not retryable is raised at once."""
    tries: list[int] = []

    async def fail() -> None:
        tries.append(1)
        raise PerdureError("no", retryable=False)

    retried = CHECKS["seat"].__globals__["retried"]
    with pytest.raises(PerdureError):
        run(retried(fail))
    assert tries == [1]
