"""`perdure d1`, on the databases of a world."""

from __future__ import annotations

import json
import os

import pytest
from click.testing import CliRunner
from perdure.bindings import d1
from perdure.bindings.d1_values import split
from perdure.bindings.system_classes import key_of
from perdure.cli.commands import cli
from perdure.engine.errors import BindingError, ConfigError, InvalidArgument
from perdure.engine.stubs import Namespace
from perdure.testing import World

from ..bindings.programs import WITH_OBJECT, folder

SOURCE = """
from workers import DurableObject


class Room(DurableObject):
    pass
"""
DATABASES = [
    {"binding": "DB", "database_name": "main", "database_id": "db-1"},
    {"binding": "OTHER", "database_name": "other", "migrations_dir": "sql", "migrations_table": "done"},
]


class Link:
    def __init__(self, world):
        self._world = world

    def database(self, ident):
        return d1.database(Namespace(key_of("d1"), self._world._caller), ident)

    def run(self, work):
        async def inside():
            return await work()

        return self._world.run(inside())

    def close(self):
        pass


@pytest.fixture
def command(tmp_path):
    """Runs a command in a world; the text that it prints. What it raises is raised."""
    path = folder(tmp_path / "app", SOURCE, d1_databases=DATABASES, **WITH_OBJECT)
    with World(path) as world:

        def run(*arguments, file=None):
            name, *rest = arguments
            found = [*name.split(), *rest, "--config", f"{path}/wrangler.jsonc"]
            result = CliRunner().invoke(cli, ["d1", *found], obj=lambda *_: Link(world), catch_exceptions=True)
            if result.exception is not None and not isinstance(result.exception, SystemExit):
                raise result.exception
            assert result.exit_code == 0, result.output
            return result.stdout

        run.folder = path
        yield run


def test_execute(command, tmp_path):
    command("execute", "DB", "--command", "create table t(a, b); insert into t values (1, 'x'), (2, null)")
    assert command("execute", "main", "--command", "select a, b from t") == "1\tx\n2\t\n"
    assert json.loads(command("execute", "db-1", "--json", "--command", "select a from t limit 1")) == {"a": 1}
    file = tmp_path / "more.sql"
    file.write_text("-- more\ninsert into t values (3, 'y');\nselect count(*) as n from t;\n")
    assert command("execute", "DB", "--file", str(file)) == "3\n"
    with pytest.raises(BindingError, match="D1_ERROR: no such table"):
        command("execute", "DB", "--command", "insert into t values (4, 'z'); insert into nobody values (1)")
    assert command("execute", "DB", "--command", "select count(*) from t") == "3\n"
    with pytest.raises(InvalidArgument, match="nothing is run"):
        command("execute", "DB")
    with pytest.raises(ConfigError, match="declares no database 'NONE'"):
        command("execute", "NONE", "--command", "select 1")
    with pytest.raises(BindingError, match="no such table"):
        command("execute", "OTHER", "--command", "select * from t")


def test_migrations(command):
    with pytest.raises(ConfigError, match="migrations: No such file"):
        command("migrations list", "DB")
    path = command("migrations create", "DB", "make the people").strip()
    assert os.path.basename(path) == "0001_make_the_people.sql"
    with open(path, "a") as file:
        file.write(
            "create table people(name text);\ncreate trigger t after insert on people begin select 1; select 2; end;\n"
        )
    folder_ = os.path.dirname(path)
    with open(f"{folder_}/0010_later.sql", "w") as file:
        file.write("insert into people(name) values ('ann')")
    with open(f"{folder_}/2_between.sql", "w") as file:
        file.write("alter table people add column age integer; update people set age = 1;")
    assert command("migrations list", "DB").split() == ["0001_make_the_people.sql", "2_between.sql", "0010_later.sql"]
    assert command("migrations apply", "DB").count("applied") == 3
    assert command("migrations list", "DB") == ""
    assert command("migrations apply", "DB") == ""
    assert command("execute", "DB", "--command", "select name, age from people") == "ann\t\n"
    applied = command("execute", "DB", "--command", "select name from d1_migrations order by id")
    assert applied.split() == ["0001_make_the_people.sql", "2_between.sql", "0010_later.sql"]


def test_a_migration_that_fails_is_undone_whole(command):
    folder_ = f"{command.folder}/sql"
    os.mkdir(folder_)
    for name, text in (("1_a", "create table a(x)"), ("2_b", "create table b(x); insert into nobody values (1)")):
        with open(f"{folder_}/{name}.sql", "w") as file:
            file.write(text)
    with pytest.raises(BindingError, match="no such table: nobody"):
        command("migrations apply", "OTHER")
    assert command("migrations list", "OTHER") == "2_b.sql\n"
    tables = command(
        "execute", "OTHER", "--command", "select name from sqlite_schema where name in ('a', 'b', 'done') order by name"
    )
    assert tables.split() == ["a", "done"]
    assert command("execute", "OTHER", "--command", "select name from done") == "1_a.sql\n"


SPLIT = {
    "one": ("select 1", ["select 1"]),
    "two": ("select 1;\nselect 2;\n", ["select 1;", "select 2;"]),
    "a semicolon in a text": ("select ';'; select 2", ["select ';';", "select 2"]),
    "a comment alone": ("select 1; -- nothing;\n", ["select 1;"]),
    "a comment before": ("-- a;\nselect 1", ["-- a;\nselect 1"]),
    "a trigger": (
        "create trigger t after insert on a begin select 1; select 2; end; select 3",
        ["create trigger t after insert on a begin select 1; select 2; end;", "select 3"],
    ),
    "nothing": (" ;; /* ; */", []),
}


@pytest.mark.parametrize("row", SPLIT)
def test_texts_are_split_into_statements(row):
    text, expected = SPLIT[row]
    assert split(text) == expected
