"""One object's SQLite file: what is trusted, who may touch it (hazards C5, C6, C7, S2)."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys

import pytest
from perdure.engine.database import APPLICATION_ID, TEMPLATE, Database, Located, read_version
from perdure.engine.disk import LocalDisk
from perdure.engine.errors import VersionMismatch


def located(tmp_path, exists: bool, change: int = 0) -> Located:
    (tmp_path / "live").mkdir(exist_ok=True)
    return Located(exists, str(tmp_path / "objects" / "x.sqlite"), str(tmp_path / "live" / "x.sqlite"), 1, change)


def written(tmp_path, value: bytes = b"1") -> Database:
    database = Database(LocalDisk(), located(tmp_path, os.path.exists(tmp_path / "objects" / "x.sqlite")))
    database.connection.execute("insert or replace into _cf_KV values('k', ?)", (value,))
    database.make_place()
    assert database.capture() is not None
    database.publish()
    return database


def content(path) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return connection.execute("select * from _cf_KV").fetchall()
    finally:
        connection.close()


def test_c5_closing_is_no_checkpoint(tmp_path) -> None:
    database = written(tmp_path)
    database.checkpoint()
    database.connection.execute("insert or replace into _cf_KV values('k', 'unlogged')")
    database.close()
    assert content(tmp_path / "objects" / "x.sqlite") == [("k", b"1")]
    assert os.listdir(tmp_path / "live") == []


def test_c6_a_wal_that_this_session_did_not_write_is_not_trusted(tmp_path) -> None:
    database = written(tmp_path, b"old")
    live = tmp_path / "live" / "x.sqlite"
    stale = (live.parent / (live.name + "-wal")).read_bytes()
    database.checkpoint()
    database.close()
    database = written(tmp_path, b"new")
    database.checkpoint()
    database.close()
    for suffix in ("-wal", "-journal", "-shm"):
        (live.parent / (live.name + suffix)).write_bytes(stale)
    database = Database(LocalDisk(), located(tmp_path, True))
    assert database.connection.execute("select value from _cf_KV").fetchall() == [(b"new",)]
    database.close()


def test_c7_nobody_else_writes_while_it_is_open(tmp_path) -> None:
    database = written(tmp_path)
    database.checkpoint()
    script = (
        "import sqlite3, sys\n"
        "try: sqlite3.connect(sys.argv[1], timeout=0.1).execute(\"insert into _cf_KV values('intruder', 1)\")\n"
        "except sqlite3.OperationalError as error: print(error)\n"
    )
    path = str(tmp_path / "objects" / "x.sqlite")
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    assert "locked" in done.stdout  # also after our own descriptor has written the change number
    database.close()


def test_s2_there_is_no_shared_memory_and_no_journal(tmp_path) -> None:
    database = written(tmp_path)
    assert sorted(os.listdir(tmp_path / "live")) == ["x.sqlite", "x.sqlite-wal"]
    assert database.connection.pragma("journal_mode") == "wal"
    assert database.connection.pragma("locking_mode") == "exclusive"
    assert database.connection.pragma("synchronous") == 0
    database.close()


def test_the_change_number_is_in_the_file(tmp_path) -> None:
    database = written(tmp_path)
    assert database.checkpoint() == 1
    database.close()
    fd = os.open(tmp_path / "objects" / "x.sqlite", os.O_RDONLY)
    assert read_version(LocalDisk(), fd) == (1, 1)
    os.close(fd)


def test_a_newer_format_is_refused(tmp_path) -> None:
    (tmp_path / "objects").mkdir()
    image = bytearray(TEMPLATE)
    image[68:72] = (APPLICATION_ID + 1).to_bytes(4, "big")
    (tmp_path / "objects" / "x.sqlite").write_bytes(image)
    with pytest.raises(VersionMismatch, match="has format 2"):
        Database(LocalDisk(), located(tmp_path, True))


def test_a_checkpoint_of_what_no_log_holds_is_a_bug(tmp_path) -> None:
    database = written(tmp_path)
    database.connection.execute("insert or replace into _cf_KV values('k', 'unlogged')")
    with pytest.raises(AssertionError, match="no log holds"):
        database.checkpoint()
    database.close()


def test_a_commit_behind_a_large_one_is_captured_after_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("perdure.engine.database.CAPTURE_FRAMES_MAX", 2)
    database = Database(LocalDisk(), located(tmp_path, False))
    database.connection.execute("create table t(x); insert into t values(randomblob(20000))")
    first = database.capture()
    assert first is not None
    assert first.part == -1
    database.connection.execute("insert into t values('behind')")
    pieces = [first]
    while (piece := database.capture()) is not None:
        pieces.append(piece)
    ends = [number for number, piece in enumerate(pieces) if piece.part >= 0]
    assert len(ends) == 2, "two commits: the large one, and the one that was made meanwhile"
    assert database.change == 2
    assert not database.uncaptured()
    database.close()
