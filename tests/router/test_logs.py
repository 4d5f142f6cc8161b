"""The log: a line an event, and what has several lines below it."""

from __future__ import annotations

import json

import pytest
import structlog
from perdure.router import logs

TRACEBACK = "Traceback (most recent call last):\n  File ...\nValueError: no\n"


@pytest.fixture(autouse=True)
def _as_it_was():
    yield
    structlog.reset_defaults()


def test_people_read_a_traceback_on_lines_of_its_own(capsys, monkeypatch) -> None:
    monkeypatch.delenv("PERDURE_LOG", raising=False)
    logs.configure()
    logs.reporter("shard 0")("warning", "alarm_failed", {"object": "Room/a", "traceback": TRACEBACK, "id": "ff"})
    first, *rest = capsys.readouterr().err.splitlines()
    assert "alarm_failed" in first
    assert "object=Room/a" in first
    assert "object_id=ff" in first
    assert "\n".join(rest).strip() == TRACEBACK.strip()


def test_machines_read_an_object_a_line(capsys, monkeypatch) -> None:
    monkeypatch.setenv("PERDURE_LOG", "json")
    logs.configure()
    logs.reporter("shard 0")("warning", "alarm_failed", {"traceback": TRACEBACK})
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["traceback"] == TRACEBACK
