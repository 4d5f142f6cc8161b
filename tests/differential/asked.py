"""How a program that serves the rows over HTTP is asked for them: one request a row, many at once."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from .operation import Json, Operation

_ROW_S = 20.0
_AT_ONCE = 24


def outcome(url: str, row: Operation) -> Json:
    """What the program at `url` makes of a row."""
    body = json.dumps({"name": row.name}).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=_ROW_S) as response:
            return json.loads(response.read())
    except OSError as error:
        return {"no outcome": str(error)}


def outcomes(url: str, rows: Iterable[Operation]) -> dict[str, Json]:
    """All of them: rows that wait, wait together."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(pool.map(lambda row: (row.name, outcome(url, row)), rows))
