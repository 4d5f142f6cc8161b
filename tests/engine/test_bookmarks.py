"""Bookmarks and restores as programs see them (spec: point-in-time recovery), over a real folder, log and history."""

from __future__ import annotations

import asyncio
import datetime
import re

import pytest
from perdure.engine.bookmarks import Position, pack_bookmark, read_bookmark
from perdure.engine.errors import (
    HistoryGone,
    InvalidArgument,
    PerdureError,
    ShardLost,
    StorageError,
    StorageFull,
    StorageUnavailable,
)
from perdure.engine.values import pack, unpack

from ..shards.session import Session, on_a_loop
from .box import Box

FORM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{32}")


# ---------------------------------------------------------------------- scripts
async def write(ctx, value):
    """Keys, a table and the alarm, all saying the same."""
    storage = ctx.storage
    await storage.put({"n": value, "big": bytes([value]) * 9_000})
    storage.sql.exec("create table if not exists t(id integer primary key, n)")
    storage.sql.exec("insert or replace into t values(1, ?)", value)
    await storage.setAlarm(9_000_000_000_000 + value)


async def read(ctx):
    """The one value that keys, table and alarm agree on."""
    storage = ctx.storage
    value = await storage.get("n")
    if value is None:
        assert storage.sql.exec("select 1 from sqlite_master where name = 't'").toArray() == []
        assert await storage.getAlarm() is None
        return None
    assert bytes(await storage.get("big")) == bytes([value]) * 9_000
    assert storage.sql.exec("select n from t").one()["n"] == value
    assert await storage.getAlarm() == 9_000_000_000_000 + value
    return value


async def bookmark(ctx):
    return await ctx.storage.getCurrentBookmark()


async def ask(ctx, mark):
    return await ctx.storage.onNextSessionRestoreBookmark(mark)


async def ask_and_abort(ctx, mark, kept):
    kept.append(await ctx.storage.onNextSessionRestoreBookmark(mark))
    ctx.abort("restoring")


async def restored(session: Session, mark: str) -> str:
    """Ask for a point and begin anew; the bookmark that undoes it."""
    undo = await session.do(ask, mark)
    await session.abort()
    return undo


# ---------------------------------------------------------------------- the text
@on_a_loop
async def test_form(tmp_path) -> None:
    async with Session.on(tmp_path) as session:
        for script in (bookmark, lambda ctx: ctx.storage.get_current_bookmark()):
            assert FORM.fullmatch(await session.do(script))
        await session.do(write, 1)
        mark = await session.do(bookmark)
        assert FORM.fullmatch(mark)
        assert FORM.fullmatch(await session.do(ask, mark))
        assert FORM.fullmatch(await session.do(lambda ctx: ctx.storage.getBookmarkForTime(1_000_000)))


@on_a_loop
async def test_strictly_larger_at_every_call_whatever_happens_between(tmp_path) -> None:
    """Time stands still here, and goes back at the restart of the shard."""
    async with Session.on(tmp_path) as session:
        marks = [await session.do(bookmark), await session.do(bookmark)]
        for value in range(1, 4):
            await session.do(write, value)
            marks += [await session.do(bookmark), await session.do(bookmark)]
        session.evict()
        marks.append(await session.do(bookmark))
        await session.abort()
        marks.append(await session.do(bookmark))
        for kill in (False, True):
            await session.restart(kill=kill, seconds=5.0)
            marks.append(await session.do(bookmark))
            await session.do(write, 9)
            marks.append(await session.do(bookmark))
        for back in (marks[2], marks[-1]):
            await restored(session, back)
            marks.append(await session.do(bookmark))
        await session.restart(seconds=4.0)
        marks.append(await session.do(bookmark))
        assert marks == sorted(set(marks))


@on_a_loop
async def test_a_bookmark_covers_what_was_written_before_it_was_asked_for(tmp_path) -> None:
    async def between(ctx):
        await ctx.storage.put("k", "before")
        asked = ctx.storage.getCurrentBookmark()
        await ctx.storage.put("k", "after")
        return await asked

    async with Session.on(tmp_path) as session:
        mark = await session.do(between)
        assert await session.do(lambda ctx: ctx.storage.get("k")) == "after"
        await restored(session, mark)
        assert await session.do(lambda ctx: ctx.storage.get("k")) == "before"


