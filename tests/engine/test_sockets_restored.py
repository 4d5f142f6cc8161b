"""Another file in the place of an object's: sockets belong to the object, not to its state (decision 015)."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import apsw
from perdure.engine.disk import LocalDisk
from perdure.engine.socket_calls import OPENED
from perdure.engine.web_socket_pair import WebSocketPair
from perdure.shards import wholefiles

from ..shards.session import KEY, Session, on_a_loop
from .keeper import Connection, Keeper


def accept(ctx):
    client, server = WebSocketPair.new()
    ctx.acceptWebSocket(server, ["tag"])
    server.serializeAttachment("attached")
    return client.give()


def count(ctx):
    return len(ctx.getWebSockets())


async def bookmark(ctx):
    return await ctx.storage.getCurrentBookmark()


def keeper_of(session: Session) -> Keeper:
    keeper, residents = Keeper(), session.machine.residents
    residents.holders = lambda: [keeper]
    keeper.shard = SimpleNamespace(loop=asyncio.get_running_loop(), residents=residents, key=KEY)
    return keeper


async def connect(session: Session, keeper: Keeper) -> Connection:
    ref = await session.do(accept)
    connection = keeper.connections[ref.socket] = Connection(ref)
    keeper._event(connection, OPENED, 0, None)
    await session.cycle()
    return connection


@on_a_loop
async def test_a_restore_ends_the_object_s_sockets_those_of_then_do_not_come_back(tmp_path) -> None:
    async with Session.on(tmp_path) as session:
        keeper = keeper_of(session)
        old = await connect(session, keeper)
        mark = await session.do(bookmark)
        keeper.close(old)
        await session.cycle()
        new = await connect(session, keeper)
        assert await session.do(count) == 1
        await session.do(lambda ctx: ctx.storage.onNextSessionRestoreBookmark(mark))
        session.evict()
        assert await session.do(count) == 0
        await session.cycle()
        assert new.got == ["cut"]


def test_a_file_that_leaves_or_comes_has_no_sockets(tmp_path) -> None:
    path = str(tmp_path / "file")
    for make in (lambda: wholefiles.make_plain(LocalDisk(), path), lambda: wholefiles.finish(LocalDisk(), path, 2)):
        (tmp_path / "file").unlink(missing_ok=True)
        connection = apsw.Connection(path)
        connection.execute(
            f"{wholefiles.HIDDEN_TABLES};create table _cf_SOCKETS(id, attachment);create table _cf_OUTBOX(number);"
            "insert into _cf_SOCKETS values(1, 'a secret of a socket');"
            "insert into _cf_METADATA values('sockets', 1), ('name', 'a')"
        )
        connection.close()
        make()
        connection = apsw.Connection(f"file:{path}?immutable=1", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
        names = {name for (name,) in connection.execute("select name from sqlite_schema where type = 'table'")}
        assert names == {"_cf_KV", "_cf_METADATA"}
        assert connection.execute("select key from _cf_METADATA").fetchall() == [("name",)]
        connection.close()
        assert b"a secret of a socket" not in (tmp_path / "file").read_bytes()


def test_a_raw_copy_of_an_object_with_sockets_may_be_imported(tmp_path) -> None:
    source, target = str(tmp_path / "source"), str(tmp_path / "target")
    connection = apsw.Connection(source)
    connection.execute("create table mine(x);create table _cf_SOCKETS(id);create table _cf_OUTBOX(number)")
    connection.close()
    wholefiles.adopt(LocalDisk(), source, target, 2, 1 << 30)
    connection = apsw.Connection(f"file:{target}?immutable=1", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    names = {name for (name,) in connection.execute("select name from sqlite_schema where type = 'table'")}
    assert names == {"mine", "_cf_KV", "_cf_METADATA"}
    connection.close()
