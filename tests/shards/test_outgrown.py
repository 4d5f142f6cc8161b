"""When a shard asks for a new process: only asleep, only much larger, never for other code. In virtual time."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest
from perdure.shards import outgrown
from perdure.shards.outgrown import LOOK_S, Outgrown, Rest, changed, identities, imported_files, is_outgrown
from perdure.testing.virtual import run

MIB = 1 << 20
ASLEEP = Rest(residents=0, may_leave=True, owed=0, unmarked=0, folding=False, calls=1_000)


@pytest.mark.parametrize(
    ("change", "asleep"),
    [
        ({}, True),
        ({"residents": 16, "unmarked": 64, "calls": 1_100}, True),
        ({"residents": 17}, False),
        ({"may_leave": False}, False),
        ({"owed": 1}, False),
        ({"unmarked": 65}, False),
        ({"folding": True}, False),
        ({"calls": 1_101}, False),
    ],
)
def test_a_shard_sleeps_when_a_few_objects_at_most_are_awake_and_nothing_is_under_way(change, asleep) -> None:
    assert replace(ASLEEP, **change).asleep(ASLEEP, 2.0) is asleep


def test_whether_it_is_called_often_is_not_known_at_the_first_look() -> None:
    assert not ASLEEP.asleep(None, 2.0)


@pytest.mark.parametrize(
    ("began", "now", "outgrown"),
    [(50, 58, False), (50, 59, True), (200, 219, False), (200, 221, True), (50, 20, False)],
)
def test_growth_counts_above_8_mib_and_a_tenth(began: int, now: int, outgrown: bool) -> None:
    assert is_outgrown(began * MIB, now * MIB, 8 * MIB) is outgrown


class Rig:
    """A shard that is what the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, files: list[str]) -> None:
        self.rest = ASLEEP
        self.resident = 50 * MIB
        self.garbage = 0
        self.asked: list[tuple[int, int]] = []
        self.said: list[tuple[str, dict[str, object]]] = []
        self.given_back = 0
        monkeypatch.setattr(outgrown, "give_back", self._give_back)
        monkeypatch.setattr(asyncio.get_running_loop(), "run_in_executor", _at_once)
        self.outgrown = Outgrown(
            asyncio.get_running_loop(),
            lambda: self.rest,
            lambda: self.resident,
            8 * MIB,
            files,
            lambda now, began: self.asked.append((now, began)),
            lambda _level, event, fields: self.said.append((event, fields)),
        )
        self.task = asyncio.ensure_future(self.outgrown.run())

    def _give_back(self) -> None:
        self.given_back += 1
        self.resident -= self.garbage


def _at_once(_executor: object, work, *args: object) -> asyncio.Future[object]:
    found = asyncio.get_running_loop().create_future()
    found.set_result(work(*args))
    return found


def test_it_asks_at_each_look_while_it_sleeps_and_gives_back_seldom(monkeypatch) -> None:
    async def body() -> None:
        rig = Rig(monkeypatch, [])
        await asyncio.sleep(20 * LOOK_S)
        assert (rig.asked, rig.given_back) == ([], 2), "it is as large as it began"
        rig.resident = 90 * MIB
        await asyncio.sleep(LOOK_S)
        assert rig.asked == [(90, 50)]
        await asyncio.sleep(4 * LOOK_S)
        assert len(rig.asked) == 5
        assert rig.given_back == 3
        rig.rest = replace(ASLEEP, owed=1)
        await asyncio.sleep(4 * LOOK_S)
        rig.rest = ASLEEP
        await asyncio.sleep(LOOK_S)
        assert len(rig.asked) == 5, "one look is not enough"
        await asyncio.sleep(LOOK_S)
        assert len(rig.asked) == 6
        rig.task.cancel()

    run(body())


def test_what_can_be_given_back_is_no_reason(monkeypatch) -> None:
    async def body() -> None:
        rig = Rig(monkeypatch, [])
        await asyncio.sleep(10 * LOOK_S)
        rig.resident, rig.garbage = 90 * MIB, 35 * MIB
        await asyncio.sleep(10 * LOOK_S)
        assert rig.given_back == 3
        assert rig.asked == []
        rig.task.cancel()

    run(body())


def test_a_renewal_brings_no_other_code(monkeypatch, tmp_path: Path) -> None:
    async def body() -> None:
        program = tmp_path / "program.py"
        program.write_text("one = 1\n")
        rig = Rig(monkeypatch, [str(program)])
        await asyncio.sleep(20 * LOOK_S)
        rig.resident = 90 * MIB
        program.write_text("one = 22\n")
        await asyncio.sleep(10 * LOOK_S)
        assert rig.asked == []
        ((event, fields),) = rig.said
        assert (event, fields["changed"]) == ("not_renewed", str(program))
        rig.task.cancel()

    run(body())


def test_that_it_cannot_look_is_said_and_ends_nothing(monkeypatch) -> None:
    async def body() -> None:
        rig = Rig(monkeypatch, [])
        await asyncio.sleep(20 * LOOK_S)
        rig.outgrown._resident = lambda: os.stat("/no/such/file").st_size
        await asyncio.sleep(LOOK_S)
        assert [event for event, _ in rig.said] == ["not_renewed"]
        rig.outgrown._resident = lambda: 90 * MIB
        await asyncio.sleep(LOOK_S)
        assert rig.asked == [(90, 50)]
        rig.task.cancel()

    run(body())


def test_which_files_are_other_ones(tmp_path: Path) -> None:
    same, edited, replaced, gone = paths = [str(tmp_path / name) for name in ("same", "edited", "replaced", "gone")]
    for path in paths:
        Path(path).write_text("x")
    missing = str(tmp_path / "archive.zip/module.py")
    for path in paths[1:]:
        before = identities([same, path, missing])
        assert changed(before) is None
        if path == edited:
            os.utime(path, ns=(1, 1))
        else:
            os.unlink(path)
        if path == replaced:
            Path(path).write_text("y")
        assert changed(before) == path
    assert gone not in identities([gone])
    assert __file__ in imported_files()
