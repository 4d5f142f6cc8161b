"""The watchdog's decisions, the record of what runs, where code may be interrupted, and estimates of memory."""

from __future__ import annotations

import asyncio
import json
import sys
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perdure.engine import beacon
from perdure.engine.errors import TurnTooLong
from perdure.engine.interruption import TurnInterrupted, may_raise, place
from perdure.engine.memory import MEASURE_FROM_BYTES, MEASURE_S, MemoryWatch
from perdure.engine.watchdog import Watchdog

from .box import Box

MIB = 1 << 20


# ---------------------------------------------------------------------- decisions
def test_a_step_is_over_when_it_was_seen_for_as_long_as_its_budget() -> None:
    dog = Watchdog()
    assert not dog.look(False, 1.0, 100.0).over
    assert not dog.look(True, 1.0, 100.9).over
    found = dog.look(True, 1.0, 101.0)
    assert (found.over, found.first) == (True, True)
    again = dog.look(True, 1.0, 101.1)
    assert (again.over, again.first) == (True, False)
    assert not dog.look(False, 1.0, 101.2).over  # another step: it has a budget of its own


def test_a_step_that_is_seen_first_is_never_over_however_late_the_look() -> None:
    dog = Watchdog()
    dog.look(False, 1.0, 0.0)
    assert not dog.look(False, 1.0, 50.0).over


def test_a_condemned_step_stays_so_until_another_one_is_seen() -> None:
    dog = Watchdog()
    dog.look(False, 60.0, 0.0)
    dog.condemn()
    assert dog.look(True, 60.0, 0.1).over
    assert not dog.look(False, 60.0, 0.2).over
    dog.condemn()
    dog.idle()
    assert not dog.look(True, 60.0, 0.3).over


# ---------------------------------------------------------------------- the record
def test_a_record_is_read_back() -> None:
    record = beacon.record(b"\7" * 32, "Room/lobby", "say")
    assert len(record) == beacon.BEACON_BYTES
    assert beacon.read(record) == beacon.Running(b"\7" * 32, "Room/lobby", "say")
    assert record[beacon.SEEN] == record[beacon.HEARD] == 1
    assert beacon.read(beacon.NOTHING) is None


@given(st.text(max_size=300), st.text(max_size=300).filter(lambda text: "\0" not in text))
def test_any_names_fit_into_a_record(name: str, method: str) -> None:
    record = beacon.record(b"\1" * 32, name, method)
    assert len(record) == beacon.BEACON_BYTES
    found = beacon.read(record)
    assert found is not None
    assert method.encode("utf-8", "replace").startswith(found.method.replace("\ufffd", "").encode("utf-8", "replace"))


def test_each_step_writes_its_record(tmp_path) -> None:
    async def run() -> None:
        async with Box.on(tmp_path) as box:
            page = box.shard.residents.turns.beacon

            async def look(ctx):
                seen = [beacon.read(bytes(page))]
                page[beacon.SEEN] = 0
                await asyncio.sleep(0)
                return [*seen, beacon.read(bytes(page)), page[beacon.SEEN]]

            for _ in range(2):  # the long way, then the short one
                first, second, seen = await box.do(look)
                assert first.object == second.object == "Alarmed/a"
                assert first.method == second.method == "do"
                assert seen == 1

    asyncio.run(run())


# ---------------------------------------------------------------------- where
def test_only_code_of_the_program_may_be_interrupted(tmp_path) -> None:
    async def run() -> None:
        async with Box.on(tmp_path) as box:
            found = {}

            async def script(ctx):
                found["script"] = may_raise(sys._getframe())
                json.loads("[1]", parse_int=lambda text: found.setdefault("library", may_raise(sys._getframe())))

                def body():
                    found["transaction"] = may_raise(sys._getframe())

                ctx.storage.transactionSync(body)

                async def nested(txn):
                    found["nested"] = may_raise(sys._getframe())

                await ctx.storage.transaction(nested)
                found["place"] = place(sys._getframe())

            await box.do(script)
            # the frame that calls scripts is of the tests, which stand for the program
            assert [found[name] for name in ("script", "library", "transaction", "nested")] == [True] * 4
            assert found["place"].endswith(" script")

    asyncio.run(run())


