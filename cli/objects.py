"""`perdure objects`: look at the objects of a running runtime, and act on them."""

from __future__ import annotations

from typing import cast

import click

from ..engine.errors import InvalidArgument
from . import object_files, output
from .operator import PAGE, Fields
from .session import Session, json_flag, reaching
from .times import show_time


@click.group()
def objects() -> None:
    """Look at the objects of a running runtime, copy, compare and change them.

    ID is CLASS/NAME (class name or key), or 64 hex digits. TIME is a bookmark, an ISO time, or for instance "10m ago".
    """


for command in (object_files.export, object_files.import_, object_files.fork, object_files.diff, object_files.shell):
    objects.add_command(command)


# ---------------------------------------------------------------------- looking
@objects.command("list")
@click.argument("class_", metavar="[CLASS]", required=False)
@click.option("--prefix", help="only objects whose name begins so")
@click.option("--limit", type=click.IntRange(min=1), help="at most so many")
@json_flag
@reaching
def list_(session: Session, class_: str | None, prefix: str | None, limit: int | None, as_json: bool) -> None:
    """List objects, sorted by class and name."""
    operator = session.operator
    key = None if class_ is None else operator.class_key(class_)
    rows = operator.objects(key, prefix, min(limit or PAGE, PAGE))
    if limit is not None:
        rows = (row for row, _ in zip(rows, range(limit), strict=False))
    columns = ("class", "name", "id", "bytes", "active")
    named = ({**row, "class": operator.class_name(str(row["class"])), "active": row["active_ms"]} for row in rows)
    if as_json:
        named = ({name: value for name, value in row.items() if name != "active"} for row in named)
    output.print_rows(columns, named, as_json=as_json, show=_shown)


@objects.command("show")
@click.argument("id", metavar="ID")
@json_flag
@reaching
def show(session: Session, id: str, as_json: bool) -> None:
    """Show what is known of one object."""
    target = session.operator.find(id)
    fields = session.operator.describe(target)
    if not as_json:
        fields = {
            "id": fields["id"],
            "class": session.operator.class_name(str(fields["class"])),
            "class key": fields["class"],
            "name": fields["name"],
            "bytes": fields["bytes"],
            "created": fields["created_ms"],
            "active": fields["active_ms"],
            "resident": fields["resident"],
        }
    output.print_fields(fields, as_json=as_json, show=_shown)


@objects.command("history")
@click.argument("id", metavar="ID")
@json_flag
@reaching
def history(session: Session, id: str, as_json: bool) -> None:
    """List the moments that an object can be restored to, oldest first."""
    found = session.operator.history(session.operator.find(id))
    points = sorted(cast("list[Fields]", found["points"]), key=lambda point: str(point["bookmark"]))
    rows = points if as_json else [{**point, "time": point["time_ms"]} for point in points]
    count = output.print_rows(("time", "bookmark", "bytes"), rows, as_json=as_json, show=_shown)
    if not as_json:
        oldest = show_time(cast("int", found["oldest_ms"] or 0)) or "nowhere"
        click.echo(f"{count} points, {found['bytes']} bytes of history back to {oldest}", err=True)


def _shown(column: str, value: object) -> str:
    if value is None:
        return ""
    if column in ("active", "created", "time"):
        return show_time(cast("int", value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    # Names may hold anything; a line must stay a line, and a terminal must not obey them.
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in str(value))


# ---------------------------------------------------------------------- acting
@objects.command("delete")
@click.argument("id", metavar="ID")
@click.option("--yes", is_flag=True, help="do not ask")
@reaching
def delete(session: Session, id: str, yes: bool) -> None:
    """Delete an object: its keys, tables and alarm."""
    target = session.operator.find(id)
    if not yes:
        if not output.may_ask():
            raise InvalidArgument(f"{target} is not deleted without a word", hint="say --yes")
        click.confirm(f"Delete {target} and everything that it stores?", abort=True, err=True)
    click.echo(f"deleted {target}" if session.operator.delete(target) else f"{target} had nothing stored")


@objects.command("restore")
@click.argument("id", metavar="ID")
@click.option("--at", "at", metavar="TIME", required=True, help="the moment to bring back")
@reaching
def restore(session: Session, id: str, at: str) -> None:
    """Bring back an object as it was at TIME. Prints the bookmark that undoes it."""
    target, moment = session.operator.find(id), session.moment(at)
    if moment is None:
        raise InvalidArgument("an object is as it is now already", hint="give an earlier time or a bookmark")
    with output.working(f"restoring {target}"):
        undo = session.operator.restore(target, moment)
    click.echo(undo)
    click.echo(f"restored {target}; undo with: perdure objects restore {id} --at {undo}", err=True)


@objects.command("vacuum")
@click.argument("id", metavar="ID")
@reaching
def vacuum(session: Session, id: str) -> None:
    """Write an object's file anew, without the space that deleted rows have left."""
    target = session.operator.find(id)
    with output.working(f"writing {target} anew"):
        before, after = session.operator.vacuum(target)
    click.echo(f"{target}: {before:,} bytes before, {after:,} now")


@objects.command("upgrade")
@click.argument("class_", metavar="CLASS")
@click.option("--now", is_flag=True, help="let objects in memory begin anew at once, not on their next start")
@reaching
def upgrade(session: Session, class_: str, now: bool) -> None:
    """Give SQL to the objects of CLASS, which was declared with `new_classes`. For good; their data stays as it is."""
    operator = session.operator
    upgraded, count = operator.upgrade_class(operator.class_key(class_), now)
    if not upgraded:
        click.echo(f"{class_} has SQL already")
        return
    when = "begin anew" if now else "follow on their next start"
    click.echo(f"{class_} has SQL; {count} objects in memory {when}")
