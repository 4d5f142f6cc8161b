"""How far back history reaches: by age and bytes, by class, and of objects that nobody writes any more."""

from __future__ import annotations

from itertools import pairwise

import pytest
from perdure.engine.bookmarks import read_bookmark
from perdure.engine.errors import ConfigError, HistoryGone, PerdureError
from perdure.engine.limits import OF_CLASS, Limits

from ..engine.test_bookmarks import ask, bookmark, read, restored, write
from ..sim.machine import KEY
from .session import Session, on_a_loop
from .test_emptying import SECRET, emptied, tell, wipe

DAY_S = 86_400


async def fold(session: Session) -> None:
    """All that the log has goes into history, and bounds are kept."""
    for place in session.machine.log.places():
        await session.machine.timeline.fold(place)


@pytest.mark.parametrize(("own", "kept"), [(None, True), (1, False)], ids=["thirty-days", "a-day-by-class"])
@on_a_loop
async def test_days_are_those_of_the_class(tmp_path, own: int | None, kept: bool) -> None:
    async with Session.on(tmp_path) as session:
        await session.do(write, 1)
        one = await session.do(bookmark)
        await session.do(write, 2)
        await session.restart()
        await session.cycle()
        if own is not None:
            session.machine.timeline._class_limits = Limits().of_classes({KEY.unique: {"history_days": own}})
        session.pass_time(2 * DAY_S)
        await session.do(write, 3)
        await fold(session)
        if kept:
            await restored(session, one)
            assert await session.do(read) == 1
        else:
            with pytest.raises(HistoryGone, match="does not reach back"):
                await session.do(ask, one)
            assert await session.do(read) == 3


@pytest.mark.parametrize("own", [None, 1], ids=["64-mib", "one-byte-by-class"])
@on_a_loop
async def test_bytes_are_those_of_the_class(tmp_path, own: int | None) -> None:
    async def random(ctx):
        ctx.storage.sql.exec("create table if not exists r(x)")
        ctx.storage.sql.exec("update r set x = randomblob(40000)")
        ctx.storage.sql.exec("insert into r select randomblob(40000) where not exists (select 1 from r)")
        return await ctx.storage.getCurrentBookmark()

    async with Session.on(tmp_path) as session:
        if own is not None:
            limits = Limits().of_classes({KEY.unique: {"history_object_bytes_max": own}})
            session.machine.timeline._class_limits = limits
        marks = []
        for _ in range(12):
            marks.append(await session.do(random))
            session.pass_time(20)
        session.pass_time(300)
        await session.do(random)
        await fold(session)
        found = await session.machine.timeline.moments(KEY, session.id(), 100)
        assert (len(found["points"]) < 12) == (own is not None)  # pyright: ignore[reportArgumentType]
        await restored(session, marks[-1])
        assert await session.do(lambda ctx: ctx.storage.sql.exec("select count(*) from r").one()) == {"count(*)": 1}


@on_a_loop
async def test_what_is_too_old_goes_also_of_objects_that_are_not_written(tmp_path) -> None:
    """And of those that are gone: what a deleteAll() has left in history is there for `history_days`."""
    async with Session.on(tmp_path) as session:
        await session.do(tell)
        old = await session.do(bookmark)
        await session.do(wipe)
        await emptied(session)
        for name in ("b", "c"):
            await session.do(write, 1, name=name)
        await fold(session)
        session.pass_time(29 * DAY_S)
        await session.do(write, 2, name="c")
        await session.machine.timeline.age()
        await session.machine.timeline.reaches(KEY, session.id(), read_bookmark(session.id(), old))
        session.pass_time(2 * DAY_S)
        await session.machine.timeline.age()
        history = session.machine.archive.archivist._history
        for name in ("a", "b"):
            assert [moment.change for moment in history.moments(session.id(name))] == [
                history.base(session.id(name)).change
            ]
        with pytest.raises(HistoryGone):
            await session.do(ask, old)
        session.machine.archive.archivist.close()
        texts = [page for page in _pages(tmp_path) if SECRET in page]
        assert texts == []
        assert await session.do(read, name="c") == 2


def _pages(folder) -> list[bytes]:
    """All page images of all history files."""
    import apsw
    import lz4.block

    found = []
    for path in (folder / "history").glob("*.sqlite"):
        connection = apsw.Connection(str(path))
        for table in ("pages", "runs"):
            found += [lz4.block.decompress(row[0]) for row in connection.execute(f"select data from {table}") if row[0]]
        connection.close()
    return found


