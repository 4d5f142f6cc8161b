"""The ledger and the meters of the catalogue: nothing lost, nothing counted twice, memory bounded; and what quotas refuse."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import apsw
import pytest
from perdure.engine.errors import ConfigError, QuotaExceeded, from_wire
from perdure.engine.meters import Meters
from perdure.shards.catalogue import FORMAT, Catalogue, MeterRow, Row, StoredRow
from perdure.shards.meters import DAYS_KEPT, Ledger
from perdure.shards.quotas import DAY_MS, DayUse, Exceeded, Quotas, QuotaWatch, day_of, exceeded, refusal

ONE, TWO = bytes(32), b"\x01" + bytes(31)  # of one group
FAR = b"\xff" * 32
DAY = 20_000


class Clock:
    def __init__(self) -> None:
        self.ms = DAY * DAY_MS

    def now_ms(self) -> int:
        return self.ms

    def monotonic_s(self) -> float:
        return self.ms / 1000


class Books:
    """A ledger on a real catalogue."""

    def __init__(self, folder: object, entries_max: int = 100) -> None:
        self.catalogue = Catalogue(str(folder), range(64))
        self.clock = Clock()
        self.said: list[str] = []
        self.thread = ThreadPoolExecutor(1)
        self.ledger = Ledger(
            self.catalogue,
            self.thread,
            self.clock,
            asyncio.get_running_loop(),
            report=lambda _level, event, _fields: self.said.append(event),
            entries_max=entries_max,
        )

    def rows(self, group: int = 0, first: int = 0, last: int = 99_999) -> list[MeterRow]:
        return list(self.catalogue.meters(group, first, last))


def test_counts_of_an_object_and_day_add_up_over_flushes(tmp_path) -> None:
    async def run() -> None:
        books = Books(tmp_path)
        for _ in range(2):
            books.ledger.take(ONE, "w-C", Meters(requests=1, active_us=5))
            books.ledger.take(ONE, "w-C", Meters(requests=2, rows_read=3))
            books.ledger.take(FAR, "w-D", Meters(kv_deletes=1))
            await books.ledger.flush()
        books.clock.ms += DAY_MS
        books.ledger.take(ONE, "w-C", Meters(requests=1))
        await books.ledger.flush()
        await books.ledger.flush()
        assert books.rows() == [
            MeterRow(DAY, "w-C", ONE, Meters(requests=6, active_us=10, rows_read=6)),
            MeterRow(DAY + 1, "w-C", ONE, Meters(requests=1)),
        ]
        assert books.rows(63) == [MeterRow(DAY, "w-D", FAR, Meters(kv_deletes=2))]
        assert books.rows(0, DAY + 1, DAY + 1) == [MeterRow(DAY + 1, "w-C", ONE, Meters(requests=1))]

    asyncio.run(run())


def test_classes_are_sums_over_their_objects_and_days(tmp_path) -> None:
    async def run() -> None:
        books = Books(tmp_path)
        for object_id, class_key, requests in ((ONE, "w-C", 1), (TWO, "w-C", 2), (TWO, "w-D", 4)):
            books.ledger.take(object_id, class_key, Meters(requests=requests))
        await books.ledger.flush()
        assert list(books.catalogue.class_meters(0, DAY, DAY)) == [
            MeterRow(DAY, "w-C", b"", Meters(requests=3)),
            MeterRow(DAY, "w-D", b"", Meters(requests=4)),
        ]
        assert list(books.catalogue.class_meters(0, DAY + 1, DAY + 2)) == []
        books.catalogue.write([Row(ONE, "w-C", "one", 4096, 1), Row(TWO, "w-C", None, 8192, 1)])
        assert books.catalogue.stored(0) == [StoredRow("w-C", 2, 12_288)]
        assert books.catalogue.stored(5) == []

    asyncio.run(run())


def test_memory_is_bounded_and_no_count_is_lost_by_it(tmp_path) -> None:
    async def run() -> None:
        books = Books(tmp_path, entries_max=10)
        for number in range(50):
            books.ledger.take(bytes([0, number]) + bytes(30), "w-C", Meters(requests=1))
        assert books.ledger._entries == 11
        await books.ledger.flush()
        rows = books.rows()
        assert len(rows) == 11
        assert sum(row.meters.requests for row in rows) == 50
        assert [row.meters.requests for row in rows if not row.object_id] == [40]
        books.ledger.take(bytes([0, 49]) + bytes(30), "w-C", Meters(requests=1))  # there is room again
        await books.ledger.flush()
        assert len(books.rows()) == 12

    asyncio.run(run())


def test_what_cannot_be_written_is_written_with_the_next_flush(tmp_path, monkeypatch) -> None:
    async def run() -> None:
        books = Books(tmp_path)
        books.ledger.take(ONE, "w-C", Meters(requests=1))
        books.ledger.take(FAR, "w-C", Meters(requests=1))
        add = books.catalogue.add_meters

        def fail(group: int, rows: object) -> None:
            if group == 0:
                raise apsw.FullError("database or disk is full")
            add(group, rows)  # type: ignore[arg-type]

        monkeypatch.setattr(books.catalogue, "add_meters", fail)
        await books.ledger.flush()
        assert books.said == ["meters_not_written"]
        assert (books.rows(), len(books.rows(63))) == ([], 1)
        monkeypatch.undo()
        books.ledger.take(ONE, "w-C", Meters(requests=1))
        await books.ledger.flush()
        assert [row.meters.requests for row in books.rows()] == [2]
        assert [row.meters.requests for row in books.rows(63)] == [1]

    asyncio.run(run())


def test_the_end_writes_what_was_taken(tmp_path) -> None:
    async def run() -> None:
        books = Books(tmp_path)
        running = asyncio.get_running_loop().create_task(books.ledger.run())
        await asyncio.sleep(0)
        books.ledger.take(ONE, "w-C", Meters(requests=1))
        books.ledger.end()
        await running
        assert [row.meters.requests for row in books.rows()] == [1]

    asyncio.run(run())


def test_old_days_are_forgotten(tmp_path) -> None:
    async def run() -> None:
        books = Books(tmp_path)
        books.ledger.take(ONE, "w-C", Meters(requests=1))
        await books.ledger.flush()
        books.clock.ms += DAYS_KEPT * DAY_MS
        await books.ledger.prune()
        assert len(books.rows()) == 1
        books.clock.ms += DAY_MS
        await books.ledger.prune()
        assert books.rows() == []

    asyncio.run(run())


def test_a_new_session_goes_on_with_what_the_day_had(tmp_path) -> None:
    async def run() -> None:
        books = Books(tmp_path)
        books.ledger.take(
            ONE, "w-C", Meters(requests=1, messages=9, alarms=1, active_us=7, rows_read=2, rows_written=3)
        )
        books.ledger.take(FAR, "w-C", Meters(requests=1))
        await books.ledger.flush()
        books.catalogue.write([Row(ONE, "w-C", None, 4096, 1), Row(FAR, "w-C", None, 4096, 1)])
        again = Books(tmp_path)
        again.ledger.load()
        again.ledger.take(ONE, "w-C", Meters(requests=1))
        assert again.ledger.use() == DayUse(DAY, 4, 9, 7, 2, 3, 8192)
        again.catalogue.write([Row(ONE, "w-C", None, 8192, 1)])
        await again.ledger.flush()
        assert again.ledger.use().stored_bytes == 12_288
        again.clock.ms += DAY_MS
        assert again.ledger.use() == DayUse(DAY + 1, stored_bytes=12_288)

    asyncio.run(run())


# ---------------------------------------------------------------------- the format
_FORMAT_1 = """
pragma journal_mode=wal;
create table objects(
  id blob primary key, class text not null, name text, created_ms int not null, active_ms int not null, bytes int not null
) without rowid;
create index by_class on objects(class, name);
insert into objects values(zeroblob(32), 'w-C', 'one', 1, 2, 4096);
pragma user_version=1;
"""


def test_a_catalogue_of_format_1_becomes_one_of_this_format(tmp_path) -> None:
    (tmp_path / "catalogue").mkdir()
    connection = apsw.Connection(f"{tmp_path}/catalogue/00.sqlite")
    connection.execute(_FORMAT_1).fetchall()
    connection.close()
    catalogue = Catalogue(str(tmp_path), [0])
    assert catalogue.missing == [0]  # nobody has noted which alarms are set
    assert list(catalogue.read(0)) == [Row(bytes(32), "w-C", "one", 4096, 2)]
    catalogue.rebuild({})
    connection = apsw.Connection(f"{tmp_path}/catalogue/00.sqlite")
    assert connection.pragma("user_version") == FORMAT == 4
    connection.close()
    catalogue.add_meters(0, [MeterRow(DAY, "w-C", ONE, Meters(requests=1))])
    assert len(list(catalogue.meters(0, DAY, DAY))) == 1


def test_a_catalogue_that_was_begun_but_not_rebuilt_is_rebuilt(tmp_path) -> None:
    """Marks and meters may write a group's file before the search for its objects is done; a kill -9 then must not lose them."""
    data = str(tmp_path)
    (tmp_path / "objects" / "folder" / "00").mkdir(parents=True)
    (tmp_path / "objects" / "folder" / "00" / f"{ONE.hex()}.1.sqlite").write_bytes(bytes(4096))
    first = Catalogue(data, [0])
    first.write([Row(TWO, "w-C", "two", 4096, 1)])
    first.add_meters(0, [MeterRow(DAY, "w-C", TWO, Meters(requests=1))])
    second = Catalogue(data, [0])  # after the kill
    assert second.missing == [0]
    assert second.rebuild({"folder": "w-C"}) == 1
    assert [row.object_id for row in second.read(0)] == [ONE, TWO]
    assert len(list(second.meters(0, DAY, DAY))) == 1
    assert Catalogue(data, [0]).missing == []


