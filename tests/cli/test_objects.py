"""`perdure objects` over operations in this process: what is asked of the shard, what is printed, what is left behind."""

from __future__ import annotations

import datetime
import json
import os
import sqlite3
import subprocess

import pytest
from perdure.cli import copies, output
from perdure.cli.times import parse_time
from perdure.engine.errors import ClassNotFound, ConfigError, InvalidArgument, NotConnected, ObjectNotFound

from .workshop import Workshop, bookmark, put, sql


@pytest.fixture
def shop(tmp_path):
    found = Workshop(str(tmp_path))
    yield found
    found.end()


def rows(path: str, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


# ---------------------------------------------------------------------- naming
def test_objects_are_named_by_class_and_name_or_by_id(shop) -> None:
    shop.save("a/b", put(x=1))
    by_name = shop.run("show", "Room/a/b").output
    assert by_name == shop.run("show", "chat-Room/a/b").output == shop.run("show", shop.room("a/b").hex()).output
    assert shop.room("a/b").hex() in by_name
    assert shop.closed
    with pytest.raises(InvalidArgument, match="the id of no class"):
        shop.run("show", "0" * 64)
    with pytest.raises(InvalidArgument, match="names no object"):
        shop.run("show", "Room")
    with pytest.raises(ClassNotFound, match="no class 'Nothing'"):
        shop.run("show", "Nothing/x")
    with pytest.raises(ObjectNotFound):
        shop.run("show", "Room/nobody")


NOW = 1_700_000_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", None),
        (bookmark(7), bookmark(7)),
        (bookmark(7).upper(), bookmark(7)),
        ("10m ago", NOW - 600_000),
        ("1h 30m ago", NOW - 5_400_000),
        ("1.5 hours ago", NOW - 5_400_000),
        ("500ms ago", NOW - 500),
        ("2d ago", NOW - 172_800_000),
        ("1w ago", NOW - 604_800_000),
        ("2023-11-14T22:13:19Z", NOW - 1_000),
        ("2023-11-14T23:13:19.5+01:00", NOW - 500),
        ("2023-11-14 12:00", int(datetime.datetime(2023, 11, 14, 12).timestamp() * 1000)),
    ],
)
def test_times(text: str, expected: object) -> None:
    assert parse_time(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "10x ago", "ago", "2023-99-01", "10m", "0-0-0-0"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="is no time"):
        parse_time(text, NOW)
    with pytest.raises(InvalidArgument, match="in the future"):
        parse_time("2023-11-14T22:13:21Z", NOW)


# ---------------------------------------------------------------------- looking
def test_list_show_and_history(shop) -> None:
    shop.save("b", put(x=1))
    shop.save("a\tb\x1b[0m", put(x=1))
    first = shop.objects[shop.room("b")][0]
    lines = [line.split("\t") for line in shop.run("list").output.splitlines()]
    assert [line[1] for line in lines] == [
        "a\\tb\\x1b[0m",
        "a\\tb\\x1b[0m",
        "b",
        "b",
    ]  # both shards of the test answer the same
    assert lines[2][0] == "Room"
    assert lines[2][2:4] == [shop.room("b").hex(), "12288"]
    (found,) = [json.loads(line) for line in shop.run("list", "Room", "--limit", "1", "--json").output.splitlines()]
    assert (found["name"], found["class"], found["bytes"]) == ("a\tb\x1b[0m", "Room", 12_288)
    assert ("list", {"limit": 1, "class_key": "chat-Room", "prefix": None, "after": None}) in shop.asked
    shown = dict(line.split("\t") for line in shop.run("show", "Room/b").stdout.splitlines())
    assert (shown["class"], shown["class key"], shown["resident"]) == ("Room", "chat-Room", "yes")
    assert json.loads(shop.run("show", "Room/b", "--json").stdout)["class"] == "chat-Room"
    shop.save("b", put(x=2))
    points = shop.run("history", "Room/b")
    assert [line.split("\t")[1] for line in points.stdout.splitlines()] == [first[0], bookmark(3)]
    assert "2 points" in points.stderr
    assert [json.loads(line)["time_ms"] for line in shop.run("history", "Room/b", "--json").stdout.splitlines()] == [
        1_000_000,
        1_002_000,
    ]


def test_a_terminal_gets_tables(shop, monkeypatch) -> None:
    shop.save("b", put(x=1))
    monkeypatch.setattr(output, "in_terminal", lambda: True)
    said = shop.run("list").stdout
    assert said.splitlines()[0].split() == ["class", "name", "id", "bytes", "active"]
    assert "resident" in shop.run("show", "Room/b").stdout


