"""Migrations of an object's own tables: numbered steps, each applied once, in order, in a transaction with the note that it was.

    MIGRATIONS = Migrations(
        (1, "notes", "create table notes(id integer primary key, text text not null)"),
        (2, "authors", add_authors),  # def add_authors(sql): ...
    )

    class Notebook(DurableObject):
        def __init__(self, ctx, env):
            super().__init__(ctx, env)
            MIGRATIONS.apply(ctx.storage)

What always holds: a step and the row in `_migrations` that records it are kept together or not at all; a step that fails is
undone whole, and none after it runs; a list that does not fit what the object has applied runs nothing.

It uses `transactionSync`, `sql.exec` and `sync` of `ctx.storage` only, so it works on any implementation of the SDK.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, cast

from ..engine.errors import MigrationError

T = TypeVar("T")
TABLE = "_migrations"
_CREATE = f"create table {TABLE}(number integer primary key, name text not null, applied_ms integer not null)"
_EXISTS = f"select count(*) as found from sqlite_master where type = 'table' and name = '{TABLE}'"
_APPLIED = f"select number, name from {TABLE} order by number"
_RECORD = f"insert into {TABLE}(number, name, applied_ms) values(?, ?, ?)"


class Rows(Protocol):
    """What `sql.exec` gives."""

    def toArray(self) -> Sequence[object]: ...


class SqlStorage(Protocol):
    """`ctx.storage.sql`."""

    def exec(self, query: str, *bindings: object) -> Rows: ...


class Storage(Protocol):
    """`ctx.storage`."""

    @property
    def sql(self) -> SqlStorage: ...
    def transactionSync(self, body: Callable[[], T]) -> T: ...
    def sync(self) -> Awaitable[None]: ...


Body = str | Callable[[SqlStorage], object]
"""SQL text, of one or several statements, or a function that is given `ctx.storage.sql`."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step. `number`: 1, 2, …; `name`: what it does, recorded with it, so that a step put in its place is noticed."""

    number: int
    name: str
    body: Body


class Migrations:
    """A list of steps that is known to be good: numbered from 1 without gaps, in order, each with a name of its own."""

    __slots__ = ("steps",)

    def __init__(self, *steps: Migration | tuple[int, str, Body]) -> None:
        """Raises MigrationError for gaps, duplicates, missing names and bodies that are neither SQL nor a function."""
        self.steps: tuple[Migration, ...] = tuple(_step(step) for step in steps)
        names: dict[str, int] = {}
        for expected, step in enumerate(self.steps, 1):
            if step.number != expected:
                raise _misnumbered(step, expected)
            other = names.setdefault(step.name, step.number)
            if other != step.number:
                raise MigrationError(f"migrations {other} and {step.number} have the same name {step.name!r}")

    @property
    def version(self) -> int:
        """The number of the last step; 0 when there is none."""
        return len(self.steps)

    def pending(self, storage: Storage) -> tuple[Migration, ...]:
        """The steps that the object has not applied. Raises MigrationError when the list does not fit what it has applied."""
        applied = _applied(storage.sql)
        for number, name in applied:
            if number > self.version:
                raise MigrationError(
                    f"the object has applied migration {number} ({name!r}), the program knows up to {self.version}",
                    hint="an older program is running than the one that changed this object; deploy the newer one",
                )
            known = self.steps[number - 1].name
            if known != name:
                raise MigrationError(
                    f"migration {number} was applied as {name!r}, the program now has {known!r} in its place",
                    hint="never change or reorder applied migrations: add a new one at the end",
                )
        if len(applied) != (applied[-1][0] if applied else 0):
            raise MigrationError(f"the table {TABLE} has gaps: {[number for number, _ in applied]}")
        return self.steps[len(applied) :]

    def apply(self, storage: Storage, *, now_ms: Callable[[], int] | None = None) -> list[int]:
        """Apply what is pending, before anything else uses the tables: in the constructor. The numbers that were applied.

        Raises MigrationError; the object is then at the last good version. When that error leaves the constructor the object
        is reset, and steps that were applied in the same turn before it are undone too. `now_ms`: the clock.
        """
        return [step.number for step in self._apply(storage, now_ms or _now_ms)]

    async def apply_each(self, storage: Storage, *, now_ms: Callable[[], int] | None = None) -> list[int]:
        """The same, with each step durable before the next begins: for long ones, and to keep those before one that fails.

        Use it as `ctx.blockConcurrencyWhile(lambda: MIGRATIONS.apply_each(ctx.storage))`. A process that dies in the middle
        goes on with the first step that was not durable.
        """
        done: list[int] = []
        for step in self._apply(storage, now_ms or _now_ms):
            await storage.sync()
            done.append(step.number)
        return done

    def _apply(self, storage: Storage, now_ms: Callable[[], int]) -> Iterator[Migration]:
        for step in self.pending(storage):

            def run(step: Migration = step) -> None:
                _run(step, storage.sql)
                if step.number == 1:
                    storage.sql.exec(_CREATE)
                storage.sql.exec(_RECORD, step.number, step.name, now_ms())

            try:
                storage.transactionSync(run)
            except MigrationError:
                raise
            except Exception as error:
                raise MigrationError(
                    f"migration {step.number} ({step.name!r}) failed: {error}",
                    hint="it was undone; the object is at the version before it",
                ) from error
            yield step


def migrate(storage: Storage, steps: Sequence[Migration | tuple[int, str, Body]]) -> list[int]:
    """`Migrations(*steps).apply(storage)`: bring the object's tables up to date; the numbers that were applied."""
    return Migrations(*steps).apply(storage)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _step(given: Migration | tuple[int, str, Body]) -> Migration:
    try:
        step = given if isinstance(given, Migration) else Migration(*given)
    except TypeError:
        raise MigrationError(f"a migration is (number, name, SQL or function), got {given!r}") from None
    number, name, body = cast("tuple[object, object, object]", (step.number, step.name, step.body))
    if type(number) is not int or not isinstance(name, str) or not name:
        raise MigrationError(f"a migration has a whole number and a name, got {number!r} and {name!r}")
    if not (isinstance(body, str) or callable(body)):
        raise MigrationError(f"migration {number} ({name!r}) is neither SQL nor a function")
    return step


def _misnumbered(step: Migration, expected: int) -> MigrationError:
    what = "appears twice or out of order" if step.number < expected else "leaves a gap"
    return MigrationError(
        f"migration {step.number} ({step.name!r}) {what}: expected number {expected}",
        hint="number them 1, 2, 3, … in the order in which they are applied",
    )


def _applied(sql: SqlStorage) -> list[tuple[int, str]]:
    found = cast("dict[str, int]", sql.exec(_EXISTS).toArray()[0])["found"]
    if not found:
        return []
    rows = cast("Sequence[dict[str, object]]", sql.exec(_APPLIED).toArray())
    return [(int(cast("int", row["number"])), str(row["name"])) for row in rows]


def _run(step: Migration, sql: SqlStorage) -> None:
    if isinstance(step.body, str):
        sql.exec(step.body).toArray()
        return
    result = step.body(sql)
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise MigrationError(
            f"migration {step.number} ({step.name!r}) is asynchronous, and a transaction cannot wait",
            hint="use `def`, and only sql inside",
        )


__all__ = ["Migration", "Migrations", "migrate"]
