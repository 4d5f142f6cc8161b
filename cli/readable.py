"""Values as people and JSON can read them: what an object stored under a key, and what SQLite has in a column.

What always holds: the result is plain JSON. What JSON has no word for is told by a dict with one key that begins with `$`.
"""

from __future__ import annotations

import base64
import datetime
import json
import math
from typing import cast

from ..engine.errors import PerdureError
from ..engine.kv import decode, value_of


def readable(value: object) -> object:
    """The value with bytes as `{"$bytes": base64}`, sets, times and non-finite numbers likewise."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$number": str(value)}
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, datetime.datetime):
        return {"$datetime": value.astimezone(datetime.UTC).isoformat()}
    if isinstance(value, set):
        members = [readable(member) for member in cast("set[object]", value)]
        return {"$set": sorted(members, key=lambda member: json.dumps(member, sort_keys=True))}
    if isinstance(value, list):
        return [readable(member) for member in cast("list[object]", value)]
    if isinstance(value, dict):
        return {str(key): readable(member) for key, member in cast("dict[object, object]", value).items()}
    return {"$value": str(value)}


def stored(data: object) -> object:
    """What the bytes of a hidden key-value row hold, readable. Bytes that are no value come back as `$damaged`."""
    if not isinstance(data, bytes):
        return readable(data)
    try:
        return readable(value_of(decode(data)))
    except (PerdureError, ValueError):
        return {"$damaged": base64.b64encode(data).decode()}


def to_json(value: object) -> str:
    """One line of JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "))
