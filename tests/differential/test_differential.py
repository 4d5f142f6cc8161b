"""The same operations here and in the reference runtime, and their outcomes compared: in a world, and through real processes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ..system.runtime import serving
from .asked import outcomes
from .known import KNOWN
from .operation import Differs, Text, Wording, inside, outside
from .ours import Ours
from .outcomes import complaint
from .reference import OutOfReach, Reference, binary
from .table import TABLE
from .twins import write_javascript, write_python

pytestmark = pytest.mark.timeout(300)  # on a fresh machine the reference's binary is fetched first
ROWS_MIN = 150


@pytest.fixture(scope="module")
def reference_binary():
    try:
        return binary()
    except OutOfReach as reason:
        pytest.skip(f"no reference to compare with: {reason}")


@pytest.fixture(scope="module")
def theirs(reference_binary, tmp_path_factory):
    """What the reference makes of each row."""
    folder = str(tmp_path_factory.mktemp("theirs"))
    write_javascript(TABLE, folder)
    with Reference(folder) as reference:
        return outcomes(reference.url, TABLE)


def wrong(rows, theirs, ours):
    return [text for text in (complaint(row, theirs[row.name], ours[row.name]) for row in rows) if text]


def told(complaints):
    return "\n".join([f"{len(complaints)} of {len(TABLE)} rows:", *complaints])


@pytest.mark.system
def test_every_row_has_the_outcome_of_the_reference(theirs, tmp_path):
    write_python(TABLE, str(tmp_path))
    with Ours(str(tmp_path)) as ours:
        complaints = wrong(TABLE, theirs, ours.outcomes(TABLE))
    assert not complaints, told(complaints)


@pytest.mark.system
def test_every_row_has_it_through_real_processes_too(theirs, tmp_path):
    (tmp_path / "program").mkdir()
    write_python(TABLE, str(tmp_path / "program"))
    with serving(str(tmp_path / "program"), str(tmp_path / "data")) as runtime:
        complaints = wrong(TABLE, theirs, outcomes(runtime.url + "/", TABLE))
        assert runtime.stop() == 0
    assert not complaints, told(complaints)


BROKEN = [
    inside("another value", 'await storage.put("k", 1); return await storage.get("k")', 'return "1"'),
    inside("true is not 1", "return true", "return 1"),
    inside(
        "another order", 'await storage.put({"b": 1, "a": 2}); return await storage.list()', 'return {"b": 1, "a": 2}'
    ),
    inside("no error", "await storage.list({limit: 0})", "return None"),
    inside("an error too many", "return null", 'raise Exception("x")'),
    inside("another message", 'throw new Error("this")', 'raise Exception("that")'),
    inside("another name", 'throw new TypeError("this")', 'raise Exception("this")'),
    outside("a flag is missing", "await stub.boom('x')", 'raise Exception("x")'),
    replace(
        inside("the phrase is missing", 'throw new Error("the phrase")', 'raise Exception("p")'),
        allow=Wording("phrase"),
    ),
    replace(
        inside("worded, of another name", 'throw new TypeError("phrase")', 'raise Exception("phrase")'),
        allow=Wording("phrase"),
    ),
    replace(inside("ours has changed", "return 1", "return 3"), allow=Differs({"value": 2}, {"value": 1}, "")),
    replace(inside("theirs has changed", "return 3", "return 2"), allow=Differs({"value": 2}, {"value": 1}, "")),
    outside("a part does otherwise", "return await inside('p')", parts={"p": Text("return 1", "return 2")}),
    inside("it does not even run", "return 1", "return missing"),
]


@pytest.mark.system
def test_a_broken_twin_is_caught(reference_binary, tmp_path):
    """Each of these rows is wrong on purpose: all are found, and a right one beside them is not."""
    right = inside("right", "return [1, null]")
    rows = [*BROKEN, right]
    for name in ("theirs", "ours"):
        (tmp_path / name).mkdir()
    write_javascript(rows, str(tmp_path / "theirs"))
    write_python(rows, str(tmp_path / "ours"))
    with Reference(str(tmp_path / "theirs")) as reference, Ours(str(tmp_path / "ours")) as ours:
        theirs = outcomes(reference.url, rows)
        complaints = wrong(rows, theirs, ours.outcomes(rows))
    assert [text.split(":")[0] for text in complaints] == [row.name for row in BROKEN]


def test_the_table():
    names = [row.name for row in TABLE]
    assert len(names) == len(set(names)) >= ROWS_MIN
    assert "/" not in "".join(names)  # what follows one is another object of the row
    assert KNOWN.keys() <= set(names)
    for name, allow in KNOWN.items():
        assert allow.why, name


def test_known_differences_differ():
    """A row that has become the same needs no allowance any more."""
    same = [
        name
        for name, allow in KNOWN.items()
        if isinstance(allow, Differs) and json.dumps(allow.ours) == json.dumps(allow.theirs)
    ]
    assert same == []
