"""The local driver of Meta: one SQLite file, synced at every change."""

from __future__ import annotations

import apsw

from ..engine.errors import DataFolderError, VersionMismatch

FORMAT = 1


class LocalMeta:
    """Values by key. Raises DataFolderError when the file cannot be used."""

    def __init__(self, path: str) -> None:
        try:
            self._connection = apsw.Connection(path)
            self._connection.set_busy_timeout(5_000)
            self._connection.execute(
                "pragma journal_mode=wal;pragma synchronous=extra;"
                "create table if not exists meta(key text primary key, value blob) without rowid"
            ).fetchall()
            found = self._connection.pragma("user_version")
        except apsw.Error as error:
            raise DataFolderError(
                f"cannot use {path}: {error}", hint="is the disk full, or the folder not writable by this user?"
            ) from error
        if found > FORMAT:
            self._connection.close()
            raise VersionMismatch(
                f"{path} has format {found}, this perdure understands up to {FORMAT}", hint="upgrade perdure"
            )
        if found < FORMAT:
            self._connection.pragma("user_version", FORMAT)

    def get(self, key: str) -> bytes | None:
        """The value, None when there is none."""
        row = self._connection.execute("select value from meta where key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    def compare_and_set(self, key: str, old: bytes | None, new: bytes) -> bool:
        """Replace `old` (None: absent) by `new`; False when another value stands there."""
        with self._connection:
            if self.get(key) != old:
                return False
            self._connection.execute("insert or replace into meta values(?, ?)", (key, new))
        return True

    def close(self) -> None:
        self._connection.close()
