"""The log: a line an event, what is longer below it; and no process fails because its lines cannot be written."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog
from perdure.router.late_reports import late_reporter
from perdure.router.logs import configure, reporter

TRACEBACK = "Traceback (most recent call last):\n  File ...\nValueError: no\n"


class Full(io.StringIO):
    """A log on a disk that is full, for a while."""

    full = False

    def write(self, text: str, /) -> int:
        if self.full:
            raise OSError(28, "No space left on device")
        return super().write(text)


@pytest.fixture(autouse=True)
def _configured_as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def test_a_log_on_a_full_disk_stops_nobody_and_says_so_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Full()
    monkeypatch.setattr(sys, "stderr", stream)
    configure()
    report = reporter("shard 0")
    report("info", "one", {})
    stream.full = True
    report("error", "two", {})
    stream.full = False
    report("info", "three", {})
    report("info", "four", {})
    lines = stream.getvalue().splitlines()
    assert ["one" in lines[0], "could not be written" in lines[1], "three" in lines[2], "four" in lines[3]] == [
        True
    ] * 4
    assert len(lines) == 4


def test_a_log_that_nobody_reads_any_more_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w", buffering=1)
    monkeypatch.setattr(sys, "stderr", stream)
    configure()
    reporter("shard 0")("info", "one", {})
    with pytest.raises(BrokenPipeError):
        stream.close()
    reporter("shard 0")("info", "two", {})  # closed


def test_people_read_a_traceback_on_lines_of_its_own(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERDURE_LOG", raising=False)
    configure()
    reporter("shard 0")("warning", "alarm_failed", {"object": "Room/a", "traceback": TRACEBACK, "id": "ff"})
    first, *rest = capsys.readouterr().err.splitlines()
    assert "alarm_failed" in first
    assert "object=Room/a" in first
    assert "object_id=ff" in first
    assert "\n".join(rest).strip() == TRACEBACK.strip()


def test_machines_read_an_object_a_line(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERDURE_LOG", "json")
    configure()
    reporter("shard 0")("warning", "alarm_failed", {"traceback": TRACEBACK})
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["traceback"] == TRACEBACK


def test_a_log_that_is_set_up_late_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("PERDURE_LOG", "json")
    report = late_reporter("keeper 0")
    assert stream.getvalue() == ""
    for number in range(2):
        report("warning", "closing_sockets", {"sockets": number})
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["process"], line["level"], line["event"], line["sockets"]) for line in lines] == [
        ("keeper 0", "warning", "closing_sockets", number) for number in range(2)
    ]


def test_a_keeper_loads_nothing_of_programs_nor_of_the_log() -> None:
    """What it costs is memory of a process that only moves bytes."""
    code = "import sys, perdure.router.keeper; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "perdure.router.connection" in loaded
    unwanted = ("perdure.sdk", "perdure.bindings", "structlog", "rich", "uvicorn", "aiohttp", "apsw")
    assert [name for name in loaded if name.startswith(unwanted)] == []
