"""What commands print: tables in a terminal, tab-separated text when piped, JSON lines when asked; progress on stderr.

What always holds: stdout carries results only, and the same ones in each form.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from .copies import Progress
from .differences import KEYS, Difference, RowChange
from .readable import to_json

_VALUE_CHARACTERS_MAX = 100
Row = dict[str, object]
_SIGNS = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}


def in_terminal() -> bool:
    """Whether results are read by a person."""
    return sys.stdout.isatty()


def may_ask() -> bool:
    """Whether a person can be asked."""
    return sys.stdin.isatty()


def print_rows(
    columns: Sequence[str], rows: Iterable[Row], *, as_json: bool, show: Callable[[str, object], str]
) -> int:
    """Print the rows; how many. `show(column, value)` words a value for people; JSON gets it as it is."""
    count = 0
    if as_json:
        for row in rows:
            click.echo(to_json(row))
            count += 1
    elif in_terminal():
        table = Table(box=None, pad_edge=False, header_style="bold cyan")
        for column in columns:
            table.add_column(column, justify="right" if column == "bytes" else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(show(column, row.get(column))) for column in columns))
            count += 1
        Console(highlight=False).print(table)
    else:
        for row in rows:
            click.echo("\t".join(show(column, row.get(column)) for column in columns))
            count += 1
    return count


def print_fields(fields: Row, *, as_json: bool, show: Callable[[str, object], str]) -> None:
    """Print one thing, a line a field."""
    if as_json:
        click.echo(to_json(fields))
        return
    for name, value in fields.items():
        text = show(name, value)
        if in_terminal():
            Console(highlight=False, soft_wrap=True).print(Text(f"{name:<12}", "bold cyan") + Text(text))
        else:
            click.echo(f"{name}\t{text}")


# ---------------------------------------------------------------------- differences
def print_differences(found: Iterable[Difference], *, as_json: bool) -> int:
    """Print each as it comes, then the counts of each table; how many there are."""
    counts: dict[str, dict[str, int]] = {}
    total = 0
    console = Console(highlight=False, soft_wrap=True)
    for item in found:
        total += 1
        if as_json:
            click.echo(to_json(_as_fields(item)))
        elif isinstance(item, RowChange):
            of_table = counts.setdefault(item.table, dict.fromkeys(_SIGNS, 0))
            if not any(of_table.values()):
                console.print(Text(_title(item.table), "bold"))
            of_table[item.change] += 1
            sign, style = _SIGNS[item.change]
            console.print(Text(f"{sign} {_words(item)}", style))
        else:
            console.print(Text(f"{item.what} {item.name}: {item.change}", "bold"))
            for sign, style, sql in (("-", "red", item.before), ("+", "green", item.after)):
                if sql is not None:
                    console.print(Text(f"{sign} {' '.join(sql.split())}", style))
    if not as_json:
        for table, of_table in counts.items():
            console.print(f"{_title(table)}: {', '.join(f'{number} {change}' for change, number in of_table.items())}")
        if not total:
            console.print("no differences")
    return total


def _title(table: str) -> str:
    return "keys and values" if table == KEYS else f"table {table}"


def _as_fields(item: Difference) -> Row:
    if isinstance(item, RowChange):
        return {
            "table": item.table,
            "change": item.change,
            "key": item.key,
            "before": item.before,
            "after": item.after,
        }
    return {"schema": item.what, "name": item.name, "change": item.change, "before": item.before, "after": item.after}


def _words(item: RowChange) -> str:
    """`key  column: before -> after, …` of a changed row; all columns of one that came or went."""
    key = ", ".join(_short(value) for value in item.key.values())
    before, after = item.before or {}, item.after or {}
    if item.change == "changed":
        names = [name for name in dict.fromkeys((*before, *after)) if _typed(before, name) != _typed(after, name)]
        parts = [f"{name}: {_short(before.get(name))} -> {_short(after.get(name))}" for name in names]
    else:
        parts = [f"{name}: {_short(value)}" for name, value in (before or after).items() if name not in item.key]
    return f"{key}  {', '.join(parts)}".rstrip()


def _typed(values: Row, name: str) -> tuple[str, object]:
    value = values.get(name)
    return type(value).__name__, value


def _short(value: object) -> str:
    text = to_json(value)
    return text if len(text) <= _VALUE_CHARACTERS_MAX else text[: _VALUE_CHARACTERS_MAX - 1] + "…"


# ---------------------------------------------------------------------- progress
@contextmanager
def working(what: str) -> Generator[Progress]:
    """Show on stderr, when that is a terminal, that something takes its time. The progress may be called or not."""
    if not sys.stderr.isatty():
        yield lambda _done, _whole: None
        return
    columns = TextColumn("{task.description}"), TextColumn("{task.fields[state]}"), TimeElapsedColumn()
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None, state="")

        def progress(done: int, whole: int) -> None:
            bar.update(task, state=f"{done >> 20} of {whole >> 20} MiB")

        yield progress
