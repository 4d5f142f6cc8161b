"""Objects that a deleteAll() has left with nothing: what is overwritten, when the file goes, what stays, what the next one is."""

from __future__ import annotations

import asyncio
import os

import apsw
import pytest
from perdure.engine.bookmarks import read_bookmark
from perdure.engine.errors import PerdureError
from perdure.engine.limits import Limits
from perdure.router.slots import group_of
from perdure.shards.catalogue import Catalogue
from perdure.shards.floors import floors_of

from ..engine.test_bookmarks import ask, bookmark, read, restored, write
from .session import Session, on_a_loop

SECRET = b"Wer nur den lieben Gott laesst walten"


async def tell(ctx):
    """The secret in a key, a table, a free page, and many pages of a row."""
    storage = ctx.storage
    await storage.put("secret", SECRET.decode())
    storage.sql.exec("create table if not exists told(id integer primary key, text)")
    storage.sql.exec("create index if not exists by_text on told(text)")
    for number in range(20):
        storage.sql.exec("insert or replace into told values(?, ?)", number, SECRET.decode() * 100)
    storage.sql.exec("create table if not exists freed(text)")
    storage.sql.exec("insert into freed values(?)", SECRET.decode() * 3_000)
    storage.sql.exec("drop table freed")


async def wipe(ctx):
    await ctx.storage.deleteAll()


def found_in(folder: str) -> list[str]:
    """Files below a folder that have the secret anywhere."""
    found = []
    for path, _, names in os.walk(folder):
        for name in names:
            with open(f"{path}/{name}", "rb") as file:
                if SECRET in file.read():
                    found.append(f"{path}/{name}")
    return found


async def emptied(session: Session, name: str = "a") -> None:
    """Evict it, and let its file go."""
    session.evict(name)
    await session.emptied()


def listed(session: Session) -> list[bytes]:
    catalogue = session.machine.catalogue
    return [row.object_id for group in catalogue.groups for row in catalogue.read(group)]


# ---------------------------------------------------------------------- the file
@on_a_loop
async def test_delete_all_overwrites_what_it_frees_while_the_object_lives_on(tmp_path) -> None:
    async with Session.on(tmp_path) as session:
        await session.do(tell)
        await session.cycle()
        assert found_in(f"{tmp_path}/objects"), "the check can fail"
        await session.do(wipe)
        await session.do(lambda ctx: ctx.storage.put("n", 1))
        await session.cycle()
        session.evict()
        assert found_in(f"{tmp_path}/objects") == found_in(f"{tmp_path}/live") == []
        assert await session.do(lambda ctx: ctx.storage.get("n")) == 1


@on_a_loop
async def test_pages_that_were_free_before_are_overwritten_too(tmp_path) -> None:
    async def free(ctx):
        ctx.storage.sql.exec("drop table told")
        await ctx.storage.delete("secret")

    async with Session.on(tmp_path) as session:
        await session.do(tell)
        await session.do(free)
        await session.cycle()
        assert found_in(f"{tmp_path}/objects"), "freed pages hold it"
        await session.do(wipe)
        await session.do(lambda ctx: ctx.storage.put("n", 1))
        await session.cycle()
        assert found_in(f"{tmp_path}/objects") == []


@on_a_loop
async def test_a_large_database_is_not_overwritten_but_its_file_goes(tmp_path) -> None:
    async with Session.on(tmp_path, Limits(delete_all_overwrite_bytes_max=4_096)) as session:
        await session.do(tell)
        await session.do(wipe)
        await session.cycle()
        assert found_in(f"{tmp_path}/objects")
        await emptied(session)
        assert found_in(f"{tmp_path}/objects") == []


@on_a_loop
async def test_an_object_that_has_nothing_keeps_no_file(tmp_path) -> None:
    async with Session.on(tmp_path) as session:
        await session.do(write, 1)
        await session.cycle()
        assert session.has_file()
        assert listed(session) == [session.id()]
        await session.do(wipe)
        await session.cycle()
        assert session.has_file(), "not while it is in memory"
        await emptied(session)
        assert not session.has_file()
        assert listed(session) == []
        assert await session.do(read) is None
        assert not session.has_file(), "reading makes none"
        await session.restart(kill=True)
        assert await session.do(read) is None
        assert not session.has_file()


KEPT = {
    "a-key": lambda ctx: ctx.storage.put("k", 1),
    "a-table": lambda ctx: ctx.storage.sql.exec("create table t(x)").toArray(),
    "an-alarm": lambda ctx: ctx.storage.setAlarm(9_000_000_000_000),
}


@pytest.mark.parametrize("script", KEPT.values(), ids=KEPT)
@on_a_loop
async def test_whatever_it_stores_after_the_wipe_keeps_the_file(tmp_path, script) -> None:
    async with Session.on(tmp_path) as session:
        await session.do(write, 1)
        await session.do(wipe)
        await session.do(script)
        await emptied(session)
        assert session.has_file()


