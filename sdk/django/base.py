"""The database backend: Django's for SQLite, over `perdure.dbapi`.

What always holds: a query runs in the turn of the object whose event runs it, and nowhere else; `atomic` is a unit of that turn,
kept or undone whole; nothing of one object's is kept for another.
"""

# pyright: basic, reportGeneralTypeIssues=false, reportOptionalMemberAccess=false, reportAssignmentType=false

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from weakref import WeakSet

import apsw
from django.db.backends.sqlite3._functions import register as register_functions
from django.db.backends.sqlite3.base import DatabaseWrapper as SqliteWrapper
from django.db.backends.sqlite3.features import DatabaseFeatures as SqliteFeatures
from django.db.backends.sqlite3.introspection import DatabaseIntrospection as SqliteIntrospection
from django.db.backends.sqlite3.operations import DatabaseOperations as SqliteOperations

from ...engine.storage import DurableObjectStorage
from ...engine.turns import SCOPE
from .. import dbapi

_TURN_OVER_S = 0.001
_PLACE = re.compile(r"%(?:s|\((\w+)\)s|%)")


def running_storage() -> DurableObjectStorage:
    """`ctx.storage` of the object whose event runs. Raises OperationalError outside of objects."""
    scope = SCOPE.get()
    if scope is None:
        raise dbapi.OperationalError(
            "perdure.sdk.django reaches the database of the object whose event runs, and none does: serve the application inside "
            "a DurableObject, with wsgi.fetch in its fetch()"
        )
    return scope.instance.storage_api


class Cursor(dbapi.Cursor):
    """Takes Django's `%s` and `%(name)s`."""

    connection: Connection

    def execute(self, sql: str, parameters: Sequence[object] | Mapping[str, object] | None = None) -> dbapi.Cursor:
        if parameters is None:
            return super().execute(sql)
        return super().execute(*_with_question_marks(sql, parameters, self.connection.parameters_max))

    def executemany(self, sql: str, rows: Iterable[Any]) -> dbapi.Cursor:
        changed = 0
        for row in rows:
            self.execute(sql, row)
            changed += max(self.rowcount, 0)
        self.rowcount = changed
        return self


def _with_question_marks(
    sql: str, parameters: Sequence[object] | Mapping[str, object], bound: int
) -> tuple[str, list[object]]:
    """What is over the bound of parameters goes into the text: Django's `IN (…)` may be long."""
    given: list[object] = []
    position = 0

    def place(found: re.Match[str]) -> str:
        nonlocal position
        if found[0] == "%%":
            return "%"
        if found[1]:
            value = parameters[found[1]]  # type: ignore[call-overload]
        else:
            value = parameters[position]  # type: ignore[index]
            position += 1
        if len(given) >= bound and (text := _literal(value)) is not None:
            return text
        given.append(value)
        return "?"

    return _PLACE.sub(place, sql), given


def _literal(value: object) -> str | None:
    """A value as SQL; None for what cannot be written."""
    if value is None:
        return "NULL"
    if isinstance(value, bool | int):
        return str(int(value))
    if isinstance(value, str) and "\0" not in value:
        return "'" + value.replace("'", "''") + "'"
    return None


class Connection(dbapi.Connection):
    """Of all objects of the thread: each use is of the one that runs."""

    @property
    def parameters_max(self) -> int:
        """How many parameters a statement may have."""
        return self._storage()._storage.limits.sql_parameters_max

    def cursor(self) -> Cursor:
        return Cursor(self)


class _Registry:
    """What Django's registration of functions expects of a connection."""

    def __init__(self, connection: Connection) -> None:
        self.create_function = connection.create_function
        self.create_aggregate = connection.create_aggregate

    def execute(self, _sql: str) -> _Registry:
        return self

    def fetchone(self) -> tuple[int]:
        return (1,)  # SQLite has its mathematical functions


class Features(SqliteFeatures):
    max_query_params = 100
    supports_json_field = True
    can_clone_databases = False
    test_db_allows_multiple_connections = False