def test_it_is_read_as_it_was_packed() -> None:
    position = Position(7, (3 << 32) + 5)
    text = pack_bookmark(b"x" * 32, position, 99)
    assert text.startswith("00000007-00000003-00000005-")
    assert read_bookmark(b"x" * 32, text) == position


NO_BOOKMARKS = {
    "empty": "",
    "words": "yesterday",
    "short": "00000001-00000000-00000001-00",
    "upper": "00000001-00000000-0000000A-" + "0" * 32,
    "newline": "00000001-00000000-00000001-" + "0" * 32 + "\n",
    "none": None,
    "number": 5,
    "bytes": b"00000001",
}


@pytest.mark.parametrize("given", NO_BOOKMARKS.values(), ids=NO_BOOKMARKS)
@on_a_loop
async def test_what_is_no_bookmark(tmp_path, given: object) -> None:
    async with Session.on(tmp_path) as session:
        await session.do(write, 1)
        with pytest.raises(InvalidArgument, match="is not a bookmark"):
            await session.do(ask, given)
        await session.abort()
        assert await session.do(read) == 1


@on_a_loop
async def test_a_bookmark_of_another_object_is_refused(tmp_path) -> None:
    async with Session.on(tmp_path) as session:
        await session.do(write, 1)
        await session.do(write, 1, name="b")
        with pytest.raises(InvalidArgument, match="of another object"):
            await session.do(ask, await session.do(bookmark, name="b"))


@on_a_loop
async def test_a_bookmark_that_was_never_given_is_refused(tmp_path) -> None:
    async with Session.on(tmp_path) as session:
        await session.do(write, 1)
        for position in (Position(1, 1_000), Position(5, 3)):
            with pytest.raises(HistoryGone, match="was never given"):
                await session.do(ask, pack_bookmark(session.id(), position, 1))
        await session.abort()
        assert await session.do(read) == 1
        assert session.said("restore_failed") == []


# ---------------------------------------------------------------------- times
NO_TIMES = {
    "text": "2026-01-01",
    "none": None,
    "bool": True,
    "nan": float("nan"),
    "infinite": float("inf"),
    "negative": -1,
    "list": [1],
}


@pytest.mark.parametrize("given", NO_TIMES.values(), ids=NO_TIMES)
@on_a_loop
async def test_what_is_no_time(tmp_path, given: object) -> None:
    async with Session.on(tmp_path) as session:
        await session.do(write, 1)
        with pytest.raises(InvalidArgument, match="is no time"):
            await session.do(lambda ctx: ctx.storage.getBookmarkForTime(given))


class JavaScriptDate:
    def __init__(self, ms: float) -> None:
        self.ms = ms

    def getTime(self) -> float:
        return self.ms


KINDS = {
    "milliseconds": lambda ms: ms,
    "float": float,
    "datetime": lambda ms: datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC),
    "naive-is-local": lambda ms: datetime.datetime.fromtimestamp(ms / 1000),
    "getTime": JavaScriptDate,
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@on_a_loop
async def test_bookmark_for_a_time(tmp_path, kind) -> None:
    async with Session.on(tmp_path) as session:
        for value in range(1, 5):
            session.pass_time(10)
            await session.do(write, value)

        async def at(seconds: float) -> int | None:
            mark = await session.do(lambda ctx: ctx.storage.getBookmarkForTime(kind(int(seconds * 1000))))
            session.pass_time(1)
            undo = await restored(session, mark)
            found = await session.do(read)
            await restored(session, undo)
            return found

        assert await at(1_010.0) == 1
        assert await at(1_025.5) == 2
        assert await at(1_039.999) == 3
        assert await at(90_000.0) == 4, "the future is the present"
        with pytest.raises(HistoryGone):
            await session.do(lambda ctx: ctx.storage.getBookmarkForTime(kind(5)))


# ---------------------------------------------------------------------- restoring
@on_a_loop
async def test_keys_tables_and_the_alarm_come_back_together(tmp_path) -> None:
    async with Session.on(tmp_path) as session:
        empty = await session.do(bookmark)
        await session.do(write, 1)
        one = await session.do(bookmark)
        await session.do(write, 2)
        undo = await session.do(ask, one)
        assert await session.do(read) == 2, "not before the object's next start"
        await session.abort()
        assert await session.do(read) == 1
        undo_again = await restored(session, undo)
        assert await session.do(read) == 2
        await restored(session, empty)
        assert await session.do(read) is None
        await restored(session, undo_again)
        assert await session.do(read) == 1


