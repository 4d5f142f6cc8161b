"""All rows."""

from __future__ import annotations

from . import kv_rows
from .operation import Operation

TABLE: list[Operation] = [*kv_rows.ROWS]