class Operations(SqliteOperations):
    def get_db_converters(self, expression: Any) -> list[Any]:
        converters = super().get_db_converters(expression)
        if expression.output_field.get_internal_type() == "FloatField":
            converters.append(_as_float)
        return converters

    def bulk_batch_size(self, fields: Any, objs: Any) -> int:
        return max(min(super().bulk_batch_size(fields, objs), Features.max_query_params), 1)

    def bulk_insert_sql(self, fields: Any, placeholder_rows: Any) -> str:
        return "VALUES " + ", ".join(f"({', '.join(row)})" for row in placeholder_rows)

    def _quote_params_for_last_executed_query(self, params: Any) -> tuple[str, ...]:
        return tuple([_literal(value) or repr(value) for value in params])


def _as_float(value: Any, _expression: Any, _connection: Any) -> Any:
    return None if value is None else float(value)  # storage gives whole numbers as int


class Introspection(SqliteIntrospection):
    def get_table_list(self, cursor: Any) -> list[Any]:
        return [table for table in super().get_table_list(cursor) if not table.name.lower().startswith("_cf_")]


class DatabaseWrapper(SqliteWrapper):
    """`ENGINE`: "perdure.sdk.django". Needs no other settings."""

    display_name = "perdure"
    Database = dbapi  # type: ignore[assignment]
    features_class = Features
    ops_class = Operations
    introspection_class = Introspection

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unchecked: WeakSet[DurableObjectStorage] = WeakSet()
        """Objects whose foreign keys are switched off until their turn is over."""

    # ------------------------------------------------------------------ connection
    def get_connection_params(self) -> dict[str, Any]:
        return {}

    def get_new_connection(self, conn_params: dict[str, Any]) -> Connection:
        made = Connection(running_storage)
        register_functions(_Registry(made))
        return made

    def get_database_version(self) -> tuple[int, ...]:
        return tuple(int(part) for part in apsw.sqlite_lib_version().split("."))

    def create_cursor(self, name: str | None = None) -> Cursor:
        running_storage()
        return self.connection.cursor()

    def close(self) -> None:
        """There is nothing to close: the database is its object's."""

    def is_in_memory_db(self) -> bool:
        return False

    # ------------------------------------------------------------------ transactions
    def _set_autocommit(self, autocommit: bool) -> None:
        """Statements belong to the turn in either case."""

    def _start_transaction_under_autocommit(self) -> None:
        self._open_savepoints: list[str] = []
        self.connection.begin()

    def _savepoint(self, sid: str) -> None:
        with self.wrap_database_errors:
            self.connection.begin()
        self._open_savepoints.append(sid)

    def _savepoint_rollback(self, sid: str) -> None:
        """It stays: as with SQL, it is to be released yet."""
        self._end_savepoints(sid, self.connection.rollback)
        self._savepoint(sid)

    def _savepoint_commit(self, sid: str) -> None:
        self._end_savepoints(sid, self.connection.commit)

    def _end_savepoints(self, sid: str, end: functools.partial[None] | Any) -> None:
        while sid in self._open_savepoints:
            with self.wrap_database_errors:
                end()
            self._open_savepoints.pop()

    # ------------------------------------------------------------------ foreign keys
    def disable_constraint_checking(self) -> bool:
        """For changes of tables and fixtures. Inside a turn that has written they are checked at its end instead."""
        storage = running_storage()
        if storage in self._unchecked:
            return True
        with self.cursor() as cursor:
            cursor.execute("PRAGMA foreign_keys = OFF")
            if cursor.execute("PRAGMA foreign_keys").fetchone()[0]:
                cursor.execute("PRAGMA defer_foreign_keys = ON")
            else:
                self._unchecked.add(storage)
                # SQLite switches them on between transactions only. A section: no other event comes before it is done.
                storage._storage.host.section(functools.partial(self._check_again, storage), "foreign_keys")
        return True

    def enable_constraint_checking(self) -> None:
        """Of what was switched off: when the turn is over."""
        if running_storage() not in self._unchecked:
            with self.cursor() as cursor:
                cursor.execute("PRAGMA defer_foreign_keys = OFF")

    async def _check_again(self, storage: DurableObjectStorage) -> None:
        on = False
        while not on:  # at most 30 s, as any section; once is enough unless something else of the event runs meanwhile
            await asyncio.sleep(_TURN_OVER_S)
            storage.sql.exec("PRAGMA foreign_keys = ON")
            on = bool(storage.sql.exec("PRAGMA foreign_keys").one()["foreign_keys"])
        self._unchecked.discard(storage)