@on_a_loop
async def test_an_object_that_only_deleted_its_keys_keeps_the_file(tmp_path) -> None:
    async with Session.on(tmp_path) as session:
        await session.do(lambda ctx: ctx.storage.put("k", 1))
        await session.do(lambda ctx: ctx.storage.delete("k"))
        await emptied(session)
        assert session.has_file()


@on_a_loop
async def test_a_pending_restore_keeps_the_file(tmp_path) -> None:
    async with Session.on(tmp_path) as session:
        await session.do(write, 1)
        mark = await session.do(bookmark)
        await session.do(wipe)
        await session.do(ask, mark)
        await emptied(session)
        assert session.has_file()
        assert await session.do(read) == 1


@on_a_loop
async def test_an_alarm_that_delete_all_leaves_keeps_the_file(tmp_path) -> None:
    async with Session.on(tmp_path) as session:
        session.machine.residents._classes["sim-Thing"].delete_all_deletes_alarm = False
        await session.do(write, 1)
        await session.do(wipe)
        await emptied(session)
        assert session.has_file()


@on_a_loop
async def test_it_goes_also_after_an_abort_a_read_or_a_crash(tmp_path) -> None:
    async with Session.on(tmp_path) as session:
        await session.do(write, 1)
        await session.do(wipe)
        await session.abort()
        await session.do(read)
        assert session.has_file()
        await session.restart(kill=True)
        assert await session.do(read) is None
        await emptied(session)
        assert not session.has_file()


@on_a_loop
async def test_a_closed_database_of_an_object_in_memory_is_looked_at_when_it_leaves(tmp_path) -> None:
    limits = Limits(open_databases_max=1)
    async with Session.on(tmp_path, limits) as session:
        await session.do(write, 1)
        await session.do(wipe)
        await session.do(write, 1, name="b")
        await session.emptied()
        storage = session.machine.residents._by_id[session.id()].storage
        assert not storage.is_open()
        assert session.has_file(), "it is still in memory"
        await emptied(session)
        assert not session.has_file()


@on_a_loop
async def test_an_event_that_comes_meanwhile_wins_or_waits(tmp_path) -> None:
    async with Session.on(tmp_path) as session:
        for value in range(1, 4):
            await session.do(write, value)
            await session.do(wipe)
            session.evict()
            if value == 1:  # before the file is looked at: the object is used again
                await session.do(write, 7)
                await session.emptied()
            else:  # while it is being removed
                for _ in range(value - 1):
                    await asyncio.sleep(0)
                sent = session.send(write, 7)
                await session.emptied()
                await sent
            assert await session.do(read) == 7
            await session.cycle()
            session.evict()
            assert await session.do(read) == 7, "and it is in the file"
        await session.restart(kill=True)
        assert await session.do(read) == 7


@on_a_loop
async def test_many_go_together_and_the_last_at_the_end_of_the_process(tmp_path) -> None:
    async with Session.on(tmp_path) as session:
        names = [f"o{number}" for number in range(70)]
        for name in names:
            await session.do(write, 1, name=name)
            await session.do(wipe, name=name)
        for name in names[:60]:
            session.evict(name)
        await session.emptied()
        assert [session.has_file(name) for name in names] == [False] * 60 + [True] * 10
        await session.restart()
        assert not any(session.has_file(name) for name in names)
        assert listed(session) == []


@on_a_loop
async def test_a_removal_that_fails_is_said_and_the_object_goes_on(tmp_path, monkeypatch) -> None:
    async with Session.on(tmp_path) as session:
        await session.do(write, 1)
        await session.do(wipe)

        def fail(_group, _generation):
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(session.machine.catalogue, "raise_floor", fail)
            await emptied(session)
        assert len(session.said("emptied_objects_stay")) == 1
        await session.do(write, 2)
        assert await session.do(read) == 2


# ---------------------------------------------------------------------- the past, and the next one
@on_a_loop
async def test_bookmarks_from_before_the_wipe_restore_after_the_file_is_gone(tmp_path) -> None:
    async with Session.on(tmp_path) as session:
        marks = []
        for value in range(1, 4):
            await session.do(write, value)
            marks.append(await session.do(bookmark))
        await session.do(wipe)
        marks.append(await session.do(bookmark))
        await emptied(session)
        marks.append(await session.do(bookmark))
        undo = await restored(session, marks[1])
        assert await session.do(read) == 2
        marks.append(await session.do(bookmark))
        await restored(session, undo)
        assert await session.do(read) is None
        await emptied(session)
        await session.do(write, 8)
        marks.append(await session.do(bookmark))
        await emptied(session)
        for mark, value in zip(marks, [1, 2, 3, None, None, 2, 8], strict=True):
            await restored(session, mark)
            assert await session.do(read) == value
        marks.append(await session.do(bookmark))
        assert marks == sorted(set(marks))


@on_a_loop
async def test_generations_grow_when_no_log_speaks_of_the_object_any_more(tmp_path) -> None:
    """The DELETE record is trimmed, the process is another one: only the floor knows that there was an earlier file."""
    async with Session.on(tmp_path) as session:
        await session.do(write, 1)
        one = await session.do(bookmark)
        await session.do(wipe)
        await emptied(session)
        for _ in range(2):
            await session.restart()
            await session.cycle()
        assert session.machine.files.dead.objects == {}
        marks = [one, await session.do(bookmark)]
        await session.do(write, 2)
        marks.append(await session.do(bookmark))
        assert marks == sorted(marks)
        assert read_bookmark(session.id(), marks[2]).generation > 1
        await restored(session, one)
        assert await session.do(read) == 1
        await restored(session, marks[2])
        assert await session.do(read) == 2


