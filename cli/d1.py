"""`perdure d1`: run SQL on the D1 databases of a program that is served, and apply its migrations."""

from __future__ import annotations

import functools
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

import click

from ..bindings import d1 as databases
from ..bindings.d1_values import split
from ..bindings.sections import Item, items
from ..bindings.system_classes import key_of
from ..engine.errors import ConfigError, InvalidArgument
from ..engine.stubs import Namespace
from ..router.blocking import BlockingClient, connect_blocking
from ..sdk import config as configurations
from ..sdk.config import Config
from . import output
from .d1_migrations import Migrations
from .door import address_of

T = TypeVar("T")


class Link(Protocol):
    """How a database is reached."""

    def database(self, ident: str) -> databases.D1Database: ...
    def run(self, work: Callable[[], Awaitable[T]]) -> T: ...
    def close(self) -> None: ...


class _Client:
    """The runtime of a data folder, at an address, or the one of this user. Raises NotConnected."""

    def __init__(self, data: str | None, address: str | None) -> None:
        if data is not None and address is None:
            address = address_of(data)
        self._client: BlockingClient = connect_blocking(address)

    def database(self, ident: str) -> databases.D1Database:
        return databases.database(Namespace(key_of("d1"), self._client.transport), ident)

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        return self._client.run(work)

    def close(self) -> None:
        self._client.close()


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The database that a command is about."""

    link: Callable[[], Link]
    ident: str
    migrations: Migrations

    def run(self, work: Callable[[databases.D1Database], Awaitable[T]]) -> T:
        link = self.link()
        return link.run(lambda: work(link.database(self.ident)))


def _choosing(command: Callable[..., None]) -> Callable[..., None]:
    """The database's name, and options that say which program and runtime; the command gets what was chosen first.

    The context's `obj` may hold another opener than `_Client`: tests put one there.
    """

    @click.argument("database", metavar="DB")
    @click.option("--config", "path", metavar="FILE", help="wrangler file [that of this folder]")
    @click.option("--env-name", metavar="NAME", help="environment of the wrangler file")
    @click.option("--data", metavar="FOLDER", help="data folder of the runtime")
    @click.option("--address", help="its address [PERDURE_ADDRESS, else the one runtime of this user]")
    @click.pass_context
    @functools.wraps(command)
    def choose(
        context: click.Context,
        database: str,
        path: str | None,
        env_name: str | None,
        data: str | None,
        address: str | None,
        **given: object,
    ) -> None:
        found = path or configurations.find(os.getcwd())
        if found is None:
            raise ConfigError("there is no wrangler file in this folder", hint="name one with --config")
        config = configurations.read(found, env_name)
        item = _item(config, database)
        opener = cast("Callable[[str | None, str | None], Link]", context.obj or _Client)

        def link() -> Link:
            opened = opener(data, address)
            context.call_on_close(opened.close)
            return opened

        folder = os.path.join(os.path.dirname(os.path.abspath(found)), str(item.get("migrations_dir") or "migrations"))
        migrations = Migrations(folder, str(item.get("migrations_table") or "d1_migrations"))
        command(_Chosen(link, databases.identity(config, item), migrations), **given)

    return choose


def _item(config: Config, name: str) -> Item:
    """The database of that binding, name or id. Raises ConfigError."""
    declared = items(config, "d1_databases")
    for key in ("binding", "database_name", "database_id"):
        for item in declared:
            if item.get(key) == name:
                return item
    known = ", ".join(str(item.get("binding")) for item in declared) or "none"
    raise ConfigError(f"{config.path} declares no database {name!r}", hint=f"it declares: {known}")


@click.group()
def d1() -> None:
    """Run SQL on the D1 databases of a program that is served. DB is a binding, or a database's name or id."""


@d1.command("execute")
@_choosing
@click.option("--command", "text", metavar="SQL", help="statements, with ; between them")
@click.option("--file", "file", type=click.File(encoding="utf-8"), help="a file of statements")
@click.option("--json", "as_json", is_flag=True, help="JSON, one line a row")
def execute(chosen: _Chosen, text: str | None, file: Any, as_json: bool) -> None:
    """Run statements as one transaction, and print the rows of the last that gives some."""
    if (text is None) == (file is None):
        raise InvalidArgument("nothing is run", hint="say --command SQL or --file FILE, one of them")
    statements = split(text if text is not None else file.read())
    results = chosen.run(lambda db: db.batch([db.prepare(statement) for statement in statements]))
    rows: list[dict[str, object]] = next((each["results"] for each in reversed(results) if each["results"]), [])  # pyright: ignore
    if rows:
        output.print_rows(list(rows[0]), rows, as_json=as_json, show=lambda _, value: _shown(value))
    changes = sum(each["meta"]["changes"] for each in results)  # pyright: ignore
    click.echo(f"{len(results)} statements, {changes} rows changed", err=True)


def _shown(value: object) -> str:
    text = "" if value is None else str(value)
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


@d1.group("migrations")
def migrations() -> None:
    """Apply the SQL files of `migrations_dir`, each once, in the order of their numbers."""


def _waiting(chosen: _Chosen) -> list[str]:
    """Files that were not applied yet."""

    async def applied(db: databases.D1Database) -> list[object]:
        await db.prepare(chosen.migrations.make_table).run()
        return [row[0] for row in cast("list[list[object]]", await db.prepare(chosen.migrations.applied).raw())]

    files = chosen.migrations.files()
    done = set(chosen.run(applied))
    return [name for name in files if name not in done]


@migrations.command("list")
@_choosing
def list_(chosen: _Chosen) -> None:
    """List the migrations that are not applied yet."""
    for name in _waiting(chosen):
        click.echo(name)


@migrations.command("apply")
@_choosing
def apply(chosen: _Chosen) -> None:
    """Apply the migrations that are not applied yet; stops at the first that fails, which is undone whole."""
    waiting = _waiting(chosen)
    for name in waiting:
        statements = split(chosen.migrations.read(name))

        def work(db: databases.D1Database, name: str = name, statements: list[str] = statements) -> Awaitable[object]:
            note = db.prepare(chosen.migrations.note).bind(name)
            return db.batch([*map(db.prepare, statements), note])

        with output.working(f"applying {name}"):
            chosen.run(work)
        click.echo(f"applied {name}")
    if not waiting:
        click.echo("no migrations to apply", err=True)


@migrations.command("create")
@_choosing
@click.argument("message")
def create(chosen: _Chosen, message: str) -> None:
    """Make the next file of the migrations, and print its path."""
    click.echo(chosen.migrations.create(message))
