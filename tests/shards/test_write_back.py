"""Who writes much has it written in slices: a sync of the log must not find all of it waiting."""

from __future__ import annotations

import os
from itertools import pairwise

import apsw
import lz4.block
import pytest
from perdure.engine.database import PAGE, TEMPLATE
from perdure.engine.disk import LocalDisk
from perdure.shards import wholefiles
from perdure.shards.history import History, Moment

SLICE = 1 << 20
ID = bytes(range(32))


class Watched(LocalDisk):
    """Notes how large a file was each time that it was written back."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def write_back(self, fd, offset, length):
        self.sizes.append(os.fstat(fd).st_size)
        super().write_back(fd, offset, length)

    def largest_step(self, size: int) -> int:
        """Bytes that came between two of them."""
        ends = [0, *self.sizes, size]
        return max(after - before for before, after in pairwise(ends))


@pytest.fixture
def disk(monkeypatch) -> Watched:
    monkeypatch.setattr(wholefiles, "WRITE_BACK_BYTES", SLICE)
    monkeypatch.setattr("perdure.shards.history._WRITE_BACK_IMAGES", SLICE // PAGE)
    return Watched()


def make_database(path: str, mebibytes: int) -> None:
    connection = apsw.Connection(path)
    connection.execute("create table t(data blob)")
    connection.execute(
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < ?) "
        "insert into t select randomblob(3000) from n",
        (mebibytes * 256,),
    )
    connection.close()


def test_a_copy(tmp_path, disk: Watched) -> None:
    source, target = str(tmp_path / "source"), str(tmp_path / "target")
    make_database(source, 5)
    size = wholefiles.copy(disk, source, target)
    assert size > 5 * SLICE
    assert disk.largest_step(size) <= 2 * SLICE
    assert (tmp_path / "source").read_bytes() == (tmp_path / "target").read_bytes()


def test_a_file_that_sqlite_writes(tmp_path, disk: Watched) -> None:
    source, target = str(tmp_path / "source"), str(tmp_path / "target")
    make_database(source, 16)
    pages = wholefiles.adopt(disk, source, target, 2, 1 << 30)
    assert disk.largest_step(pages * PAGE) <= 5 * SLICE, "its cache is spilled in portions"
    connection = apsw.Connection(f"file:{target}?immutable=1", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    assert connection.pragma("integrity_check") == "ok"
    connection.close()


def test_a_state_from_history(tmp_path, disk: Watched) -> None:
    history = History(str(tmp_path / "history"))
    pages = 5 * SLICE // PAGE
    packed = lz4.block.compress(TEMPLATE[:PAGE])
    history.set_base(ID, "w-C", Moment(1, 1, 1_000), ((number, packed) for number in range(1, pages + 1)), pages)
    fd = disk.open(str(tmp_path / "built"), create=True)
    history.write_state(ID, 1, 1, disk, fd)
    assert disk.size(fd) == 5 * SLICE
    assert disk.largest_step(5 * SLICE) <= SLICE
    disk.close(fd)
    history.close()
