"""The bare data path, as the denominator: what this machine does with none of the product's features.

One shard process (ROUTER socket, SQLite files, one log with one sync a batch) and a caller (DEALER socket). Calls of one loop
turn travel in one message. No gates, no tasks, no errors, no recovery, no bounds: a ceiling, not a design.

    python -m bench.ceiling ENDPOINT FOLDER      runs the shard
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable

import apsw
import lz4.block
import msgpack
import uvloop
import zmq

_WAL_HEADER = 32
_FRAME = 24 + 4096
_UPSERT = "insert into kv values(?1, ?2) on conflict(key) do update set value = ?2"


class Store:
    """One object's values, cached, and its SQLite file."""

    def __init__(self, path: str, dirty: list[Store]) -> None:
        self._path = path
        self._dirty = dirty
        self._db: apsw.Connection | None = None
        self._cache: dict[str, object] = {}
        self._changed: dict[str, object] = {}
        self._pages = self._read = 0

    def _open(self) -> apsw.Connection:
        db = apsw.Connection(self._path, statementcachesize=8)
        db.execute(
            "pragma synchronous=off; pragma locking_mode=exclusive; pragma journal_mode=wal; pragma wal_autocheckpoint=0;"
            "pragma cache_size=-256; create table if not exists kv(key text primary key, value blob) without rowid"
        ).fetchall()
        self._wal = os.open(self._path + "-wal", os.O_RDONLY)
        db.set_wal_hook(self._committed)
        self._db = db
        return db

    def _committed(self, _db: apsw.Connection, _name: str, pages: int) -> int:
        self._pages = pages
        return 0

    async def get(self, key: str) -> object:
        if key not in self._cache:
            db = self._db or self._open()
            row = db.execute("select value from kv where key = ?", (key,)).fetchone()
            self._cache[key] = None if row is None else msgpack.unpackb(row[0])
        return self._cache[key]

    async def put(self, key: str, value: object) -> None:
        if not self._changed:
            self._dirty.append(self)
        self._cache[key] = self._changed[key] = value

    def flush(self) -> bytes:
        """Commit, and give the new frames."""
        db = self._db or self._open()
        changed, self._changed = self._changed, {}
        for key, value in changed.items():
            db.execute(_UPSERT, (key, msgpack.packb(value)))
        start = _WAL_HEADER + self._read * _FRAME if self._read else 0
        end = _WAL_HEADER + self._pages * _FRAME
        self._read = self._pages
        return os.pread(self._wal, end - start, start)


class Counter:
    """What the calls run."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def increment(self) -> object:
        value = (await self._store.get("value") or 0) + 1  # type: ignore[operator]
        await self._store.put("value", value)
        return value

    async def echo(self) -> object:
        return 1


class Shard:
    """The serving side."""

    def __init__(self, loop: asyncio.AbstractEventLoop, endpoint: str, folder: str) -> None:
        self._loop, self._folder = loop, folder
        self._objects: dict[str, Counter] = {}
        self._dirty: list[Store] = []
        self._replies: dict[bytes, list[tuple[int, object]]] = {}
        self._scheduled = False
        self._log = os.open(f"{folder}/shard.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._socket = zmq.Context().socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.setsockopt(zmq.RCVHWM, 0)
        self._socket.bind(endpoint)
        loop.add_reader(self._socket.getsockopt(zmq.FD), self._readable)

    def _readable(self) -> None:
        for _ in range(64):
            try:
                peer, body = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            for call_id, name, method in msgpack.unpackb(body):
                self._run(peer, call_id, name, method)
        else:
            self._loop.call_soon(self._readable)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._commit)

    def _run(self, peer: bytes, call_id: int, name: str, method: str) -> None:
        counter = self._objects.get(name)
        if counter is None:
            counter = self._objects[name] = Counter(Store(f"{self._folder}/{name}.sqlite", self._dirty))
        try:
            getattr(counter, method)().send(None)
        except StopIteration as done:
            self._replies.setdefault(peer, []).append((call_id, done.value))

    def _commit(self) -> None:
        self._scheduled = False
        replies, self._replies = self._replies, {}
        if self._dirty:
            os.write(self._log, lz4.block.compress(b"".join([store.flush() for store in self._dirty])))
            self._dirty.clear()
            os.fdatasync(self._log)
        for peer, batch in replies.items():
            self._socket.send_multipart((peer, msgpack.packb(batch)), zmq.NOBLOCK)
        if self._socket.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            self._loop.call_soon(self._readable)


class Caller:
    """The calling side."""

    def __init__(self, loop: asyncio.AbstractEventLoop, endpoint: str) -> None:
        self._loop = loop
        self._queue: list[tuple[int, str, str]] = []
        self._pending: dict[int, asyncio.Future[object]] = {}
        self._last = 0
        self._scheduled = False
        self._socket = zmq.Context().socket(zmq.DEALER)
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.setsockopt(zmq.RCVHWM, 0)
        self._socket.connect(endpoint)
        loop.add_reader(self._socket.getsockopt(zmq.FD), self._readable)

    def call(self, name: str, method: str) -> asyncio.Future[object]:
        self._last += 1
        future = self._pending[self._last] = self._loop.create_future()
        self._queue.append((self._last, name, method))
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)
        return future

    def _flush(self) -> None:
        self._scheduled = False
        self._socket.send(msgpack.packb(self._queue), zmq.NOBLOCK)
        self._queue = []
        if self._socket.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            self._loop.call_soon(self._readable)

    def _readable(self) -> None:
        while True:
            try:
                body = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            for call_id, value in msgpack.unpackb(body):
                future = self._pending.pop(call_id)
                if not future.done():
                    future.set_result(value)

    def caller(self, name: str, method: str) -> Callable[[], asyncio.Future[object]]:
        """A function that makes that call."""
        return lambda: self.call(name, method)


def main() -> None:
    endpoint, folder = sys.argv[1:3]
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    Shard(loop, endpoint, folder)
    loop.run_forever()


if __name__ == "__main__":
    main()
