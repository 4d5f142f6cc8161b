"""A D1 database: one object, its own SQLite database the program's (system class `d1`).

What always holds: the statements of one call are one transaction; what fails in it is told with the statement's position, after
all of it was undone; a result that is too large to travel fails before it is read whole.
"""

from __future__ import annotations

import time
from typing import cast

from ..engine.context import DurableObjectContext
from ..engine.cursor import Cursor
from ..engine.durable import DurableObject
from ..engine.errors import StorageError
from .d1_values import reads_only

RESULT_BYTES_MAX = 24 << 20
"""Of all rows of a call, by estimate: with room to spare in what one answer may carry (32 MiB)."""
_ROW_BYTES, _CELL_BYTES = 16, 9
Statement = tuple[str, list[object]]
"""Its text and its parameters."""


class D1Object(DurableObject):
    """`run` is what the binding calls (`d1.py`)."""

    def __init__(self, ctx: DurableObjectContext, env: object) -> None:
        super().__init__(ctx, env)
        self._sql = ctx.storage.sql
        self._last_row_id = 0
        self._size: int | None = None
        """Of the database after the last statement; None: it has to be asked."""

    async def run(self, statements: list[Statement], bookmark: bool = False) -> dict[str, object]:
        """`{results: [{columns, rows, blobs, meta}]}`, or `{error, at}`: SQLite's words, and which statement they are of.

        `bookmark`: say with the results how far the database has come.
        """
        try:
            if all(reads_only(sql) for sql, _ in statements):  # in one turn: nobody writes between them
                results = await self._all(statements)
            else:
                self._size = None  # whatever comes of it
                results = await self.ctx.storage.transaction(lambda _: self._all(statements))
        except _Failed as failure:
            self._size = None
            return {"error": failure.message, "at": failure.at}
        except StorageError as error:  # of the commit: a constraint that is checked there
            self._size = None
            if error.durableObjectReset:
                raise
            return {"error": error.message, "at": len(statements) - 1}
        found: dict[str, object] = {"results": results}
        if bookmark:
            found["bookmark"] = await self.ctx.storage.getCurrentBookmark()
        return found

    async def _all(self, statements: list[Statement]) -> list[dict[str, object]]:
        room = RESULT_BYTES_MAX
        results: list[dict[str, object]] = []
        for at, (sql, parameters) in enumerate(statements):
            result, room = self._one(sql, parameters, at, room)
            results.append(result)
        return results

    def _one(self, sql: str, parameters: list[object], at: int, room: int) -> tuple[dict[str, object], int]:
        """Run a statement; its result, and how many bytes are left for others. Raises _Failed."""
        before = self._size if self._size is not None else self._sql.databaseSize
        began_s = time.time()
        try:
            cursor = self._sql.exec(sql, *parameters)
            rows, blobs, room = _taken(cursor, room)
        except StorageError as error:
            raise _Failed(error.message, at) from error
        changes, last_row_id = max(cursor.changes, 0), self._last_row_id
        if changes:
            self._last_row_id = cast("int", self._sql.exec("select last_insert_rowid() as id").one()["id"])
        after = self._size = before if reads_only(sql) else self._sql.databaseSize
        meta = {
            "served_by": "perdure",
            "served_by_primary": True,
            "duration": max(time.time() - began_s, 0.0) * 1000,
            "changes": changes,
            "last_row_id": self._last_row_id,
            "changed_db": changes > 0 or after != before or last_row_id != self._last_row_id,
            "size_after": after,
            "rows_read": cursor.rowsRead,
            "rows_written": cursor.rowsWritten,
        }
        return {"columns": list(cursor.columnNames), "rows": rows, "blobs": blobs, "meta": meta}, room


class _Failed(Exception):
    """A statement failed: `at` is its position."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.message, self.at = message, at


def _taken(cursor: Cursor, room: int) -> tuple[list[list[object]], bool, int]:
    """The rows, whether blobs are in them, and how many bytes are left. Raises StorageError when there are too many."""
    rows: list[list[object]] = []
    blobs = False
    for row in cursor.raw():
        room -= _ROW_BYTES
        for cell in row:
            room -= _CELL_BYTES
            if isinstance(cell, bytes):
                blobs = True
                room -= len(cell)
            elif isinstance(cell, str):
                room -= len(cell)
        if room < 0:
            raise StorageError(
                f"the result is larger than {RESULT_BYTES_MAX >> 20} MiB: ask for fewer rows or columns at a time"
            )
        rows.append(row)
    return rows, blobs, room
