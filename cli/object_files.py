"""The commands of `perdure objects` that work on copies: export, import, fork, diff, shell."""

from __future__ import annotations

import os
import sys
from urllib.parse import quote

import apsw
import click

from ..engine.errors import ConfigError, InvalidArgument
from . import copies, output
from .differences import KEYS, differences
from .readable import stored, to_json
from .session import Session, json_flag, reaching


@click.command("export")
@click.argument("id", metavar="ID")
@click.option("--output", "to", metavar="FILE", help="where to write it [stdout]")
@click.option("--at", "at", metavar="TIME", help="as it was then [now]")
@click.option("--plain", is_flag=True, help="for other tools: keys and values readable in a table kv, nothing hidden")
@reaching
def export(session: Session, id: str, to: str | None, at: str | None, plain: bool) -> None:
    """Write an object's database as one SQLite file: perdure objects export ID > file.sqlite"""
    if to is None and output.in_terminal():
        raise InvalidArgument(
            "a database is not written to a terminal",
            hint="say --output FILE, or pipe it: perdure objects export ID > FILE",
        )
    if to is not None:
        copies.check_new(to)
    moment = session.moment(at)
    target = session.operator.find(id)
    with session.copy(target, moment) as path:
        if plain:
            from .plain import make_plain  # sqlite-utils takes a while to load: only who needs it waits

            make_plain(path)
        with output.working("writing") as progress:
            if to is None:
                count = copies.send(path, sys.stdout.buffer, progress)
            else:
                copies.hand_over(path, to, progress)
                count = os.path.getsize(to)
    click.echo(f"exported {target}: {count} bytes", err=True)


@click.command("import")
@click.argument("file", metavar="FILE")
@click.argument("class_", metavar="CLASS")
@click.argument("name", metavar="NAME")
@click.option("--replace", is_flag=True, help="also when the object has something stored")
@reaching
def import_(session: Session, file: str, class_: str, name: str, replace: bool) -> None:
    """Make FILE, a SQLite database, the storage of the object NAME of CLASS."""
    target = session.operator.named(class_, name)
    with session.workspace() as folder:
        path = f"{folder}/import.sqlite"
        with output.working(f"reading {file}") as progress:
            copies.take(file, path, progress)
        with output.working(f"importing {target}"):
            found = session.operator.take_in(target, path, replace=replace)
    click.echo(target.object_id.hex())
    click.echo(f"imported {target}: {found['bytes']} bytes, bookmark {found['bookmark']}", err=True)


@click.command("fork")
@click.argument("id", metavar="ID")
@click.argument("new_name", metavar="NEW-NAME")
@click.option("--at", "at", metavar="TIME", help="as it was then [now]")
@reaching
def fork(session: Session, id: str, new_name: str, at: str | None) -> None:
    """Make NEW-NAME, a new object of the same class, with what ID stores. Prints its id."""
    moment = session.moment(at)
    source = session.operator.find(id)
    target = session.operator.named(source.class_key, new_name)
    with session.copy(source, moment) as path, output.working(f"making {target}"):
        session.operator.take_in(target, path, replace=False)
    click.echo(target.object_id.hex())
    click.echo(f"forked {source} as {target}", err=True)


@click.command("diff")
@click.argument("id", metavar="ID")
@click.option("--from", "from_", metavar="TIME", required=True, help="the earlier moment")
@click.option("--to", "to", metavar="TIME", default="now", help="the later moment [now]")
@json_flag
@reaching
def diff(session: Session, id: str, from_: str, to: str, as_json: bool) -> None:
    """Show what changed in an object between two moments: schema, rows and keys."""
    earlier, later = session.moment(from_), session.moment(to)
    if isinstance(earlier, int) and isinstance(later, int) and earlier > later:
        raise InvalidArgument("--from is later than --to", hint="change them round")
    target = session.operator.find(id)
    with session.workspace() as folder:
        old = session.copy_into(folder, "from", target, earlier)
        new = session.copy_into(folder, "to", target, later)
        output.print_differences(differences(old, new), as_json=as_json)


@click.command("shell")
@click.argument("id", metavar="ID")
@click.option("--at", "at", metavar="TIME", help="as it was then [now]")
@reaching
def shell(session: Session, id: str, at: str | None) -> None:
    """Open a SQLite shell on a copy of an object. Reading only: nothing that is typed reaches the object."""
    from apsw.shell import Shell

    moment = session.moment(at)
    target = session.operator.find(id)
    with session.copy(target, moment) as path:
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        try:
            connection = apsw.Connection(f"file:{quote(path)}?immutable=1", flags=flags)
        except apsw.Error as error:
            raise ConfigError(f"the copy of {target} cannot be opened: {error}") from error
        connection.create_scalar_function("readable", _readable, 1, deterministic=True)
        if output.may_ask():
            click.echo(f"a copy of {target}, for reading; .tables, .schema, .exit", err=True)
            click.echo(f"its keys: select key, readable(value) from {KEYS};", err=True)
        found = Shell(stdin=sys.stdin, stdout=sys.stdout, stderr=sys.stderr, db=connection)
        found.history_file = None  # pyright: ignore[reportAttributeAccessIssue] - what is asked of data stays out of $HOME
        try:
            found.cmdloop()
        finally:
            connection.close(True)


def _readable(*values: object) -> str:
    """SQL function of the shell: what a key holds, as JSON."""
    return to_json(stored(values[0]))
