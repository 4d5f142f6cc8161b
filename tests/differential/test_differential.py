"""The same operations here and in the reference runtime, and their outcomes compared."""

from __future__ import annotations

import pytest

from .ours import Ours
from .outcomes import complaint
from .reference import OutOfReach, Reference, binary
from .table import TABLE
from .twins import write_javascript, write_python

pytestmark = pytest.mark.system


@pytest.fixture(scope="module", autouse=True)
def _binary():
    try:
        binary()
    except OutOfReach as reason:
        pytest.skip(f"no reference to compare with: {reason}")


def outcomes_of(rows, tmp_path):
    for name in ("theirs", "ours"):
        (tmp_path / name).mkdir()
    write_javascript(rows, str(tmp_path / "theirs"))
    write_python(rows, str(tmp_path / "ours"))
    with Reference(str(tmp_path / "theirs")) as reference:
        theirs = reference.outcomes(rows)
    with Ours(str(tmp_path / "ours")) as ours:
        return theirs, ours.outcomes(rows)


def test_every_row_has_the_outcome_of_the_reference(tmp_path):
    theirs, ours = outcomes_of(TABLE, tmp_path)
    wrong = [complaint(row, theirs[row.name], ours[row.name]) for row in TABLE]
    wrong = [text for text in wrong if text]
    assert not wrong, "\n".join([f"{len(wrong)} of {len(TABLE)} rows:", *wrong])
