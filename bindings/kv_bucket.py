"""One bucket of a KV namespace: an object that has the keys whose hash says so, with their values (system class `kv`).

What always holds: a key has one version, whose pieces were all there when it took the key over; a version that lost its key
keeps its pieces for a minute, so that who reads them goes on; what has expired is never given, whenever it is removed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from typing import cast

from ..engine.context import DurableObjectContext
from ..engine.durable import DurableObject

PIECE_BYTES = 1 << 20
"""Of a value that is not with its key: what one call carries, and one row holds."""
INLINE_BYTES_MAX = 1_000
"""Values up to this lie beside their keys: one row to read, and a list does not pass over them."""
READERS_S = 60
"""How long a version that was replaced can still be read."""
UPLOAD_S = 3_600
"""How long after its last piece an upload that was not finished is kept."""
_CLEANING_S = 60
"""Between two runs of the alarm."""
_REMOVED_MAX = 256
"""Keys, and versions, that one run of the alarm removes: a run is one commit."""

_TABLES = """
create table if not exists entries(
    key blob primary key, version integer not null, expires_s integer, metadata text, size integer not null, value blob
) without rowid;
create index if not exists entries_expire on entries(expires_s) where expires_s is not null;
create table if not exists pieces(version integer, number integer, data blob not null, primary key(version, number));
create table if not exists leftovers(version integer primary key, until_s integer not null)
"""


class KvBucket(DurableObject):
    """Its methods are what the binding calls (`kv.py`); each is one turn, and may be repeated without harm."""

    def __init__(self, ctx: DurableObjectContext, env: object) -> None:
        super().__init__(ctx, env)
        self._sql = ctx.storage.sql
        self._made = False

    def _ready(self) -> None:
        """Make the tables: not before something is stored, for an object that stores nothing has no file."""
        if not self._exists():
            self._sql.exec(_TABLES)
            self._made = True

    def _exists(self) -> bool:
        self._made = self._made or bool(
            self._sql.exec("select 1 from sqlite_schema where name = 'leftovers'").toArray()
        )
        return self._made

    # ------------------------------------------------------------------ reading
    async def read(self, key: bytes) -> dict[str, object] | None:
        """`value`: all of it, or its first piece of `pieces`; `version`, `size`, `metadata` (JSON or None). None: no such key."""
        if not self._exists():
            return None
        rows = self._sql.exec(
            "select version, expires_s, metadata, size, value from entries where key = ?", key
        ).raw().toArray()  # fmt: skip
        if not rows:
            return None
        version, expires_s, metadata, size, value = cast("list[object]", rows[0])
        if expires_s is not None and cast("int", expires_s) <= time.time():
            return None
        found = {"version": version, "metadata": metadata, "size": size, "pieces": 1}
        if value is not None:
            return {**found, "value": value}
        pieces = -(-cast("int", size) // PIECE_BYTES)
        return {**found, "pieces": pieces, "value": await self.piece(cast("int", version), 0)}

    async def piece(self, version: int, number: int) -> bytes | None:
        """One piece of a version; None when the version is gone."""
        if not self._exists():
            return None
        rows = self._sql.exec(
            "select data from pieces where version = ? and number = ?", version, number
        ).raw().toArray()  # fmt: skip
        return cast("bytes", cast("list[object]", rows[0])[0]) if rows else None

    async def page(self, prefix: bytes, after: bytes, limit: int) -> list[list[object]]:
        """Up to `limit` keys after `after` that begin with `prefix`, in order: [key, expires_s, metadata] each."""
        if not self._exists():
            return []
        end = _after_all(prefix)
        rows = self._sql.exec(
            "select key, expires_s, metadata from entries where key > ? and key >= ? and (? is null or key < ?) "
            "and (expires_s is null or expires_s > ?) order by key limit ?",
            after, prefix, end, end, time.time(), limit,
        )  # fmt: skip
        return cast("list[list[object]]", rows.raw().toArray())

    # ------------------------------------------------------------------ writing
    async def write(self, key: bytes, value: bytes, expires_s: int | None, metadata: str | None) -> None:
        """Store a value of at most one piece."""
        self._ready()
        version = random.getrandbits(62)
        inline = value if len(value) <= INLINE_BYTES_MAX else None
        if inline is None:
            self._sql.exec("insert into pieces values(?, 0, ?)", version, value)
        await self._take_over(key, version, len(value), expires_s, metadata, inline)

    async def add_piece(self, version: int, number: int, data: bytes) -> None:
        """Store a piece of a version that is being uploaded; nobody sees it before `finish`."""
        self._ready()
        self._sql.exec("insert or replace into pieces values(?, ?, ?)", version, number, data)
        await self._leave(version, int(time.time()) + UPLOAD_S)

    async def finish(self, key: bytes, version: int, size: int, expires_s: int | None, metadata: str | None) -> bool:
        """Let an uploaded version take the key over. False: its pieces are not all there, upload it again."""
        self._ready()
        count = self._sql.exec("select count(*) as n from pieces where version = ?", version).one()["n"]
        if count != -(-size // PIECE_BYTES):
            return False
        current = self._sql.exec("select 1 from entries where key = ? and version = ?", key, version).toArray()
        if not current:  # else it is a repeat
            self._sql.exec("delete from leftovers where version = ?", version)
            await self._take_over(key, version, size, expires_s, metadata, None)
        return True

    async def erase(self, key: bytes) -> None:
        """Remove a key, if it is there."""
        if self._exists():
            await self._retire(key)
            self._sql.exec("delete from entries where key = ?", key)

    async def _take_over(
        self, key: bytes, version: int, size: int, expires_s: int | None, metadata: str | None, value: bytes | None
    ) -> None:
        await self._retire(key)
        self._sql.exec(
            "insert or replace into entries values(?, ?, ?, ?, ?, ?)", key, version, expires_s, metadata, size, value
        )
        if expires_s is not None:
            await self._clean_at(expires_s)

    async def _retire(self, key: bytes) -> None:
        """The key's version is replaced or removed: its pieces stay for its readers."""
        rows = self._sql.exec("select version, value is null from entries where key = ?", key).raw().toArray()
        if rows and cast("list[object]", rows[0])[1]:
            await self._leave(cast("int", cast("list[object]", rows[0])[0]), int(time.time()) + READERS_S)

    async def _leave(self, version: int, until_s: int) -> None:
        self._sql.exec("insert or replace into leftovers values(?, ?)", version, until_s)
        await self._clean_at(until_s)

    # ------------------------------------------------------------------ cleaning
    async def _clean_at(self, when_s: int) -> None:
        """Have the alarm run then, or before."""
        armed = await self.ctx.storage.getAlarm()
        if armed is None or armed > when_s * 1000:
            await self.ctx.storage.setAlarm(when_s * 1000)

    async def alarm(self, alarm_info: object = None) -> None:
        """Remove what has expired and what nobody reads any more, some of it; come again for the rest."""
        now_s = int(time.time())
        due = "select key from entries where expires_s is not null and expires_s <= ? order by expires_s limit ?"
        keys = cast("Iterable[list[bytes]]", self._sql.exec(due, now_s, _REMOVED_MAX).raw().toArray())
        for [key] in keys:
            await self._retire(key)
            self._sql.exec("delete from entries where key = ?", key)
        gone = "select version from leftovers where until_s <= ? order by until_s limit ?"
        versions = cast("Iterable[list[int]]", self._sql.exec(gone, now_s, _REMOVED_MAX).raw().toArray())
        for [version] in versions:
            self._sql.exec("delete from pieces where version = ?", version)
            self._sql.exec("delete from leftovers where version = ?", version)
        soonest = self._sql.exec(
            "select min(at) as at from (select min(expires_s) as at from entries where expires_s is not null "
            "union all select min(until_s) from leftovers)"
        ).one()["at"]
        if soonest is not None:
            behind = cast("int", soonest) <= now_s  # more is due than one run removes
            await self._clean_at(now_s + 1 if behind else max(cast("int", soonest), now_s + _CLEANING_S))


def _after_all(prefix: bytes) -> bytes | None:
    """The first key after all that begin with `prefix`; None: there is none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else None
