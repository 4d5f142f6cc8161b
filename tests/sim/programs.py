"""Random programs of objects: what a turn does, done to an object's storage and to its model, compared at each step."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import strategies as st
from perdure.engine.durable import DurableObject

from .model import ALARM, Model, Seen, State, Wrong

KEYS = ["a", "b", "ba", "c", "é", "\U0001f600"]
ALARM_MS = 5_000_000_000
"""Far away: alarms are stored here, and do not fire."""
QUIET_ROUNDS = 8
"""Loop rounds after which a turn that is suspended has ended."""

keys = st.sampled_from(KEYS)
values = st.one_of(st.integers(0, 9), st.sampled_from(["x" * 5_000, "y" * 20_000]))
ranges = st.fixed_dictionaries(
    {},
    optional={
        "start": keys,
        "end": keys,
        "prefix": st.sampled_from(["b", "é", ""]),
        "reverse": st.booleans(),
        "limit": st.integers(1, 4),
    },
)
simple = st.one_of(
    st.tuples(st.just("put"), keys, values),
    st.tuples(st.just("unconfirmed"), keys, values),
    st.tuples(st.just("entries"), st.dictionaries(keys, values, min_size=1, max_size=3), st.booleans()),
    st.tuples(st.just("delete"), st.lists(keys, min_size=1, max_size=2)),
    st.tuples(st.just("get"), st.lists(keys, min_size=1, max_size=3)),
    st.tuples(st.just("list"), ranges),
    st.tuples(st.just("insert"), st.integers(1, 4), values),
    st.tuples(st.just("update"), st.integers(1, 4), values),
    st.tuples(st.just("remove"), st.integers(1, 4)),
    st.tuples(st.just("select")),
    st.tuples(st.just("alarm"), st.integers(ALARM_MS, ALARM_MS + 2)),
    st.tuples(st.just("disarm")),
)
sync_steps = st.recursive(
    simple,
    lambda inner: st.tuples(
        st.just("transactionSync"), st.sampled_from(["keep", "raise"]), st.lists(inner, max_size=3)
    ),
    max_leaves=4,
)
steps = st.recursive(
    st.one_of(sync_steps, sync_steps, st.tuples(st.sampled_from(["suspend", "sync"]))),
    lambda inner: st.tuples(
        st.just("transaction"), st.sampled_from(["keep", "raise", "rollback"]), st.lists(inner, max_size=3)
    ),
    max_leaves=6,
)
turns = st.tuples(
    st.lists(st.one_of(steps, steps, st.tuples(st.just("deleteAll"))), min_size=1, max_size=4),
    st.sampled_from(["return", "return", "return", "raise", "abort"]),
)
crowded_turns = st.tuples(
    st.lists(
        st.one_of(
            simple,
            st.tuples(st.just("transaction"), st.sampled_from(["raise", "rollback"]), st.lists(simple, max_size=2)),
        ),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from(["return", "abort"]),
)
"""Short ones, that often are undone."""


class Expected(Exception):
    """Raised by programs on purpose."""


class Programmed(DurableObject):
    """Runs what the story that is being played hands it, by number."""

    STORY: Any = None

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.STORY.begun(ctx.id.name)

    async def run(self, number):
        script = self.STORY.scripts[number]
        program = Program(self.ctx, script.model, self.STORY)
        try:
            await program.run(script.steps, script.end)
        except Wrong as error:
            self.STORY.wrong.append(error)
            raise
        finally:
            script.confirmed = script.model.confirmed

    async def alarm(self):
        raise AssertionError("alarms do not fire here")


class Program:
    """Runs steps on an object and on its model."""

    def __init__(self, ctx, model: Model, story) -> None:
        self.ctx = ctx
        self.storage = ctx.storage
        self.model = model
        self.story = story

    async def run(self, steps, end: str) -> None:
        if self.model.unknown:
            self.model.found(self.dump(), self.story.now_ms())
        await self.steps(steps)
        if end == "abort":
            self.model.undo()
            self.ctx.abort("as the story wants")
        self.commit()
        if end == "raise":
            raise Expected(end)

    async def steps(self, steps) -> None:
        for step in steps:
            await getattr(self, f"do_{step[0]}", self.at_once)(step)
            self.look()

    async def at_once(self, step) -> None:
        self.step(step)

    def commit(self) -> None:
        self.model.commit(self.story.now_ms())

    def same(self, what: object, real: object, expected: object) -> None:
        if real != expected:
            raise Wrong(f"{what}: there is {str(real)[:300]}, expected {str(expected)[:300]}")

    # ------------------------------------------------------------------ steps that end at once
    def step(self, step) -> None:
        getattr(self, f"step_{step[0]}")(*step[1:])

    def step_put(self, key, value) -> None:
        self.storage.put(key, value)
        self.model.write()[key] = value

    def step_unconfirmed(self, key, value) -> None:
        self.storage.put(key, value, allowUnconfirmed=True)
        self.model.write(confirmed=False)[key] = value

    def step_entries(self, entries, unconfirmed) -> None:
        self.storage.put(dict(entries), allowUnconfirmed=unconfirmed)
        self.model.write(confirmed=not unconfirmed).update(entries)

    def step_delete(self, keys) -> None:
        existed = {key for key in keys if key in self.model.state}
        self.same("delete", self.storage.delete(keys)._value, len(existed))
        if existed:
            state = self.model.write()
            for key in existed:
                del state[key]

    def step_get(self, keys) -> None:
        real = self.storage.get(keys)._value
        self.same("get", dict(real), {key: self.model.state[key] for key in keys if key in self.model.state})

    def step_list(self, options) -> None:
        found = sorted(key for key in self.model.state if isinstance(key, str))
        found = [
            key
            for key in found
            if options.get("start", "") <= key < options.get("end", "\U0010ffff")
            and key.startswith(options.get("prefix", ""))
        ]
        if options.get("reverse"):
            found.reverse()
        found = found[: options.get("limit")]
        real = self.storage.list(**options)._value
        self.same(f"list {options}", list(real.items()), [(key, self.model.state[key]) for key in found])

    def step_insert(self, number, value) -> None:
        self.storage.sql.exec("create table if not exists t(id integer primary key, x)")
        self.storage.sql.exec("insert or replace into t values(?, ?)", number, value)
        self.model.write()["row", number] = value

    def step_update(self, number, value) -> None:
        if self.has_table():
            cursor = self.storage.sql.exec("update t set x = ? where id = ? returning x", value, number)
            exists = ("row", number) in self.model.state
            self.same("update", [row["x"] for row in cursor], [value] if exists else [])
            if exists:
                self.model.write()["row", number] = value

    def step_remove(self, number) -> None:
        if self.has_table():
            self.storage.sql.exec("delete from t where id = ?", number)
            if self.model.state.pop(("row", number), None) is not None:
                self.model.write()

    def step_select(self) -> None:
        self.same("rows", self.rows(), {k: v for k, v in self.model.state.items() if k[0] == "row"})

    def step_alarm(self, ms) -> None:
        self.storage.setAlarm(ms)
        if self.model.state.get(ALARM) != ms:
            self.model.write()[ALARM] = ms

    def step_disarm(self) -> None:
        self.storage.deleteAlarm()
        if self.model.state.pop(ALARM, None) is not None:
            self.model.write()

    def step_transactionSync(self, end, inner) -> None:
        before, holds = dict(self.model.state), self.model.holds

        def body():
            for step in inner:
                self.step(step)
            if end == "raise":
                raise Expected(end)

        try:
            self.storage.transactionSync(body)
        except Expected:
            self.model.state, self.model.holds = before, holds
            self.look()

    # ------------------------------------------------------------------ steps that may suspend
    async def do_suspend(self, step) -> None:
        """The turn ends, and another may come."""
        self.commit()
        done = asyncio.get_running_loop().create_future()

        def later(rounds: int) -> None:
            if rounds:
                done.get_loop().call_soon(later, rounds - 1)
            elif not done.done():
                done.set_result(None)

        later(QUIET_ROUNDS)
        await done

    async def do_sync(self, step) -> None:
        self.commit()
        version = len(self.model.versions) - 1
        await self.storage.sync()
        self.story.acknowledge(self.model, version)

    async def do_deleteAll(self, step) -> None:
        self.storage.deleteAll()
        if self.model.committed:
            self.model.write()
        self.model.state = {}

    async def do_transaction(self, step) -> None:
        _, end, inner = step
        model = self.model
        self.commit()
        before, holds = dict(model.state), model.holds
        model.depth += 1

        async def body(txn):
            await self.steps(inner)
            if end == "raise":
                raise Expected(end)
            if end == "rollback":
                txn.rollback()
                model.state, model.holds = dict(before), holds
                self.look()
            if model.depth == 1:  # what follows is the commit, which may be cut before anybody hears of it
                model.keep(self.story.now_ms())

        try:
            await self.storage.transaction(body)
        except Expected:
            model.state, model.holds = before, holds
        model.depth -= 1
        self.commit()

    async def do_bookmark(self, step) -> None:
        self.commit()
        version = len(self.model.versions) - 1
        text = await self.storage.getCurrentBookmark()
        self.story.acknowledge(self.model, version)
        if text <= self.model.newest:
            raise Wrong(f"the bookmark {text} comes after {self.model.newest}")
        self.model.newest = text
        self.model.bookmarks.append(Seen(text, self.model.versions[version].state))

    async def do_time(self, step) -> None:
        """A bookmark for a moment that has gone by."""
        _, time_ms = step
        self.commit()
        text = await self.storage.getBookmarkForTime(time_ms)
        self.model.bookmarks.append(Seen(text, self.model.at_time(time_ms)))

    async def do_travel(self, step) -> None:
        """Go back to a bookmark at the next start."""
        _, seen = step
        self.commit()
        self.model.wants(seen.state)
        undo = await self.storage.onNextSessionRestoreBookmark(seen.text)
        self.model.promised()
        self.model.bookmarks.append(Seen(undo, None))

    # ------------------------------------------------------------------ looking
    def look(self) -> None:
        """Key by key and without a list, which has everything written: most errors would hide behind that."""
        state = self.model.state
        for key in KEYS:
            self.same(key, self.storage.get(key)._value, state.get(key))

    def compare(self) -> None:
        """Everything."""
        self.look()
        self.same("everything", self.dump(), self.model.state)

    def has_table(self) -> bool:
        return bool(self.storage.sql.exec("select 1 from sqlite_schema where name = 't'").toArray())

    def rows(self) -> State:
        if not self.has_table():
            return {}
        return {("row", row["id"]): row["x"] for row in self.storage.sql.exec("select id, x from t")}

    def dump(self) -> State:
        state: State = {**self.storage.list()._value, **self.rows()}
        alarm = self.storage._storage.alarm.get()
        if alarm is not None:
            state[ALARM] = alarm
        check = self.storage.sql.exec("pragma quick_check").raw().toArray()
        self.same("quick_check", [list(row) for row in check], [["ok"]])
        return state

    async def do_compare(self, step) -> None:
        self.compare()
