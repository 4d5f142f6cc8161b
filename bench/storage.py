"""Storage inside one process: what `ctx.storage` costs above bare apsw on the same statements, on files with the same settings.

Both sides take turns in short rounds, and the ratio is the median of the rounds': other work on the machine slows both.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Callable
from tempfile import TemporaryDirectory

import apsw
from perdure.engine.calls import RPC, Call
from perdure.engine.class_runtime import ClassRuntime
from perdure.engine.clock import SystemClock
from perdure.engine.commits import CommitRecord, Committable, Effect
from perdure.engine.cursor import Cursor
from perdure.engine.database import Located
from perdure.engine.disk import LocalDisk
from perdure.engine.durable import DurableObject
from perdure.engine.errors import PerdureError
from perdure.engine.http import HttpRequest, HttpResponse
from perdure.engine.ids import ClassKey
from perdure.engine.limits import Limits
from perdure.engine.residents import Residents
from perdure.engine.storage import DurableObjectStorage
from perdure.engine.values import pack

from .report import Row

ROUNDS = 15
SCAN_ROWS = 100_000
INSERTS = 1_000
CALLS = 2_000
_SCHEMA = "create table t(id integer primary key, name text, n integer)"
_POINT = "select id, name, n from t where id = ?"
_INSERT = "insert into t(name, n) values(?, ?)"
_SCAN = f"select id, name, n from t where id < {SCAN_ROWS}"
_NAMES = ("id", "name", "n")
NAMES = (
    "sql_point_select_one",
    "sql_point_select_array",
    "sql_insert_1000",
    "sql_scan_100000",
    "kv_get_cached",
    "cold_first_write",
)

_turns: dict[str, Callable[..., float]] = {}


class Measured(DurableObject):
    """Runs a function of the bench with its storage."""

    def do(self, name: str) -> float:
        return _turns[name](self.ctx.storage)


class _AtOnce:
    """A group commit without a log: what was captured counts as durable in the same loop round."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._touched: dict[Committable, None] = {}
        self._held: list[Effect] = []
        self._batch = 1

    def touch(self, who: Committable) -> int:
        if not self._touched:
            self._loop.call_soon(self._seal)
        self._touched[who] = None
        return self._batch

    def durable(self) -> int:
        return self._batch - 1

    def hold(self, batch: int, who: Committable, effect: Callable[..., None], *args: object) -> None:
        self._held.append((effect, args))

    def _whole(self, who: Committable) -> CommitRecord | None:
        """A large commit comes in pieces, the last of which counts."""
        record = who.capture()
        while record is not None and record.more:
            record = who.capture()
        return record

    def _seal(self) -> None:
        touched, self._touched = self._touched, {}
        records = [(who, self._whole(who)) for who in touched]
        self._batch += 1
        for who, record in records:
            if record is not None:
                who.committed(record.change)
        held, self._held = self._held, []
        for effect, args in held:
            effect(*args)


class _Files:
    """New objects in a folder."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        os.makedirs(f"{folder}/live")

    def exists(self, key: ClassKey, object_id: bytes) -> bool:
        return False

    def locate(self, key: ClassKey, object_id: bytes) -> Located:
        name = object_id.hex()
        return Located(False, f"{self._folder}/objects/{name}.sqlite", f"{self._folder}/live/{name}.sqlite", 1, 0)

    def rebuild(self, key: ClassKey, object_id: bytes) -> None: ...
    def closed(self, object_id: bytes, change: int) -> None: ...

    def may_fold(self, object_id: bytes) -> bool:
        return True


class _NoHttp:
    def to_request(self, request: HttpRequest) -> object:
        raise NotImplementedError

    async def from_response(self, response: object) -> HttpResponse:
        raise NotImplementedError


class _Objects:
    """Objects of `Measured` in this process."""

    def __init__(self, folder: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.key = ClassKey("bench-Measured")
        runtime = ClassRuntime(self.key, "Measured", Measured, None, _NoHttp())
        self.residents = Residents(
            {self.key.unique: runtime},
            files=_Files(folder),
            commits=_AtOnce(self.loop),
            clock=SystemClock(),
            disk=LocalDisk(),
            limits=Limits(),
            transport=None,  # type: ignore[arg-type] - nobody calls anybody
            log=lambda _level, event, fields: print(event, fields),
            loop=self.loop,
        )
        self.residents.start()

    async def turn(self, name: str, function: Callable[..., float]) -> float:
        """`function(storage)` as one turn of the object of that name: what it returned."""
        _turns["measured"] = function
        future: asyncio.Future[float] = self.loop.create_future()

        def answer(_call: Call, result: bytes | HttpResponse | PerdureError) -> None:
            if isinstance(result, PerdureError):
                future.set_exception(result)
            else:
                future.set_result(0.0)

        found: list[float] = []
        _turns["measured"] = lambda storage: found.append(function(storage)) or 0.0
        object_id = self.key.id_from_name(name)
        self.residents.deliver(Call(self.key.unique, object_id, name, RPC, "do", pack(["measured"]), answer, None))
        await future
        return found[0]


def _bare(path: str) -> apsw.Connection:
    connection = apsw.Connection(path, statementcachesize=64)
    connection.execute(
        "pragma synchronous=off;pragma page_size=4096;pragma locking_mode=exclusive;pragma journal_mode=wal;"
        "pragma cache_size=-32;pragma wal_autocheckpoint=0;pragma foreign_keys=on"
    ).fetchall()
    return connection


def _timed(body: Callable[[], object]) -> float:
    """Seconds of this thread's processor: what else runs on the machine is not in it."""
    began = time.thread_time()
    body()
    return time.thread_time() - began