@on_a_loop
async def test_the_request_outlives_the_abort_of_its_own_turn(tmp_path) -> None:
    async with Session.on(tmp_path) as session:
        await session.do(write, 1)
        mark, kept = await session.do(bookmark), []
        await session.do(write, 2)
        with pytest.raises(PerdureError, match="restoring"):
            await session.do(ask_and_abort, mark, kept)
        assert await session.do(read) == 1
        await restored(session, kept[0])
        assert await session.do(read) == 2


@on_a_loop
async def test_what_the_turn_wrote_before_the_request_is_kept_and_after_it_is_not(tmp_path) -> None:
    async def script(ctx, mark, kept):
        await ctx.storage.put("k", "before")
        kept.append(await ctx.storage.onNextSessionRestoreBookmark(mark))
        await ctx.storage.put("k", "after")
        ctx.abort()

    async with Session.on(tmp_path) as session:
        await session.do(write, 1)
        mark, kept = await session.do(bookmark), []
        with pytest.raises(PerdureError):
            await session.do(script, mark, kept)
        assert await session.do(lambda ctx: ctx.storage.get("k")) is None
        await restored(session, kept[0])
        assert await session.do(lambda ctx: ctx.storage.get("k")) == "before"


@on_a_loop
async def test_it_takes_effect_when_called_awaited_or_not(tmp_path) -> None:
    def script(ctx, mark):
        ctx.storage.onNextSessionRestoreBookmark(mark)
        ctx.abort()

    async with Session.on(tmp_path) as session:
        await session.do(write, 1)
        mark = await session.do(bookmark)
        await session.do(write, 2)
        with pytest.raises(PerdureError):
            await session.do(script, mark)
        assert await session.do(read) == 1


@on_a_loop
async def test_of_several_requests_the_last_counts(tmp_path) -> None:
    async with Session.on(tmp_path) as session:
        marks = []
        for value in range(1, 4):
            await session.do(write, value)
            marks.append(await session.do(bookmark))
        await session.do(ask, marks[0])
        undo = await session.do(ask, marks[1])
        with pytest.raises(HistoryGone):
            await session.do(ask, pack_bookmark(session.id(), Position(9, 9), 1))
        await session.abort()
        assert await session.do(read) == 2, "one that was refused changes nothing"
        await restored(session, undo)
        assert await session.do(read) == 3


@on_a_loop
async def test_the_next_start_may_be_after_an_eviction_or_in_another_process(tmp_path) -> None:
    async with Session.on(tmp_path) as session:
        marks = []
        for value in range(1, 6):
            await session.do(write, value)
            marks.append(await session.do(bookmark))
        await session.do(ask, marks[0])
        session.evict()
        assert await session.do(read) == 1
        for mark, kill in ((marks[1], False), (marks[2], True)):
            await session.do(ask, mark)
            await session.restart(kill=kill)
            assert await session.do(read) == marks.index(mark) + 1
        await session.cycle()
        await restored(session, marks[4])
        assert await session.do(read) == 5, "also what a dead process logged"


@on_a_loop
async def test_the_constructor_runs_on_restored_data(tmp_path, monkeypatch) -> None:
    from .box import Alarmed

    found = []

    class Looks(Alarmed):
        def __init__(self, ctx, env):
            super().__init__(ctx, env)
            found.append(ctx.storage.kv.get("n"))

    async with Session.on(tmp_path) as session:
        session.machine.residents._classes["sim-Thing"].cls = Looks
        await session.do(write, 1)
        mark = await session.do(bookmark)
        await session.do(write, 2)
        await restored(session, mark)
        await session.do(read)
        assert found == [None, 1]