# ---------------------------------------------------------------------- copies
def test_export_gives_the_file_and_leaves_nothing(shop, monkeypatch) -> None:
    shop.save("b", put(x=1))
    mark = shop.save("b", sql("create table t(a); insert into t values(1)"))
    shop.save("b", sql("insert into t values(2)"))
    result = shop.run("export", "Room/b")
    with open(shop.objects[shop.room("b")][-1][2], "rb") as file:
        assert result.stdout_bytes == file.read()
    to = f"{shop.data}/out.sqlite"
    shop.run("export", "Room/b", "--output", to, "--at", mark)
    assert rows(to, "select a from t") == [(1,)]
    assert os.stat(to).st_mode & 0o777 == 0o600
    path, mode = shop.exported[0]
    assert path.startswith(f"{shop.data}/exports/")
    assert mode == 0o700
    assert os.stat(f"{shop.data}/exports").st_mode & 0o777 == 0o700
    assert os.listdir(f"{shop.data}/exports") == []
    with pytest.raises(ConfigError, match="exists already"):
        shop.run("export", "Room/b", "--output", to)
    with pytest.raises(ConfigError, match="cannot write"):
        shop.run("export", "Room/b", "--output", f"{shop.data}/nowhere/out.sqlite")
    with pytest.raises(InvalidArgument, match="nothing is known"):
        shop.run("export", "Room/b", "--at", "1970-01-01T00:00:01Z")
    assert os.listdir(f"{shop.data}/exports") == []
    monkeypatch.setattr(output, "in_terminal", lambda: True)
    with pytest.raises(InvalidArgument, match="not written to a terminal") as caught:
        shop.run("export", "Room/b")
    assert "--output" in caught.value.hint


def test_what_a_killed_command_left_is_removed_by_the_next(shop) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    os.makedirs(f"{shop.data}/exports/{gone.pid}-ab")
    os.makedirs(f"{shop.data}/exports/{os.getpid()}-cd")
    with copies.workspace(shop.data):
        assert len(os.listdir(f"{shop.data}/exports")) == 2
    assert os.listdir(f"{shop.data}/exports") == [f"{os.getpid()}-cd"]


def test_plain_exports_need_no_perdure(shop) -> None:
    moment = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    shop.save("b", put(n=1, text="ä", none=None, data=b"\x00\xff", deep={"a": [1, {2}]}, at=moment, inf=float("inf")))
    shop.save("b", sql("create table t(a); insert into t values(1)"))
    to = f"{shop.data}/plain.sqlite"
    shop.run("export", "Room/b", "--plain", "--output", to)
    assert dict(rows(to, "select key, value from kv")) == {
        "n": "1",
        "text": '"ä"',
        "none": "null",
        "data": '{"$bytes": "AP8="}',
        "deep": '{"a": [1, {"$set": [2]}]}',
        "at": '{"$datetime": "2026-01-02T00:00:00+00:00"}',
        "inf": '{"$number": "inf"}',
    }
    assert rows(to, "select name from sqlite_master where type = 'table' order by 1") == [("kv",), ("t",)]
    assert rows(to, "pragma integrity_check") == [("ok",)]
    assert rows(to, "pragma journal_mode") == [("delete",)]
    shop.save("b", sql("create table kv(a)"))
    with pytest.raises(ConfigError, match="a table kv of its own"):
        shop.run("export", "Room/b", "--plain", "--output", f"{shop.data}/other.sqlite")
    assert not os.path.exists(f"{shop.data}/other.sqlite")


def test_import_takes_a_whole_database_also_what_its_wal_holds(shop) -> None:
    source = f"{shop.data}/mine.sqlite"
    writer = sqlite3.connect(source)
    writer.execute("pragma journal_mode=wal")
    writer.execute("pragma wal_autocheckpoint=0")
    writer.execute("create table t(a)")
    writer.execute("insert into t values(7)")
    writer.commit()
    result = shop.run("import", source, "Room", "new")
    writer.close()
    assert result.stdout.strip() == shop.room("new").hex()
    assert rows(shop.objects[shop.room("new")][0][2], "select a from t") == [(7,)]
    (arguments,) = [arguments for operation, arguments in shop.asked if operation == "import"]
    assert (arguments["name"], arguments["replace"]) == ("new", False)
    with pytest.raises(InvalidArgument, match="something stored"):
        shop.run("import", source, "Room", "new")
    shop.run("import", source, "chat-Room", "new", "--replace")
    assert len(shop.objects[shop.room("new")]) == 2
    no_database = f"{shop.data}/text"
    with open(no_database, "w") as file:
        file.write("no database" * 100)
    with pytest.raises(InvalidArgument, match="cannot be read as a SQLite database"):
        shop.run("import", no_database, "Room", "x")
    with pytest.raises(InvalidArgument, match="no file"):
        shop.run("import", f"{shop.data}/nothing", "Room", "x")
    empty = f"{shop.data}/empty"
    open(empty, "w").close()
    with pytest.raises(InvalidArgument, match="empty"):
        shop.run("import", empty, "Room", "x")
    assert os.listdir(f"{shop.data}/exports") == []