@on_a_loop
async def test_the_marker_lets_history_age_once_an_hour(tmp_path, monkeypatch) -> None:
    async with Session.on(tmp_path) as session:
        marker, timeline, times = session.machine.marker, session.machine.timeline, []

        async def age() -> None:
            times.append(marker._files.now_s)
            if len(times) == 1:
                raise PerdureError("the archivist died")

        monkeypatch.setattr(timeline, "age", age)
        for _ in range(30):
            session.pass_time(600)
            await marker.cycle()
            if marker._aging is not None:
                await marker._aging
        assert [round(later - earlier) for earlier, later in pairwise(times)] == [3_600] * 4
        assert len(times) == 5
        assert len(session.said("history_failed")) == 1


@on_a_loop
async def test_many_objects_age_in_several_jobs(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("perdure.shards.archivist._AGED_AT_ONCE", 3)
    async with Session.on(tmp_path) as session:
        names = [f"o{number}" for number in range(8)]
        for name in names:
            await session.do(write, 1, name=name)
            await session.do(write, 2, name=name)
        await fold(session)
        session.pass_time(40 * DAY_S)
        await session.machine.timeline.age()
        history = session.machine.archive.archivist._history
        assert [len(list(history.moments(session.id(name)))) for name in names] == [1] * 8


# ---------------------------------------------------------------------- bounds of a class
def test_a_class_has_the_shards_bounds_but_for_its_own() -> None:
    shard = Limits(object_bytes_max=5, history_days=9)
    assert shard.of_classes({}) == {}
    (found,) = shard.of_classes({"Room": {"history_days": 2}}, ["Room", "Hall"]).values()
    assert (found.history_days, found.object_bytes_max) == (2, 5)


@pytest.mark.parametrize(
    ("settings", "phrase", "hint"),
    [
        ({"Rom": {"history_days": 1}}, "the program has no class 'Rom'", "did you mean Room?"),
        ({"X": {}}, "the program has no class 'X'", "it has: Hall, Room"),
        ({"Room": 7}, "classes.Room must be a table", "[classes.Room]"),
        ({"Room": {"history_day": 1}}, "classes.Room: unknown bound 'history_day'", "history_days"),
        ({"Room": {"segment_bytes": 1}}, "segment_bytes is a bound of the whole shard", "put it into [limits]"),
        ({"Room": {"history_days": "7"}}, "history_days must be a whole number", ""),
        ({"Room": {"history_days": 0}}, "history_days must be above 0", ""),
    ],
)
def test_what_is_wrong_with_bounds_of_classes(settings, phrase: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Limits().of_classes(settings, ["Room", "Hall"])
    assert phrase in caught.value.message
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize("name", OF_CLASS)
def test_each_bound_of_a_class_is_one_of_the_shard(name: str) -> None:
    value = True if isinstance(getattr(Limits(), name), bool) else 7
    assert getattr(Limits().of_classes({"Room": {name: value}})["Room"], name) == value


@on_a_loop
async def test_objects_of_a_class_have_its_bounds(tmp_path) -> None:
    async with Session.on(tmp_path) as session:
        session.machine.residents._classes[KEY.unique].limits = Limits(object_bytes_max=40_960)
        with pytest.raises(PerdureError, match="database or disk is full"):
            await session.do(lambda ctx: ctx.storage.put("k", bytes(60_000)))
        await session.do(lambda ctx: ctx.storage.put("k", bytes(6_000)))


@on_a_loop
async def test_a_segment_that_goes_while_history_is_asked_fails_nobody(tmp_path, monkeypatch) -> None:
    """It was folded for everybody before it went."""
    async with Session.on(tmp_path, Limits(segment_bytes=64 << 10)) as session:
        await session.do(write, 1)
        one = await session.do(bookmark)
        await session.do(lambda ctx: ctx.storage.sql.exec("create table r(x)").toArray())
        for _ in range(8):
            await session.do(lambda ctx: ctx.storage.sql.exec("insert into r values(randomblob(30000))").toArray())
        places = session.machine.log.places()
        assert len(places) > 1
        await session.cycle()
        assert len(session.machine.log.places()) < len(places)
        log = session.machine.log
        gone = [place for place in places if place[2] < log.first]  # as it was before they went
        monkeypatch.setattr(session.machine.timeline, "segments", lambda: [*gone, *log.places()])
        await restored(session, one)
        assert await session.do(read) == 1
