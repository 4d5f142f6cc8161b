"""What an object's main file says of its alarm, read from outside, on a thread."""

from __future__ import annotations

from urllib.parse import quote

import apsw

from ..engine.alarms import ROWS, UNSURE_MS, armed_by


def read_alarm(path: str) -> tuple[int | None, str | None]:
    """When the alarm of a main file is due (None: there is none), and the object's name as far as it is kept with it.

    UNSURE_MS when the file cannot be read: it is being written, or the log has to make it whole.
    """
    try:
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        connection = apsw.Connection(f"file:{quote(path)}?immutable=1", flags=flags)
        try:
            rows = {str(key): value for key, value in connection.execute(ROWS)}
        finally:
            connection.close()
    except apsw.Error:
        return UNSURE_MS, None
    armed = armed_by(rows)
    name = rows.get("name")
    return (None if armed is None else armed.due_ms), (None if name is None else str(name))
