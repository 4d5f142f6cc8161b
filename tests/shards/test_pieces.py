"""Restarts, dead sessions, ownership, Meta, Blobs, catalogue."""

from __future__ import annotations

import fcntl
import json
import os

import pytest
from perdure.engine.disk import LocalDisk
from perdure.engine.errors import DataFolderError, InvalidArgument, VersionMismatch
from perdure.shards.blobs import FolderBlobs
from perdure.shards.catalogue import Catalogue, Row
from perdure.shards.dead_sessions import DeadSessions
from perdure.shards.meta import LocalMeta
from perdure.shards.ownership import DataFolder
from perdure.shards.restarts import Restarts


def test_k4_a_death_after_serving_is_restarted_at_once() -> None:
    restarts = Restarts()
    assert all(restarts.on_death(float(second), served=True).delay_s == 0 for second in range(100))


def test_k4_five_early_deaths_in_a_minute_are_a_crash_loop() -> None:
    restarts = Restarts()
    decisions = [restarts.on_death(float(second), served=False) for second in range(6)]
    assert [d.crash_loop for d in decisions] == [False] * 4 + [True] * 2
    assert [d.delay_s for d in decisions[:4]] == [0.1, 0.2, 0.4, 0.8]
    assert not restarts.on_death(200.0, served=False).crash_loop


def test_dead_sessions_go_oldest_first_when_every_shard_has_finished() -> None:
    dead = DeadSessions(["002", "001"], 2)
    assert dead.of(0) == ["001", "002"]
    assert dead.recovered("002", 0) == []
    assert dead.recovered("002", 1) == []  # 001 is not done, and 002's marks speak for it
    dead.died("003", 1)
    assert dead.of(1) == ["001", "003"]
    assert dead.recovered("001", 0) == []
    assert dead.recovered("001", 1) == ["001", "002"]
    assert dead.recovered("003", 1) == ["003"]
    assert len(dead) == 0


def test_a_data_folder_has_one_owner_and_a_format(tmp_path) -> None:
    path = str(tmp_path / "data")
    folder = DataFolder.open(path)
    assert json.loads((tmp_path / "data" / "FORMAT").read_text()) == {"format": 2}
    with pytest.raises(DataFolderError, match=f"supervisor {os.getpid()}"):
        DataFolder.open(path)
    inherited = os.dup(folder.lock_fd)  # as a child has it
    folder.close()
    with pytest.raises(DataFolderError, match="in use"):
        DataFolder.open(path)
    os.close(inherited)
    DataFolder.open(path).close()
    (tmp_path / "data" / "FORMAT").write_text("nonsense")
    with pytest.raises(DataFolderError, match="is damaged"):
        DataFolder.open(path)
    fd = os.open(f"{path}/lock", os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the refusal has let go of the lock
    os.close(fd)


def test_meta_compares_and_sets(tmp_path) -> None:
    meta = LocalMeta(str(tmp_path / "meta.sqlite"))
    assert meta.get("epoch") is None
    assert meta.compare_and_set("epoch", None, b"1")
    assert not meta.compare_and_set("epoch", None, b"2")
    assert not meta.compare_and_set("epoch", b"0", b"2")
    assert meta.compare_and_set("epoch", b"1", b"2")
    meta.close()
    again = LocalMeta(str(tmp_path / "meta.sqlite"))
    assert again.get("epoch") == b"2"
    again.close()
    import apsw

    connection = apsw.Connection(str(tmp_path / "meta.sqlite"))
    connection.pragma("user_version", 7)
    connection.close()
    with pytest.raises(VersionMismatch, match="has format 7"):
        LocalMeta(str(tmp_path / "meta.sqlite"))
    with pytest.raises(DataFolderError, match="cannot use"):
        LocalMeta(str(tmp_path))


def test_blobs_are_whole_or_not_there(tmp_path) -> None:
    blobs = FolderBlobs(LocalDisk(), str(tmp_path / "blobs"))
    assert blobs.put("a/b", b"0123456789")
    assert not blobs.put("a/b", b"other", create_only=True)
    assert blobs.put("c", b"c", create_only=True)
    assert blobs.get("a/b", 2, 3) == b"234"
    assert blobs.get("a/b", 8) == b"89"
    assert blobs.list() == ["a/b", "c"]
    assert blobs.list("a/") == ["a/b"]
    blobs.delete("c")
    blobs.delete("c")
    with pytest.raises(FileNotFoundError):
        blobs.get("c")
    for bad in ("", "/etc/passwd", "a/../../b"):
        with pytest.raises(InvalidArgument):
            blobs.put(bad, b"")


def test_the_catalogue_is_rebuilt_when_missing(tmp_path) -> None:
    data = str(tmp_path)
    catalogue = Catalogue(data, range(64))
    first, second = bytes(32), b"\xff" * 32
    catalogue.write([Row(first, "w-C", "one", 4096, 10), Row(second, "w-C", None, 8192, 20)])
    catalogue.write([Row(first, "w-C", None, 12288, 30)])
    assert list(catalogue.read(0)) == [Row(first, "w-C", "one", 12288, 30)]
    assert list(catalogue.read(63)) == [Row(second, "w-C", None, 8192, 20)]
    for name in os.listdir(f"{data}/catalogue"):
        os.unlink(f"{data}/catalogue/{name}")
    os.makedirs(f"{data}/objects/folder/00")
    with open(f"{data}/objects/folder/00/{first.hex()}.sqlite", "wb") as file:
        file.write(bytes(4096))
    again = Catalogue(data, range(64))
    assert len(again.missing) == 64
    assert again.rebuild({"folder": "w-C"}) == 1
    (row,) = again.read(0)
    assert (row.object_id, row.class_key, row.bytes) == (first, "w-C", 4096)
    assert Catalogue(data, range(64)).missing == []


def test_a_newer_catalogue_is_refused(tmp_path) -> None:
    import apsw

    catalogue = Catalogue(str(tmp_path), [0])
    catalogue.write([Row(bytes(32), "w-C", None, 0, 0)])
    connection = apsw.Connection(f"{tmp_path}/catalogue/00.sqlite")
    connection.pragma("user_version", 9)
    connection.close()
    with pytest.raises(VersionMismatch, match="format 9"):
        Catalogue(str(tmp_path), [0])