def test_nothing_of_the_runtime_may_be_interrupted_nor_what_it_calls() -> None:
    frames: list[types.FrameType] = []

    class Name:
        def encode(self, *args: object) -> bytes:
            frames.append(sys._getframe())
            return b""

    class Text:
        def __format__(self, spec: str) -> str:
            frames.append(sys._getframe())
            return ""

    beacon.record(b"", Text(), "x")  # type: ignore[arg-type]
    assert len(frames) == 1
    assert not may_raise(frames[0])  # called by the runtime, from no entry
    assert not may_raise(frames[0].f_back)  # of the runtime
    assert not may_raise(None)


# ---------------------------------------------------------------------- a broken turn
@pytest.mark.parametrize("swallows", [False, True])
def test_a_broken_turn_is_undone_and_its_caller_gets_the_reason(tmp_path, swallows) -> None:
    async def run() -> None:
        async with Box.on(tmp_path) as box:
            await box.do(lambda ctx: ctx.storage.put("k", "kept"))

            def script(ctx):
                ctx.storage.put("k", "lost")
                instance = box.instance()
                instance.break_object(TurnTooLong("too long"))
                instance.turns.running = None
                try:
                    ctx.storage.put("k", "after")  # what the runtime raises when the program comes back to it
                except TurnInterrupted:
                    if not swallows:
                        raise
                return "never"

            with pytest.raises(TurnTooLong) as caught:
                await box.do(script)
            assert caught.value.durableObjectReset
            assert await box.do(lambda ctx: ctx.storage.get("k")) == "kept"
            assert not [fields for _, event, fields in box.shard.logs if event == "raised"]

    asyncio.run(run())


def test_let_part_go_lets_the_least_recently_used_go(tmp_path) -> None:
    async def run() -> None:
        async with Box.on(tmp_path) as box:
            for number in range(8):
                box.shard.clock.s += 1
                box.shard.residents.now_s = box.shard.clock.s
                await box.do(lambda ctx: ctx.storage.put("k", 1), name=str(number))
            assert box.shard.residents.let_part_go(0.25) == 2
            left = {instance.name for instance in box.shard.residents._by_id.values()}
            assert left == {str(number) for number in range(2, 8)}

    asyncio.run(run())


# ---------------------------------------------------------------------- memory
def test_growth_is_charged_to_who_ran_and_comes_off_when_the_process_shrinks() -> None:
    memory: MemoryWatch[str] = MemoryWatch(100 * MIB)
    assert memory.look(150 * MIB, "hog", 0.0) == 50 * MIB
    memory.look(170 * MIB, None, 0.1)
    assert memory.of("hog") == 50 * MIB
    memory.look(140 * MIB, "hog", 0.2)
    assert memory.of("hog") == 20 * MIB  # it freed what it had
    memory.look(120 * MIB, None, 0.3)  # 20 of the 40 that are left: everybody's half
    assert memory.of("hog") == 10 * MIB
    assert memory.largest() == ("hog", 10 * MIB)


def test_steps_are_measured_for_a_while_after_growth() -> None:
    memory: MemoryWatch[str] = MemoryWatch(0)
    memory.look(MEASURE_FROM_BYTES - 1, None, 0.0)
    assert not memory.wants_steps(0.0)
    memory.look(2 * MEASURE_FROM_BYTES, None, 1.0)
    assert memory.wants_steps(1.0 + MEASURE_S - 0.1)
    assert not memory.wants_steps(1.0 + MEASURE_S)


@given(st.lists(st.tuples(st.integers(0, 1_000), st.sampled_from([None, "a", "b", "c"])), max_size=50))
def test_estimates_never_sum_to_more_than_the_growth(looks) -> None:
    memory: MemoryWatch[str] = MemoryWatch(0)
    for size, who in looks:
        memory.look(size, who, 0.0)
        held = [memory.of(name) for name in "abc"]
        assert all(found >= 0 for found in held)
        assert sum(held) <= size


def test_who_is_gone_is_forgotten() -> None:
    memory: MemoryWatch[str] = MemoryWatch(0)
    memory.look(10, "a", 0.0)
    memory.keep(lambda who: False)
    assert memory.largest() is None