def _fill(run: Callable[..., object]) -> None:
    run(_SCHEMA)
    for number in range(SCAN_ROWS):
        run("insert into t values(?, ?, ?)", number, f"name {number}", number * 3)


def _sides(connection: apsw.Connection) -> dict[str, tuple[float, int, Callable[[], float], Callable[..., float]]]:
    """By name: the goal, how many operations a round is, the bare round and the product's."""
    execute = connection.execute

    def bare_point() -> None:
        for number in range(CALLS):
            [dict(zip(_NAMES, row)) for row in execute(_POINT, (number,)).fetchall()]  # noqa: B905 - the faster form

    def bare_inserts() -> None:
        for number in range(INSERTS):
            execute(_INSERT, ("abc", number))

    def bare_insert() -> float:
        execute("begin")
        took = _timed(bare_inserts)
        execute("commit")
        return took

    def bare_scan() -> list[dict[str, object]]:
        return [dict(zip(_NAMES, row)) for row in execute(_SCAN).fetchall()]  # noqa: B905 - the faster form

    def ones(run: Callable[..., Cursor]) -> None:
        for number in range(CALLS):
            run(_POINT, number).one()

    def arrays(run: Callable[..., Cursor]) -> None:
        for number in range(CALLS):
            run(_POINT, number).toArray()

    def inserts(run: Callable[..., Cursor]) -> None:
        for number in range(INSERTS):
            run(_INSERT, "abc", number)

    def within(body: Callable[[Callable[..., Cursor]], None]) -> Callable[..., float]:
        return lambda storage: _timed(lambda: body(storage.sql.exec))

    return {
        "sql_point_select_one": (0.5, CALLS, lambda: _timed(bare_point), within(ones)),
        "sql_point_select_array": (0.5, CALLS, lambda: _timed(bare_point), within(arrays)),
        "sql_insert_1000": (0.7, INSERTS, bare_insert, within(inserts)),
        "sql_scan_100000": (
            0.6,
            SCAN_ROWS,
            lambda: _timed(bare_scan),
            within(lambda run: run(_SCAN).toArray() and None),
        ),
    }


class _Method:
    def call(self) -> None: ...


def _key_value_sides() -> tuple[float, int, Callable[[], float], Callable[..., float]]:
    call = _Method().call

    def bare_calls() -> None:
        for _ in range(CALLS):
            call()

    def gets(get: Callable[[str], object]) -> None:
        for _ in range(CALLS):
            get("key")

    def calls(storage: DurableObjectStorage) -> float:
        storage.put("key", 1)
        return _timed(lambda: gets(storage.get))

    return 0.025, CALLS, lambda: _timed(bare_calls), calls  # 2 us where a bare method call is 0.05 us


def _row(name: str, goal: float | None, operations: int, pairs: list[tuple[float, float]]) -> Row:
    ratio = statistics.median(bare / product for bare, product in pairs)
    bare, product = (statistics.median(side) / operations * 1e6 for side in zip(*pairs, strict=True))
    return Row(name, goal, round(bare, 3), round(product, 3), round(ratio, 3), "us")


async def _measure(folder: str, names: list[str]) -> list[Row]:
    rows: list[Row] = []
    objects = _Objects(f"{folder}/product")
    connection = _bare(f"{folder}/bare.sqlite")
    sides = _sides(connection)
    if any(name in sides for name in names):
        connection.execute("begin")
        _fill(lambda query, *values: connection.execute(query, values))
        connection.execute("commit")
        await objects.turn("one", lambda storage: _timed(lambda: _fill(storage.sql.exec)))
    sides["kv_get_cached"] = _key_value_sides()
    for name, (goal, operations, bare, product) in sides.items():
        if name in names:
            pairs = [(bare(), await objects.turn("one", product)) for _ in range(ROUNDS + 1)]
            rows.append(_row(name, goal, operations, pairs[1:]))  # the first pair warms both
    if "cold_first_write" in names:
        rows.append(await _cold(folder, objects))
    objects.residents.stop()
    objects.residents.close_all()
    connection.close()
    return rows


async def _cold(folder: str, objects: _Objects) -> Row:
    """First write of an object that has no file, its call and its turn with it; bare: open, create a table, insert, commit."""

    def bare(number: int) -> float:
        def body() -> None:
            connection = _bare(f"{folder}/cold{number}.sqlite")
            connection.execute("begin; create table t(k, v); insert into t values('k', 1); commit").fetchall()
            connection.close()

        began = time.perf_counter()
        body()
        return time.perf_counter() - began

    pairs: list[tuple[float, float]] = []
    for number in range(200):
        before = bare(number)
        began = time.perf_counter()
        await objects.turn(f"cold {number}", lambda storage: (storage.put("k", 1) and 0.0) or 0.0)
        pairs.append((before, time.perf_counter() - began))
    return _row("cold_first_write", None, 1, pairs[20:])


def measure(names: list[str], folder: str | None) -> list[Row]:
    """The rows of that name. No process is started."""
    with TemporaryDirectory(prefix="perdure-bench-", dir=folder) as scratch:
        return asyncio.run(_measure(scratch, names))
