"""Random programs of puts, lists, SQL, alarms, nested transactions, aborts and restarts, beside a model made of dicts."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from perdure.engine.errors import ObjectReset

from .box import Box

ALARM, ROWS = "the alarm", "the rows"
keys = st.sampled_from("abcd")
simple = st.one_of(
    st.tuples(st.just("put"), keys, st.integers(0, 9)),
    st.tuples(st.just("put"), keys, st.sampled_from([["list"], "x" * 20_000])),
    st.tuples(st.just("unconfirmed"), keys, st.integers(0, 9)),
    st.tuples(st.just("delete"), keys),
    st.tuples(st.just("list")),
    st.tuples(st.just("sql")),
    st.tuples(st.just("alarm"), st.integers(5_000_000, 5_000_003)),
    st.tuples(st.just("disarm")),
)
ends = st.sampled_from(["keep", "raise", "rollback"])
sync_ends = st.sampled_from(["keep", "raise"])
sync_steps = st.recursive(
    simple,
    lambda inner: st.tuples(st.just("sync"), sync_ends, st.lists(inner, max_size=4)),
    max_leaves=6,
)
steps = st.recursive(
    st.one_of(sync_steps, st.tuples(st.just("sleep"))),
    lambda inner: st.tuples(st.just("transaction"), ends, st.lists(inner, max_size=4)),
    max_leaves=10,
)
events = st.tuples(
    st.lists(st.one_of(steps, st.tuples(st.just("deleteAll"))), max_size=6),
    st.sampled_from(["return", "raise", "abort"]),
)


class Lagging:
    """A loop for the group commit: what it calls soon it calls some rounds later, when other turns have gone by."""

    def __init__(self, loop: asyncio.AbstractEventLoop, rounds: int) -> None:
        self.loop = loop
        self.rounds = rounds

    def call_soon(self, callback) -> None:
        self.loop.call_soon(self._again, self.rounds, callback)

    def _again(self, rounds: int, callback) -> None:
        if rounds:
            self.loop.call_soon(self._again, rounds - 1, callback)
        else:
            callback()


class Model:
    """`state` is what a reader sees now; `committed` what is left when the turn is undone."""

    def __init__(self) -> None:
        self.committed: dict[str, object] = {}
        self.state: dict[str, object] = {}
        self.depth = 0

    def commit(self) -> None:
        if not self.depth:
            self.committed = dict(self.state)


class Program:
    """Runs steps on an object and on the model, and compares them after each."""

    def __init__(self, ctx, model: Model) -> None:
        self.ctx = ctx
        self.model = model

    def step(self, step) -> None:
        s, state = self.ctx.storage, self.model.state
        kind = step[0]
        if kind == "put":
            s.put(step[1], step[2])
            state[step[1]] = step[2]
        elif kind == "unconfirmed":
            s.put(step[1], step[2], allowUnconfirmed=True)
            state[step[1]] = step[2]
        elif kind == "delete":
            assert s.kv.delete(step[1]) is (state.pop(step[1], None) is not None)
        elif kind == "sql":
            s.sql.exec("create table if not exists t(x)")
            s.sql.exec("insert into t values(1)")
            state[ROWS] = state.get(ROWS, 0) + 1
        elif kind == "alarm":
            s.setAlarm(step[1])
            state[ALARM] = step[1]
        elif kind == "disarm":
            s.deleteAlarm()
            state.pop(ALARM, None)
        elif kind == "list":
            self.compare()
        elif kind == "sync":
            self.sync(step)
        self.look()

    def look(self) -> None:
        """Without a list, which has everything written: most errors would hide behind that."""
        s, state = self.ctx.storage, self.model.state
        assert [s.kv.get(key) for key in "abcd"] == [state.get(key) for key in "abcd"]

    def compare(self) -> None:
        s, state = self.ctx.storage, self.model.state
        assert dict((key, value) for key, value in s.kv.list()) == {k: v for k, v in state.items() if k in "abcd"}
        assert s._storage.alarm.get() == state.get(ALARM)
        table = s.sql.exec("select 1 from sqlite_schema where name = 't'").toArray()
        rows = s.sql.exec("select count(*) as n from t").one()["n"] if table else 0
        assert rows == state.get(ROWS, 0)

    def sync(self, step) -> None:
        _, end, inner = step
        before = dict(self.model.state)

        def body():
            for each in inner:
                self.step(each)
            if end == "raise":
                raise KeyError(end)

        try:
            self.ctx.storage.transactionSync(body)
        except KeyError:
            self.model.state = before

    async def run(self, steps) -> None:
        for step in steps:
            if step[0] == "sleep":
                await asyncio.sleep(0.001)
                self.model.commit()
            elif step[0] == "transaction":
                await self.transaction(step)
            elif step[0] == "deleteAll":
                self.ctx.storage.deleteAll()
                self.model.state = {}
            else:
                self.step(step)
            self.look()

    async def transaction(self, step) -> None:
        _, end, inner = step
        model = self.model
        model.commit()
        before = dict(model.state)
        model.depth += 1

        async def body(txn):
            await self.run(inner)
            if end == "raise":
                raise KeyError(end)
            if end == "rollback":
                txn.rollback()
                model.state = dict(before)
                self.look()

        try:
            await self.ctx.storage.transaction(body)
        except KeyError:
            model.state = before
        model.depth -= 1
        model.commit()


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.lists(st.tuples(events, st.booleans()), max_size=5), st.sampled_from([0, 10, 300]))
def test_programs_and_the_model_agree(tmp_path_factory, program, lag) -> None:
    async def run():
        model = Model()
        folder = tmp_path_factory.mktemp("box")

        async def event(ctx, steps, end):
            await Program(ctx, model).run(steps)
            if end == "raise":
                raise KeyError(end)
            if end == "abort":
                ctx.abort("model")

        async def check(ctx):
            Program(ctx, model).look()
            Program(ctx, model).compare()

        for (steps, end), restart in program:
            async with Box.on(folder) as box:
                box.shard.commits.loop = Lagging(box.shard.loop, lag)
                if end == "abort":
                    with pytest.raises(ObjectReset, match="model"):
                        await box.do(event, steps, end)
                    model.state = dict(model.committed)
                elif end == "raise":
                    with pytest.raises(Exception, match="KeyError"):
                        await box.do(event, steps, end)
                else:
                    await box.do(event, steps, end)
                model.commit()
                if not restart:
                    await box.do(check)
                while box.shard.commits.scheduled:  # a shelf is closed when everything is durable
                    await asyncio.sleep(0)
        async with Box.on(folder) as box:
            await box.do(check)

    asyncio.run(run())
