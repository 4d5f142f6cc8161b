"""The index of an R2 bucket: an object that knows which objects there are, and where their bytes lie (system class `r2`).

What always holds: an object is what one row says, so it is there whole or not at all; bytes are written under names of their own
before a row speaks of them, and the index knows the name before; what no row speaks of any more is removed later, so that who
reads it goes on.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote

from ..engine.context import DurableObjectContext
from ..engine.durable import DurableObject
from ..engine.outgoing import send_out
from ..engine.values import pack, unpack
from .blob_store import BlobStore, open_store
from .r2_rules import PART_BYTES_MIN, holds

if TYPE_CHECKING:
    from .surroundings import Surroundings

PIECE_BYTES = 8 << 20
"""Of one name in the store. A segment (`version`) of an object is pieces of this size, the last one smaller."""
READERS_S = 600
"""How long the bytes of what was replaced or removed are kept."""
UPLOAD_S = 3_600
"""How long after it was announced a piece may be written and taken over."""
PARTS_S = 7 * 86_400
"""How long a multipart upload may take."""
_CLEANING_S = 30
_REMOVED_MAX = 64
_LAST = "\U0010ffff" * 4
"""Behind every text that a key goes on with."""

_TABLES = """
create table if not exists objects(
    key text primary key, version text not null, size integer not null, etag text not null, uploaded_ms integer not null,
    segments blob not null, about blob not null
) without rowid;
create table if not exists uploads(
    id text primary key, key text not null, until_s integer not null, about blob not null, version text
) without rowid;
create table if not exists parts(
    upload text, number integer, etag text not null, size integer not null, version text not null, primary key(upload, number)
) without rowid;
create table if not exists leftovers(version text primary key, pieces integer not null, until_s integer not null) without rowid;
create index if not exists leftovers_due on leftovers(until_s)
"""
_OBJECT = "key, version, size, etag, uploaded_ms, segments, about"
Segment = tuple[str, int]
"""Version, bytes."""
Found = dict[str, object]
"""An object: `key`, `version`, `size`, `etag`, `uploaded_ms`, `segments`, `about`."""


def piece_name(version: str, number: int) -> str:
    """Name in the store."""
    return f"{version[:2]}/{version}-{number}"


def count_of(size: int) -> int:
    """Pieces of a segment."""
    return -(-size // PIECE_BYTES)


class R2Index(DurableObject):
    """Its methods are what the binding calls (`r2.py`); each may be repeated without harm."""

    def __init__(self, ctx: DurableObjectContext, env: object) -> None:
        super().__init__(ctx, env)
        self._around = cast("Surroundings", env)
        self._sql = ctx.storage.sql
        self._made = False
        self._store: BlobStore | None = None

    def _exists(self) -> bool:
        made = "select 1 from sqlite_schema where name = 'leftovers'"
        self._made = self._made or bool(self._sql.exec(made).toArray())
        return self._made

    def _ready(self) -> None:
        if not self._exists():
            self._sql.exec(_TABLES)
            self._made = True

    def _rows(self, sql: str, *values: object) -> list[list[object]]:
        return [list(cast("Iterable[object]", row)) for row in self._sql.exec(sql, *values).raw().toArray()]

    # ------------------------------------------------------------------ objects
    async def find(self, key: str) -> Found | None:
        """The object of that key."""
        return self._find(key) if self._exists() else None

    def _find(self, key: str) -> Found | None:
        rows = self._rows(f"select {_OBJECT} from objects where key = ?", key)
        return _object(rows[0]) if rows else None

    async def reserve(self, version: str, pieces: int) -> None:
        """So many pieces are about to be written: nobody forgets them."""
        self._ready()
        await self._leave(version, pieces, UPLOAD_S)

    async def commit(
        self,
        key: str,
        version: str,
        size: int,
        etag: str,
        about: dict[str, object],
        condition: dict[str, object] | None,
    ) -> Found | str:
        """Let what was written become the object of that key. Gives it; "condition": it did not hold; "late": too late."""
        self._ready()
        before = self._find(key)
        if before is not None and before["version"] == version:
            return before  # a repeat
        etag_before = None if before is None else cast("str", before["etag"])
        if not holds(condition, etag_before, 0 if before is None else cast("int", before["uploaded_ms"])):
            await self._leave(version, count_of(size), 0)
            return "condition"
        if not self._taken(version, size):
            return "late"
        return await self._replace(key, version, size, etag, [(version, size)], about)

    def _taken(self, version: str, size: int) -> bool:
        """Its pieces are an object's, or a part's, from now on. False: they are not there any more."""
        if not size:
            return True
        rows = self._rows("select pieces, until_s from leftovers where version = ?", version)
        if not rows or cast("int", rows[0][0]) < count_of(size) or cast("int", rows[0][1]) <= time.time():
            return False
        self._sql.exec("delete from leftovers where version = ?", version)
        return True

    async def _replace(
        self, key: str, version: str, size: int, etag: str, segments: Sequence[Segment], about: dict[str, object]
    ) -> Found:
        await self._retire(key)
        uploaded_ms = int(time.time() * 1000)
        self._sql.exec(
            "insert or replace into objects values(?,?,?,?,?,?,?)",
            key, version, size, etag, uploaded_ms, pack([list(each) for each in segments]), pack(about),
        )  # fmt: skip
        found = self._find(key)
        assert found is not None, "it was written just now"
        return found

    async def erase(self, keys: list[str]) -> None:
        """Remove objects; those that are not there are no error."""
        if self._exists():
            for key in keys:
                await self._retire(key)
                self._sql.exec("delete from objects where key = ?", key)

    async def _retire(self, key: str) -> None:
        found = self._find(key)
        if found is not None:
            for version, size in cast("list[Segment]", found["segments"]):
                await self._leave(version, count_of(size), READERS_S)

    async def page(self, prefix: str, after: str, delimiter: str, limit: int) -> dict[str, object]:
        """`objects`, `prefixes`, `last`: where to go on, None: there is no more."""
        objects: list[Found] = []
        prefixes: list[str] = []
        if not self._exists():
            return {"objects": objects, "prefixes": prefixes, "last": None}
        sql = f"select {_OBJECT} from objects where key > ? and key >= ? and key < ? and substr(key, 1, ?) = ? "
        sql += "order by key limit ?"
        last = after
        while True:
            left = limit - len(objects) - len(prefixes)
            rows = self._rows(sql, last, prefix, prefix + _LAST, len(prefix), prefix, left + 1)
            for row in rows:
                if len(objects) + len(prefixes) == limit:
                    return {"objects": objects, "prefixes": prefixes, "last": last}
                key = cast("str", row[0])
                cut = key.find(delimiter, len(prefix)) if delimiter else -1
                if cut < 0:
                    objects.append(_object(row))
                    last = key
                    continue
                group = key[: cut + len(delimiter)]
                if not prefixes or prefixes[-1] != group:
                    prefixes.append(group)
                last = group + _LAST  # after all of the group
                break
            else:
                return {"objects": objects, "prefixes": prefixes, "last": None}

    # ------------------------------------------------------------------ multipart uploads
    async def create_upload(self, upload: str, key: str, about: dict[str, object]) -> None:
        """Begin one, under an id that the caller has chosen."""
        self._ready()
        until_s = int(time.time()) + PARTS_S
        self._sql.exec("insert or ignore into uploads values(?,?,?,?,null)", upload, key, until_s, pack(about))
        await self._clean_at(until_s)

    async def add_part(self, upload: str, key: str, number: int, version: str, size: int, etag: str) -> str:
        """A part was written. Gives "ok", "upload": there is no such upload, "late"."""
        if not self._upload(upload, key):
            if self._exists():
                await self._leave(version, count_of(size), 0)
            return "upload"
        rows = self._rows("select version, size from parts where upload = ? and number = ?", upload, number)
        if rows and rows[0][0] == version:
            return "ok"
        if not self._taken(version, size):
            return "late"
        if rows:
            await self._leave(cast("str", rows[0][0]), count_of(cast("int", rows[0][1])), READERS_S)
        self._sql.exec("insert or replace into parts values(?,?,?,?,?)", upload, number, etag, size, version)
        return "ok"

    def _upload(self, upload: str, key: str) -> list[object] | None:
        """[about, version or None] of an upload that can go on, or has become an object."""
        if not self._exists():
            return None
        rows = self._rows("select about, version from uploads where id = ? and key = ?", upload, key)
        return rows[0] if rows else None

    async def complete(self, upload: str, key: str, version: str, etag: str, given: list[list[object]]) -> Found | str:
        """Put the object together of parts: [number, etag] each, in order. Gives it, or what is wrong: "upload", "part", …"""
        found = self._upload(upload, key)
        if found is None:
            return "upload"
        current = self._find(key)
        if found[1] is not None:
            return current if current is not None and current["version"] == found[1] else "upload"
        rows = self._rows("select number, etag, size, version from parts where upload = ? order by number", upload)
        parts = {cast("int", row[0]): row for row in rows}
        chosen = [parts.get(cast("int", number)) for number, _ in given]
        if any(row is None or row[1] != wanted for row, (_, wanted) in zip(chosen, given, strict=True)):
            return "part"
        segments = [(cast("str", row[3]), cast("int", row[2])) for row in chosen if row is not None]
        sizes = [size for _, size in segments]
        if any(size < PART_BYTES_MIN for size in sizes[:-1]):
            return "small"
        if len({*sizes[:-1]}) > 1 or (len(sizes) > 1 and sizes[-1] > sizes[0]):
            return "uneven"
        kept = {name for name, _ in segments}
        for row in rows:
            if row[3] not in kept:
                await self._leave(cast("str", row[3]), count_of(cast("int", row[2])), READERS_S)
        self._sql.exec("delete from parts where upload = ?", upload)
        self._sql.exec("update uploads set version = ? where id = ?", version, upload)
        about = cast("dict[str, object]", unpack(cast("bytes", found[0])))
        return await self._replace(key, version, sum(sizes), etag, segments, about)

    async def abort(self, upload: str, key: str) -> bool:
        """Give an upload up. False: there is none."""
        found = self._upload(upload, key)
        if found is None or found[1] is not None:
            return False
        await self._drop_upload(upload)
        return True

    async def _drop_upload(self, upload: str) -> None:
        for version, size in self._rows("select version, size from parts where upload = ?", upload):
            await self._leave(cast("str", version), count_of(cast("int", size)), 0)
        self._sql.exec("delete from parts where upload = ?", upload)
        self._sql.exec("delete from uploads where id = ?", upload)

    # ------------------------------------------------------------------ cleaning
    async def _leave(self, version: str, pieces: int, seconds: int) -> None:
        """Nothing speaks of a segment, or not yet: its pieces go after so many seconds."""
        if pieces:
            until_s = int(time.time()) + seconds
            self._sql.exec("insert or replace into leftovers values(?, ?, ?)", version, pieces, until_s)
            await self._clean_at(until_s)

    async def _clean_at(self, when_s: int) -> None:
        armed = await self.ctx.storage.getAlarm()
        if armed is None or armed > when_s * 1000:
            await self.ctx.storage.setAlarm(when_s * 1000)

    def _blobs(self) -> BlobStore:
        if self._store is None:
            bucket = unquote(cast("str", self.ctx.id.name))
            self._store = open_store(bucket, self._around.data, self._around.settings)
        return self._store

    async def alarm(self, alarm_info: object = None) -> None:
        """Remove the bytes that are due, and uploads that nobody goes on with."""
        now_s = int(time.time())
        for [upload] in self._rows("select id from uploads where until_s <= ? limit ?", now_s, _REMOVED_MAX):
            await self._drop_upload(cast("str", upload))
        due = "select version, pieces from leftovers where until_s <= ? order by until_s limit ?"
        rows = cast("list[tuple[str, int]]", [tuple(row) for row in self._rows(due, now_s, _REMOVED_MAX)])
        names = [piece_name(version, number) for version, pieces in rows for number in range(pieces)]
        if names:
            store = self._blobs()
            await send_out(lambda: store.remove(names))
        for version, _ in rows:
            self._sql.exec("delete from leftovers where version = ? and until_s <= ?", version, now_s)
        soonest = self._sql.exec(
            "select min(at) as at from (select min(until_s) as at from leftovers union all select min(until_s) from uploads)"
        ).one()["at"]
        if soonest is not None:
            behind = cast("int", soonest) <= now_s
            await self._clean_at(now_s + 1 if behind else max(cast("int", soonest), now_s + _CLEANING_S))


def _object(row: list[object]) -> Found:
    key, version, size, etag, uploaded_ms, segments, about = row
    return {
        "key": key,
        "version": version,
        "size": size,
        "etag": etag,
        "uploaded_ms": uploaded_ms,
        "segments": unpack(cast("bytes", segments)),
        "about": unpack(cast("bytes", about)),
    }