def test_a_damaged_database_is_not_imported(shop) -> None:
    source = f"{shop.data}/mine.sqlite"
    connection = sqlite3.connect(source)
    connection.executescript("create table t(a); create index i on t(a)")
    connection.executemany("insert into t values(?)", [(f"{number:0100}",) for number in range(500)])
    connection.commit()
    connection.close()
    with open(source, "r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096)
    with pytest.raises(InvalidArgument, match=r"damaged|malformed"):
        shop.run("import", source, "Room", "x")


def test_fork_makes_a_new_object_of_the_same_class(shop) -> None:
    shop.save("b", put(x=1))
    mark = shop.save("b", sql("create table t(a); insert into t values(1)"))
    shop.save("b", sql("insert into t values(2)"))
    assert shop.run("fork", "Room/b", "c", "--at", mark).stdout.strip() == shop.room("c").hex()
    assert rows(shop.objects[shop.room("c")][0][2], "select a from t") == [(1,)]
    with pytest.raises(InvalidArgument, match="something stored"):
        shop.run("fork", "Room/b", "c")


def test_shell_reads_a_copy_and_writes_nothing(shop, capfd, monkeypatch) -> None:
    shop.save("b", sql("create table t(a); insert into t values('seen')"))
    shop.save("b", put(key={"deep": [1]}))
    asked = "select a from t;\ninsert into t values('written');\nselect readable(value) from _cf_KV;\n"
    result = shop.run("shell", "Room/b", input=asked)
    assert "seen" in result.stdout
    assert '{"deep": [1]}' in result.stdout
    assert "readonly" in result.output.lower().replace(" ", "")
    assert rows(shop.objects[shop.room("b")][-1][2], "select count(*) from t") == [(1,)]
    assert os.listdir(f"{shop.data}/exports") == []


# ---------------------------------------------------------------------- acting
def test_delete_asks(shop, monkeypatch) -> None:
    shop.save("b", put(x=1))
    with pytest.raises(InvalidArgument, match="without a word") as caught:
        shop.run("delete", "Room/b")
    assert "--yes" in caught.value.hint
    monkeypatch.setattr(output, "may_ask", lambda: True)
    assert shop.run("delete", "Room/b", input="n\n").exit_code == 1
    assert shop.room("b") in shop.objects
    assert "deleted chat-Room/b" in shop.run("delete", "Room/b", input="y\n").stdout
    assert shop.run("delete", "Room/b", "--yes").stdout == "chat-Room/b had nothing stored\n"


def test_restore_tells_how_to_undo_it(shop) -> None:
    first = shop.save("b", sql("create table t(a)"))
    second = shop.save("b", sql("insert into t values(1)"))
    result = shop.run("restore", "Room/b", "--at", first)
    assert result.stdout.strip() == second
    assert f"--at {second}" in result.stderr
    assert rows(shop.objects[shop.room("b")][-1][2], "select * from t") == []
    with pytest.raises(InvalidArgument, match="as it is now"):
        shop.run("restore", "Room/b", "--at", "now")


def test_upgrade_a_class(shop) -> None:
    shop.save("b", put(x=1))
    told = "Room has SQL; 2 objects in memory"  # one from each shard of the test
    assert shop.run("upgrade", "Room").stdout == f"{told} follow on their next start\n"
    assert shop.run("upgrade", "Room", "--now").stdout == f"{told} begin anew\n"


def test_a_data_folder_that_nobody_serves(tmp_path) -> None:
    from click.testing import CliRunner
    from perdure.cli.commands import cli

    result = CliRunner().invoke(cli, ["objects", "list", "--data", str(tmp_path)])
    assert isinstance(result.exception, NotConnected)
    assert "no perdure is running on" in result.exception.message
    assert CliRunner().invoke(cli, ["objects", "list", "--help"]).exit_code == 0
