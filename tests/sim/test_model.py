"""Stories of a shard beside a model: every read, every recovery and every restore is what the model says."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy
from perdure.engine.errors import PerdureError
from perdure.engine.kv import KeyValues
from perdure.engine.object_storage import ObjectStorage
from perdure.shards.history import History
from perdure.shards.log import SessionLog

from .story import Session, crowds, play, stories

QUICK, LONG, TWIN = 100, 400, 1_500
"""Stories: here, in each block of the long profile, and at most for a broken twin."""


def tell(folder: str, count: int, number: int | None = None) -> None:
    """Play that many stories, always the same ones; those of block `number` are others. A failing one is shrunk and shown."""

    def agree(story: list[Session]) -> None:
        play(story, folder)

    told = given(stories)(agree)
    if number is not None:
        told = seed(number)(told)
    settings(
        max_examples=count,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=number is None,
        database=None,
        report_multiple_bugs=False,
    )(told)()


@pytest.fixture
def folder() -> Iterator[str]:
    """In memory where that can be: the power is cut on the simulated disk, a real one would only cost time."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as made:
        yield f"{made}/data"


@pytest.mark.slow
def test_stories_and_the_model_agree(folder: str) -> None:
    tell(folder, QUICK)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("block", range(24))
def test_long(folder: str, block: int) -> None:
    tell(folder, LONG, block)


# ---------------------------------------------------------------------- what the model must catch
def caught(folder: str, told: SearchStrategy[list[Session]] = stories) -> bool:
    """Whether some story of those shows that the build is broken; without shrinking it."""

    @settings(
        max_examples=TWIN,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
    )
    @given(told)
    def agree(story: list[Session]) -> None:
        play(story, folder)

    try:
        agree()
    except (AssertionError, PerdureError):
        return True
    return False


def test_twin_whose_cache_survives_a_rollback_is_caught(folder: str, monkeypatch) -> None:
    monkeypatch.setattr(KeyValues, "forget", lambda self: None)
    assert caught(folder, crowds)


def test_twin_that_does_not_undo_a_turn_is_caught(folder: str, monkeypatch) -> None:
    monkeypatch.setattr(KeyValues, "undo_turn", lambda self: self.undo.clear())
    assert caught(folder, crowds)


def test_twin_whose_alarm_is_not_in_the_transaction_is_caught(folder: str, monkeypatch) -> None:
    rollback = ObjectStorage._rollback

    def keeps_alarm(self: ObjectStorage, database) -> None:
        alarm = self.alarm.get()
        rollback(self, database)
        if self.alarm.get() != alarm:
            database.connection.execute("delete from _cf_METADATA where key = 'alarm'")
            if alarm is not None:
                database.connection.execute("insert into _cf_METADATA values('alarm', ?)", (alarm,))

    monkeypatch.setattr(ObjectStorage, "_rollback", keeps_alarm)
    assert caught(folder, crowds)


def test_twin_that_acknowledges_before_the_sync_is_caught(folder: str, monkeypatch) -> None:
    monkeypatch.setattr(SessionLog, "sync_device", lambda self: None)
    assert caught(folder)


def test_twin_that_restores_without_the_last_run_is_caught(folder: str, monkeypatch) -> None:
    until = History._runs_until
    monkeypatch.setattr(History, "_runs_until", lambda self, *where: list(until(self, *where))[:-1])
    assert caught(folder)
