"""KV and transactions as programs see them (spec: storage-kv, transactions and gates, edge cases); SQL: test_sql*.py."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from perdure.engine.durable import DurableObject
from perdure.engine.errors import PerdureError

from .shelf import Shard

SCRIPTS: dict[str, Callable[..., object]] = {}


class Box(DurableObject):
    """Runs what a test registers, with its own ctx."""

    async def do(self, name, *args):
        result = SCRIPTS[name](self.ctx.storage, *args)
        if hasattr(result, "__await__"):
            result = await result
        return result


def script(function):
    SCRIPTS[function.__name__] = function
    return function.__name__


def run(tmp_path, *names: str) -> list[object]:
    """Run scripts one after the other in one object; their results, exceptions as values."""

    async def body() -> list[object]:
        shard = Shard(Box, tmp_path)
        results: list[object] = []
        for name in names:
            try:
                results.append(await shard.call("a", "do", name))
            except PerdureError as error:
                results.append(error)
        shard.stop()
        return results

    return asyncio.run(body())


@script
async def kv(s):
    await s.put({"b": 2, "a": 1, "c": 3.14, "d": True})
    s.put("not awaited", "still there")
    return [
        await s.get("a"),
        await s.get("missing"),
        dict(await s.get(["d", "a", "x"])),
        list(await s.list()),
        list(await s.list({"prefix": "n"})),
        list(await s.list(start="b", end="d")),
        list(await s.list(startAfter="b", limit=2)),
        list(await s.list(reverse=True, limit=2)),
        await s.delete("b"),
        await s.delete("b"),
        await s.delete(["a", "x", "c"]),
        len(await s.list()),
    ]


def test_kv(tmp_path) -> None:
    (found,) = run(tmp_path, kv)
    assert found == [
        1,
        None,
        {"a": 1, "d": True},
        ["a", "b", "c", "d", "not awaited"],
        ["not awaited"],
        ["b", "c"],
        ["c", "d"],
        ["not awaited", "d"],
        True,
        False,
        2,
        2,
    ]


@script
def kv_mistakes(s):
    found = []
    for mistake in (
        lambda: s.put("k"),
        lambda: s.put({"a": 1}, "no options"),
        lambda: s.list(start="a", startAfter="b"),
        lambda: s.list(limit=0),
        lambda: s.put("k", object()),
        lambda: s.put("k", (1, 2)),
        lambda: s.put("k", "x" * (3 << 20)),
    ):
        try:
            mistake()
            found.append("no error")
        except (PerdureError, TypeError) as error:
            found.append(str(error))
    return found


def test_kv_mistakes(tmp_path) -> None:
    (found,) = run(tmp_path, kv_mistakes)
    phrases = ["undefined value", "may only be called with", "both start and startAfter", "must be positive"]
    phrases += ["Could not serialize", "tuple", "TOOBIG"]
    for text, phrase in zip(found, phrases, strict=True):
        assert phrase in text


@script
async def delete_all(s):
    await s.put("counter", 1)
    s.sql.exec("create table t(x)")
    await s.sync()
    await s.put("counter", 2)
    s.deleteAll()
    return [await s.get("counter"), s.sql.exec("select name from sqlite_master where name='t'").toArray()]


@script
async def after_delete_all(s):
    return [await s.get("counter"), len(await s.list())]


def test_delete_all_takes_effect_at_once(tmp_path) -> None:
    first, second = run(tmp_path, delete_all, after_delete_all)
    assert first == [None, []]
    assert second == [None, 0]


@script
async def constraint_at_commit(s):
    s.sql.exec("pragma defer_foreign_keys=on")
    s.sql.exec("create table if not exists p(id integer primary key); create table if not exists c(p references p(id))")

    def orphan():
        s.sql.exec("pragma defer_foreign_keys=on")
        s.sql.exec("insert into c values(99)")

    s.transactionSync(orphan)
    return "returned"


@script
def tables(s):
    return [
        row["name"] for row in s.sql.exec("select name from sqlite_master where type='table' and name in ('p','c')")
    ]


def test_a_commit_that_fails_resets_that_object_alone(tmp_path) -> None:
    first, second = run(tmp_path, constraint_at_commit, tables)
    assert isinstance(first, PerdureError)
    assert "constraints were violated" in first.message
    assert "FOREIGN KEY constraint failed" in first.message
    assert first.durableObjectReset
    assert second == []


@script
def sync_transactions(s):
    s.sql.exec("create table n(x)")

    def inner():
        s.sql.exec("insert into n values(2)")
        raise ValueError("inner")

    def outer():
        s.sql.exec("insert into n values(1)")
        try:
            s.transactionSync(inner)
        except ValueError:
            pass
        return "value"

    return [s.transactionSync(outer), [row["x"] for row in s.sql.exec("select x from n")]]


def test_transaction_sync_nests(tmp_path) -> None:
    (found,) = run(tmp_path, sync_transactions)
    assert found == ["value", [1]]


def test_c11_a_cursor_left_open_holds_no_read_transaction(tmp_path) -> None:
    async def body() -> None:
        shard = Shard(Box, tmp_path)
        kept = {}

        def begin(s):
            kept["cursor"] = None
            s.sql.exec("create table big(x)")
            for number in range(50):
                s.sql.exec("insert into big values(?)", number)
            kept["cursor"] = s.sql.exec("select x from big")
            kept["cursor"].next()

        SCRIPTS["begin"] = begin
        SCRIPTS["rest"] = lambda s: len(kept["cursor"].toArray())
        await shard.call("a", "do", "begin")
        change = shard.residents.settle(shard.key.id_from_name("a"))
        assert change  # the checkpoint was complete: it asserts so itself
        assert await shard.call("a", "do", "rest") == 49
        shard.stop()

    asyncio.run(body())


def test_sql_is_off_for_key_value_classes(tmp_path) -> None:
    def tries(s):
        found = []
        for attempt in (lambda: s.sql.exec("select 1"), lambda: s.sql.databaseSize, lambda: s.transactionSync(list)):
            try:
                attempt()
            except PerdureError as error:
                found.append(error.message)
        s.put("k", 1)
        return found

    SCRIPTS["tries"] = tries

    async def body() -> None:
        shard = Shard(Box, tmp_path, sql=False)
        first, second, third = await shard.call("a", "do", "tries")
        assert "SQL is not enabled for this" in first
        assert "new_sqlite_classes" in second
        assert "not backed by SQL" in third
        shard.stop()

    asyncio.run(body())


def test_no_file_exists_before_the_first_write(tmp_path) -> None:
    async def reads(s):
        return [await s.get("a"), len(await s.list())]

    SCRIPTS["reads"] = reads
    assert run(tmp_path, "reads") == [[None, 0]]
    assert [name for _, _, names in os.walk(tmp_path / "objects") for name in names] == []


ops = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abcd"), st.integers(0, 9)),
        st.tuples(st.just("delete"), st.sampled_from("abcd"), st.just(0)),
        st.tuples(st.just("sql"), st.sampled_from("abcd"), st.integers(0, 9)),
        st.tuples(st.just("abort"), st.sampled_from("abcd"), st.integers(0, 9)),
    ),
    max_size=20,
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.lists(ops, max_size=6))
def test_what_is_read_is_what_was_written(tmp_path_factory, events) -> None:
    """Against a dict: KV and SQL in one turn, aborted turns, evictions and resets in between."""

    async def body() -> None:
        folder = tmp_path_factory.mktemp("box")
        model: dict[str, int] = {}

        async def everything(s):
            return dict(await s.list())

        SCRIPTS["everything"] = everything
        for steps in events:
            shard = Shard(Box, folder)
            aborted = any(kind == "abort" for kind, _, _ in steps)

            async def event(s, steps, shard=shard):
                for kind, key, value in steps:
                    if kind == "put":
                        s.put(key, value)
                    elif kind == "delete":
                        s.delete(key)
                    elif kind == "sql":
                        s.sql.exec("create table if not exists t(x)")
                        s.sql.exec("insert into t values(?)", value)
                    else:
                        shard.instance("a").context.abort("model")

            SCRIPTS["event"] = event
            try:
                await shard.call("a", "do", "event", [list(step) for step in steps])
            except PerdureError:
                assert aborted
            if not aborted:
                for kind, key, value in steps:
                    if kind == "put":
                        model[key] = value
                    elif kind == "delete":
                        model.pop(key, None)
            assert await shard.call("a", "do", "everything") == model
            shard.stop()

    asyncio.run(body())