@on_a_loop
async def test_events_wait_for_a_restore_and_see_what_it_brought(tmp_path, monkeypatch) -> None:
    async with Session.on(tmp_path) as session:
        await session.do(write, 1)
        mark = await session.do(bookmark)
        await session.do(write, 2)
        await restored(session, mark)
        archive = session.machine.archive
        at_work, go_on = asyncio.Event(), asyncio.Event()
        work = archive.ask

        async def slow(kind, **fields):
            if kind == "build":
                at_work.set()
                await go_on.wait()
            return await work(kind, **fields)

        monkeypatch.setattr(archive, "ask", slow)
        first = session.send(read)
        await at_work.wait()
        others = [session.send(read) for _ in range(3)]
        other = await asyncio.wait_for(session.do(read, name="b"), 5)
        assert other is None, "other objects go on"
        assert not first.done()
        assert not any(future.done() for future in others)
        go_on.set()
        await asyncio.gather(first, *others)
        assert await session.do(read) == 1


@on_a_loop
async def test_asking_history_lets_no_other_event_in(tmp_path, monkeypatch) -> None:
    async with Session.on(tmp_path) as session:
        await session.do(write, 1)
        mark = await session.do(bookmark)
        session.pass_time(1)
        archive = session.machine.archive
        work = archive.ask
        go_on = asyncio.Event()

        async def slow(kind, **fields):
            await go_on.wait()
            return await work(kind, **fields)

        monkeypatch.setattr(archive, "ask", slow)
        for script in (
            lambda ctx: ctx.storage.onNextSessionRestoreBookmark(mark),
            lambda ctx: ctx.storage.getBookmarkForTime(1_000_500),
        ):
            go_on.clear()
            asking, other = session.send(script), session.send(read)
            for _ in range(30):
                await asyncio.sleep(0)
            assert not other.done()
            go_on.set()
            await asyncio.gather(asking, other)