@on_a_loop
async def test_an_operators_deletion_takes_the_past_of_the_earlier_one_only(tmp_path) -> None:
    """The record of the deletion is folded again when its segment goes: what came after it stays."""
    from ..sim.machine import KEY

    async with Session.on(tmp_path) as session:
        await session.do(write, 1)
        old = await session.do(bookmark)
        await session.machine.timeline.delete(KEY, session.id())
        with pytest.raises(PerdureError):
            await session.do(ask, old)
        await session.do(write, 2)
        mark = await session.do(bookmark)
        await session.do(write, 3)
        undo = await restored(session, mark)
        assert await session.do(read) == 2
        for place in session.machine.log.places():
            await session.machine.timeline.fold(place)
        await restored(session, undo)
        assert await session.do(read) == 3


@on_a_loop
async def test_a_restore_of_an_object_without_a_file_builds_on_the_template(tmp_path) -> None:
    """What is the same as in the template is not taken from the last state of the earlier file."""
    async with Session.on(tmp_path) as session:
        await session.do(lambda ctx: ctx.storage.put("k", "first"))
        mark = await session.do(bookmark)
        await session.do(write, 5)
        await session.do(wipe)
        await emptied(session)
        await restored(session, mark)
        assert await session.do(lambda ctx: ctx.storage.get("k")) == "first"
        again = await session.do(bookmark)
        await session.do(write, 6)
        await restored(session, again)
        assert await session.do(lambda ctx: ctx.storage.get("k")) == "first"
        assert await session.do(lambda ctx: ctx.storage.sql.exec("pragma quick_check").toArray())


@on_a_loop
async def test_a_catalogue_that_was_not_told_of_a_deletion_is_told_at_the_next_start(tmp_path, monkeypatch) -> None:
    async with Session.on(tmp_path) as session:
        await session.do(write, 1)
        await session.do(wipe)
        await session.cycle()
        monkeypatch.setattr(Catalogue, "delete", lambda self, object_id: None)
        await emptied(session)
        monkeypatch.undo()
        assert listed(session) == [session.id()]
        await session.restart(kill=True)
        await session.cycle()
        assert listed(session) == []


# ---------------------------------------------------------------------- floors
def test_a_floor_only_rises(tmp_path) -> None:
    catalogue = Catalogue(str(tmp_path), [3])
    assert catalogue.floor(3) == 0
    for generation in (4, 2, 4):
        catalogue.raise_floor(3, generation)
        assert catalogue.floor(3) == 4


@on_a_loop
async def test_floors_of_a_lost_catalogue_are_above_what_history_knows(tmp_path) -> None:
    async with Session.on(tmp_path) as session:
        await session.do(write, 1)
        mark = await session.do(bookmark)
        await restored(session, mark)
        await session.do(read)
        await restored(session, mark)
        await session.do(wipe)
        await emptied(session)
        generation = session.machine.files.floors[group_of(session.id())]
        assert generation == 3
        for name in os.listdir(f"{tmp_path}/catalogue"):
            os.unlink(f"{tmp_path}/catalogue/{name}")
        catalogue = Catalogue(str(tmp_path), range(64))
        assert floors_of(catalogue, f"{tmp_path}/history") == {group_of(session.id()): generation}
        assert catalogue.floor(group_of(session.id())) == generation, "and durable"


@on_a_loop
async def test_the_work_belongs_to_no_object_whose_turn_has_closed_it(tmp_path) -> None:
    """Opening a database closes those not used lately, also an empty one: its file goes whatever becomes of the opener."""
    limits = Limits(segment_bytes=256 << 10, open_databases_max=1)
    async with Session.on(str(tmp_path), limits) as session:
        await session.do(tell, name="empty")
        await session.do(wipe, name="empty")
        tasks: list[str] = []

        async def opens(ctx):
            await ctx.storage.put("x", 1)
            ctx.storage.sql.exec("create table t(x)")
            tasks.extend(task.get_name() for task in session.machine.residents.turns.scope.instance.tasks)

        await session.do(opens, name="other")
        assert session.machine.emptied._task is not None, "it was closed"
        assert tasks == []


def test_a_file_that_another_thread_is_making_is_read_as_empty(tmp_path) -> None:
    catalogue = Catalogue(str(tmp_path), [3])
    half = apsw.Connection(f"{tmp_path}/catalogue/03.sqlite")
    half.execute("pragma journal_mode=wal").fetchall()  # the first that is done to a new file: no table is there yet
    half.close()
    assert catalogue.due(1 << 62, {"a class"}, frozenset(), 10) == []
    catalogue.rebuild({})
    assert catalogue.due(1 << 62, {"a class"}, frozenset(), 10) == []
    assert catalogue.reader(3) is not None
