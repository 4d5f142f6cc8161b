"""All rows, each with what may differ."""

from __future__ import annotations

from dataclasses import replace

from . import (
    alarm_rows,
    fetch_rows,
    gate_rows,
    kv_rows,
    reference_rows,
    rpc_rows,
    socket_rows,
    sql_failure_rows,
    sql_rows,
    sync_kv_rows,
    transaction_rows,
)
from .known import KNOWN
from .operation import Operation

TABLE: list[Operation] = [
    replace(row, allow=KNOWN.get(row.name, row.allow))
    for row in [
        *kv_rows.ROWS,
        *sync_kv_rows.ROWS,
        *sql_rows.ROWS,
        *sql_failure_rows.ROWS,
        *transaction_rows.ROWS,
        *gate_rows.ROWS,
        *alarm_rows.ROWS,
        *rpc_rows.ROWS,
        *reference_rows.ROWS,
        *fetch_rows.ROWS,
        *socket_rows.ROWS,
    ]
]