# ---------------------------------------------------------------------- restores that fail
FAILURES = {
    "history-is-gone": HistoryGone("the history of the object does not reach back"),
    "the-disk-is-full": StorageFull("the disk of the data folder is full"),
    "the-archivist-died": ShardLost("the process that works on history died"),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("job", ["build", "prepare"])
@on_a_loop
async def test_a_restore_that_fails_leaves_the_object_as_it_is(tmp_path, monkeypatch, failure, job: str) -> None:
    async with Session.on(tmp_path) as session:
        await session.do(write, 1)
        mark = await session.do(bookmark)
        await session.do(write, 2)
        await restored(session, mark)
        archive = session.machine.archive
        work, tries = archive.ask, []

        async def fail(kind, **fields):
            if kind == job:
                tries.append(kind)
                raise failure
            return await work(kind, **fields)

        monkeypatch.setattr(archive, "ask", fail)
        with pytest.raises(type(failure), match=re.escape(failure.message)):
            await session.do(read)
        (said,) = session.said("restore_failed")
        assert said["error"] == failure.message
        assert await session.do(read) == 2
        await session.abort()
        assert await session.do(read) == 2
        await session.restart(kill=True)
        assert await session.do(read) == 2
        assert len(tries) == 1, "it is not tried again"
        await restored(session, mark)
        assert await session.do(read) == 1, "but may be asked for again"


@on_a_loop
async def test_a_failed_restore_that_cannot_be_noted_is_not_tried_for_ever(tmp_path, monkeypatch) -> None:
    """The disk is so full that not even the note goes into the log: the object still answers."""
    async with Session.on(tmp_path) as session:
        await session.do(write, 1)
        mark = await session.do(bookmark)
        await session.do(write, 2)
        await restored(session, mark)
        machine, tries = session.machine, []

        async def fail(kind, **_fields):
            tries.append(kind)
            raise StorageFull("the disk of the data folder is full")

        def full(*_args, **_more):
            raise StorageFull("the disk of the data folder is full")

        with monkeypatch.context() as patch:
            patch.setattr(machine.archive, "ask", fail)
            patch.setattr(machine.log, "append", full)
            with pytest.raises(StorageFull):
                await session.do(read)
            assert await session.do(read) == 2
            assert [kind for kind in tries if kind != "give_up"] == ["confirm"]  # beside it history gives up its space
        assert await session.do(read) == 2


@on_a_loop
async def test_history_that_is_gone_is_said_when_it_is_asked_for(tmp_path) -> None:
    async with Session.on(tmp_path) as session:
        await session.do(write, 1)
        mark = await session.do(bookmark)
        await session.do(write, 2)
        await session.machine.timeline.moments(_key(), session.id(), 1)
        history = session.machine.archive.archivist._history
        with history.connection(session.id()):
            history.forget(session.id())
        await session.cycle()
        for segment in session.machine.log.places():
            await session.machine.timeline.fold(segment)
        with history.connection(session.id()):
            history.connection(session.id()).execute("delete from runs")
            history.connection(session.id()).execute("update objects set change = last_change")
        with pytest.raises(HistoryGone, match="does not reach back"):
            await session.do(ask, mark)
        await session.abort()
        assert await session.do(read) == 2


@on_a_loop
async def test_a_history_with_a_gap_begins_anew_while_it_is_asked(tmp_path) -> None:
    """Nobody waits for ever: the object's own event asks, and history needs its file as it is now."""
    async with Session.on(tmp_path) as session:

        async def lose() -> None:
            await session.do(write, 1)
            await session.restart()
            await session.cycle()
            history = session.machine.archive.archivist._history
            with history.connection(session.id()):
                history.forget(session.id())
            await session.do(write, 2)

        mark = await session.do(bookmark)
        for script in (lambda ctx: ask(ctx, mark), lambda ctx: ctx.storage.getBookmarkForTime(5)):
            await lose()
            with pytest.raises(HistoryGone):
                await asyncio.wait_for(session.do(script), 5)
        present = await session.do(bookmark)
        await session.do(ask, present)
        history = session.machine.archive.archivist._history
        with history.connection(session.id()):
            history.forget(session.id())
        await session.abort()
        with pytest.raises(HistoryGone):
            await asyncio.wait_for(session.do(read), 5)
        assert await session.do(read) == 2


def _key():
    from ..sim.machine import KEY

    return KEY


# ---------------------------------------------------------------------- where it cannot be used
@on_a_loop
async def test_inside_transaction_sync_it_is_refused(tmp_path) -> None:
    def script(ctx):
        with pytest.raises(StorageError, match=r"within transactionSync"):
            ctx.storage.transactionSync(lambda: ctx.storage.getCurrentBookmark())
        with pytest.raises(StorageError, match=r"within transactionSync"):
            ctx.storage.transactionSync(lambda: ctx.storage.onNextSessionRestoreBookmark("x"))

    async with Session.on(tmp_path) as session:
        await session.do(script)


@on_a_loop
async def test_a_request_inside_transaction_belongs_to_it(tmp_path) -> None:
    async def rolled_back(ctx, mark):
        async def body(txn):
            await ctx.storage.onNextSessionRestoreBookmark(mark)
            txn.rollback()

        await ctx.storage.transaction(body)

    async with Session.on(tmp_path) as session:
        await session.do(write, 1)
        mark = await session.do(bookmark)
        await session.do(write, 2)
        await session.do(rolled_back, mark)
        await session.abort()
        assert await session.do(read) == 2


@on_a_loop
async def test_without_a_history_it_says_so(tmp_path) -> None:
    async with Box.on(tmp_path) as box:
        for script in (bookmark, lambda ctx: ctx.storage.getBookmarkForTime(1)):
            with pytest.raises(StorageUnavailable, match="no history is kept here"):
                await box.do(script)


# ---------------------------------------------------------------------- snapshots
@on_a_loop
async def test_snapshots_travel_and_are_restored(tmp_path) -> None:
    async with Session.on(tmp_path) as session:
        await session.do(write, 1)
        mark = await session.do(bookmark)
        first = await session.do(lambda ctx: ctx.storage.snapshot())
        await session.do(write, 2)
        of_mark = await session.do(lambda ctx: ctx.storage.snapshot(mark))
        for snapshot in (first, of_mark):
            travelled = unpack(pack(snapshot))
            undo = await session.do(lambda ctx, given=travelled: ctx.onNextSessionRestore(given))
            await session.abort()
            assert await session.do(read) == 1
            await session.do(lambda ctx, given=undo: ctx.on_next_session_restore(given))
            await session.abort()
            assert await session.do(read) == 2
        for wrong in (None, {}, {"bookmark": 5}, "text"):
            with pytest.raises(InvalidArgument, match="is no snapshot"):
                await session.do(lambda ctx, given=wrong: ctx.onNextSessionRestore(given))
        with pytest.raises(InvalidArgument, match="is not a bookmark"):
            await session.do(lambda ctx: ctx.storage.snapshot("yesterday"))