def test_threads_that_make_the_same_file_wait_for_each_other(tmp_path) -> None:
    """Marks, meters and the search for objects meet on a new data folder; SQLite alone refuses one of them now and then."""
    failures: list[BaseException] = []
    for number in range(40):
        catalogue = Catalogue(f"{tmp_path}/{number}", [0])
        together = threading.Barrier(3)

        def begin(work: Callable[[], object], together: threading.Barrier = together) -> None:
            together.wait()
            try:
                work()
            except apsw.Error as error:
                failures.append(error)

        works: list[Callable[[], object]] = [
            partial(catalogue.rebuild, {}),
            partial(catalogue.add_meters, 0, [MeterRow(DAY, "w-C", ONE, Meters(requests=1))]),
            partial(catalogue.write, [Row(ONE, "w-C", None, 4096, 1)]),
        ]
        threads = [threading.Thread(target=begin, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(list(catalogue.read(0))) == len(list(catalogue.meters(0, DAY, DAY))) == 1 or failures
    assert failures == []


# ---------------------------------------------------------------------- quotas
@pytest.mark.parametrize(
    ("quotas", "within", "above", "events", "writes"),
    [
        ({"requests_per_day": 5}, DayUse(DAY, requests=4), DayUse(DAY, requests=5), ("requests_per_day",), ()),
        (
            {"requests_per_day": 5},
            DayUse(DAY, requests=4, messages=19),
            DayUse(DAY, requests=4, messages=20),
            ("requests_per_day",),
            (),
        ),
        (
            {"gb_s_per_day": 128},
            DayUse(DAY, active_us=999_999_999),
            DayUse(DAY, active_us=1_000_000_000),
            ("gb_s_per_day",),
            (),
        ),
        ({"rows_read_per_day": 5}, DayUse(DAY, rows_read=4), DayUse(DAY, rows_read=5), ("rows_read_per_day",), ()),
        (
            {"rows_written_per_day": 5},
            DayUse(DAY, rows_written=4),
            DayUse(DAY, rows_written=5),
            (),
            ("rows_written_per_day",),
        ),
        ({"stored_bytes": 5}, DayUse(DAY, stored_bytes=4), DayUse(DAY, stored_bytes=5), (), ("stored_bytes",)),
    ],
    ids=["requests", "messages", "gb_s", "rows_read", "rows_written", "stored_bytes"],
)
def test_a_quota_is_exceeded_when_it_is_used_up(quotas, within, above, events, writes) -> None:
    bounds = Quotas.from_settings(quotas)
    assert exceeded(bounds, DAY, [within]) == Exceeded(DAY)
    assert exceeded(bounds, DAY, [above]) == Exceeded(DAY, events, writes)
    assert exceeded(Quotas(), DAY, [above]) == Exceeded(DAY)


def test_shards_are_summed_and_yesterday_is_no_use_of_today() -> None:
    bounds = Quotas(requests_per_day=5, stored_bytes=100)
    reports = [DayUse(DAY, requests=2, stored_bytes=50), DayUse(DAY, requests=3, stored_bytes=10)]
    assert exceeded(bounds, DAY, reports).events == ("requests_per_day",)
    assert exceeded(bounds, DAY + 1, reports).events == ()
    late = [DayUse(DAY + 1, requests=5), DayUse(DAY, requests=9, stored_bytes=100)]
    assert exceeded(bounds, DAY + 1, late) == Exceeded(DAY + 1, ("requests_per_day",), ("stored_bytes",))


def test_the_supervisor_tells_only_news() -> None:
    watch = QuotaWatch(Quotas(requests_per_day=5))
    assert watch
    assert not QuotaWatch(Quotas())
    now = DAY * DAY_MS
    assert watch.on_use(0, DayUse(DAY, requests=3), now) == Exceeded(DAY)
    assert watch.on_use(0, DayUse(DAY, requests=4), now) is None  # replaces what it said, is not added to it
    assert watch.on_use(1, DayUse(DAY, requests=1), now) == Exceeded(DAY, ("requests_per_day",))
    assert watch.on_use(1, DayUse(DAY, requests=2), now) is None
    assert watch.on_use(1, DayUse(DAY + 1), now + DAY_MS) == watch.exceeded == Exceeded(DAY + 1)


def test_a_refusal_names_the_quota_and_ends_with_the_day() -> None:
    during, after = DAY * DAY_MS + 1, (DAY + 1) * DAY_MS
    error = refusal(("requests_per_day",), DAY, during)
    assert error is not None
    assert (error.name, error.retryable, error.code) == ("Error", False, "quota_exceeded")
    assert "requests_per_day" in error.message
    assert "requests_per_day" in error.hint
    assert "00:00 UTC" in error.hint
    assert refusal(("requests_per_day",), DAY, after - 1) is not None
    assert refusal(("requests_per_day",), DAY, after) is None
    assert refusal((), DAY, during) is None
    stored = refusal(("rows_written_per_day", "stored_bytes"), DAY, after)
    assert stored is not None
    assert "stored_bytes" in stored.message
    assert type(from_wire(stored.to_wire())) is QuotaExceeded


def test_what_travels_between_shards_and_supervisor_comes_back() -> None:
    use = DayUse(DAY, 1, 2, 3, 4, 5, 6)
    assert DayUse.from_wire({"type": "usage", **use.to_wire()}) == use
    over = Exceeded(DAY, ("requests_per_day",), ("stored_bytes",))
    assert Exceeded.from_wire({"type": "quotas", **over.to_wire()}) == over
    assert day_of(DAY * DAY_MS - 1) == DAY - 1


@pytest.mark.parametrize(
    ("settings", "message", "hint"),
    [
        ({"request_per_day": 1}, "unknown quota 'request_per_day'", "did you mean requests_per_day?"),
        ({"x": 1}, "unknown quota 'x'", "known: requests_per_day"),
        ({"stored_bytes": -1}, "whole number of 0 or more", ""),
        ({"stored_bytes": True}, "whole number of 0 or more", ""),
        ({"stored_bytes": 1.5}, "whole number of 0 or more", ""),
    ],
)
def test_wrong_quotas(settings, message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Quotas.from_settings(settings)
    assert message in raised.value.message
    assert hint in raised.value.hint
    assert not Quotas()
    assert Quotas(stored_bytes=0)
