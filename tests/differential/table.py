"""All rows."""

from __future__ import annotations

from . import kv_rows, sql_failure_rows, sql_rows, sync_kv_rows
from .operation import Operation

TABLE: list[Operation] = [*kv_rows.ROWS, *sync_kv_rows.ROWS, *sql_rows.ROWS, *sql_failure_rows.ROWS]
