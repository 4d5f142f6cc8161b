"""Where the parts of an object's life meet: keys, alarms, hand-off, limits, sections, cancellation, sleep."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from perdure.engine.ages import expire
from perdure.engine.alarm_calls import AlarmCall
from perdure.engine.calls import ALARM, FETCH, Call
from perdure.engine.database import Database
from perdure.engine.durable import DurableObject
from perdure.engine.errors import Overloaded, PerdureError, StorageError, StorageUnavailable, TurnTooLong
from perdure.engine.fairness import EVENTS_A_ROUND
from perdure.engine.http import HttpRequest, HttpResponse
from perdure.engine.interruption import TurnInterrupted, may_raise
from perdure.engine.limits import Limits
from perdure.engine.mailbox import cancel
from perdure.engine.superseding import supersede, take_waiting
from perdure.engine.turns import SCOPE
from perdure.router.retries import with_key
from perdure.router.streams import Outgoing
from perdure.testing.virtual import run

from .box import Alarmed, Box
from .shelf import LoopClock, Shard
from .world import World

Body = Callable[[Box], Awaitable[None]]
RANG: list[str] = []


class Rings(Alarmed):
    async def alarm(self):
        RANG.append(str(self.ctx.id.name))


def in_box(tmp_path: Path, body: Body, kind: type = Rings, limits: Limits | None = None) -> None:
    """In virtual time."""

    async def within() -> None:
        RANG.clear()
        async with Box.on(tmp_path, kind, limits=limits) as box:
            box.shard.residents.clock = box.shard.clock = LoopClock()
            await body(box)

    run(within())


async def rounds(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


# ---------------------------------------------------------------------- the hand-off
def test_an_object_that_never_began_is_let_go_in_a_hand_off(tmp_path: Path) -> None:
    """Its call was taken back before it ran, or its alarm had nothing to run: it was not constructed."""

    async def body(box: Box) -> None:
        residents = box.shard.residents
        box.send(lambda ctx: None)
        assert len(take_waiting(residents.instances, lambda call: False)) == 1
        await box.shard.fire("b")
        assert residents.count == 2
        await supersede(residents)
        assert residents.count == 0

    in_box(tmp_path, body)


def test_an_object_that_falls_asleep_during_the_hand_off_is_out(tmp_path: Path) -> None:
    async def body(box: Box) -> None:
        residents = box.shard.residents
        box.shard.commits.auto = False
        held = box.send(lambda ctx: ctx.storage.put("y", 1))
        await rounds()
        letting_go = asyncio.ensure_future(supersede(residents, 5))
        await rounds()
        sleeper = box.instance()
        box.shard.commits.commit()
        residents._evict(sleeper)  # what the search for idle objects does, before the hand-off looks again
        await letting_go
        await held
        assert residents.count == 0

    in_box(tmp_path, body)


class Keyed(DurableObject):
    async def slow(self):
        await self.ctx.storage.put("x", 1)
        await asyncio.sleep(2)
        return "done"

    async def calls_itself(self):
        return await with_key(self.env.stub("a"), "one").calls_itself()


def in_world(tmp_path: Path, script: Callable[[World], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with World.of(Keyed, tmp_path) as world:
            await script(world)

    run(whole())


def test_a_call_with_a_key_opens_nothing_after_the_hand_off(tmp_path: Path) -> None:
    """An answer that cannot be kept is not told: a repeat would not get the same."""

    async def script(world: World) -> None:
        sent = asyncio.ensure_future(with_key(world.outside("a"), "one").slow())
        await asyncio.sleep(1)
        residents = world.shard.residents
        instance = world.shard.instance("a")
        await supersede(residents)
        opened = residents.files.count
        with pytest.raises(StorageUnavailable, match="storage is no longer accessible") as raised:
            await sent
        assert raised.value.retryable
        assert not instance.storage.is_open()
        assert residents.files.count == opened == 0

    in_world(tmp_path, script)


# ---------------------------------------------------------------------- answers
class Streams(DurableObject):
    async def fetch(self):
        async def chunks():
            for number in range(100):
                yield str(number).encode()
                await asyncio.sleep(1)

        return HttpResponse(200, [], chunks())

    async def section(self, seconds):
        await self.ctx.blockConcurrencyWhile(lambda: asyncio.sleep(seconds))

    async def breaks(self):
        self.ctx.abort("broken off")


def test_who_sends_a_body_is_no_task_of_its_object(tmp_path: Path) -> None:
    """Else a critical section would hold back what is sent, and a reset would end it without a word to the reader."""

    async def body() -> None:
        shard = Shard(Streams, tmp_path)
        frames: list[list[object]] = []
        ended: list[bool] = []

        def answer(_call: Call, result: object) -> None:
            assert SCOPE.get() is None
            assert isinstance(result, HttpResponse)
            assert not isinstance(result.body, bytes | None)
            Outgoing(shard.loop, 1, result.body, frames.append, lambda: ended.append(True))

        key = shard.key
        request = HttpRequest("GET", "http://a/", [], None)
        shard.residents.deliver(Call(key.unique, key.id_from_name("a"), "a", FETCH, "fetch", b"", answer, request))
        await asyncio.sleep(2.5)
        assert [frame[2] for frame in frames] == [b"0", b"1", b"2"]
        assert [task.get_name() for task in shard.instance("a").tasks] == ["response body"]
        with pytest.raises(PerdureError, match="broken off"):
            await shard.call("a", "breaks")
        await asyncio.sleep(1)
        *_, last = frames
        assert last[3] is True, "the reader hears that it is over"
        assert last[4] is not None
        assert "broken off" in str(last[4])
        assert ended == [True]
        shard.stop()

    run(body())


def test_an_alarm_is_answered_outside_its_object(tmp_path: Path) -> None:
    """Timers that whoever fires alarms sets meanwhile must not end with the object."""

    async def body(box: Box) -> None:
        await box.do(lambda ctx: ctx.storage.setAlarm(box.shard.clock.now_ms() + 10) and None)
        await asyncio.sleep(1)
        scopes: list[object] = []
        key = box.shard.key

        def answer(_call: Call, _result: object) -> None:
            scopes.append(SCOPE.get())

        for _ in range(2):  # one that runs, and one that has nothing to run
            box.shard.residents.deliver(AlarmCall(key.unique, key.id_from_name("a"), "a", ALARM, "alarm", b"", answer))
            await asyncio.sleep(1)
        assert RANG == ["a"]
        assert scopes == [None, None]

    in_box(tmp_path, body)


# ---------------------------------------------------------------------- idempotency keys
def test_a_repeat_that_the_first_one_makes_itself_fails_at_once(tmp_path: Path) -> None:
    async def script(world: World) -> None:
        with pytest.raises(PerdureError, match="waits for itself"):
            await asyncio.wait_for(with_key(world.outside("a"), "one").calls_itself(), 60)

    in_world(tmp_path, script)


# ---------------------------------------------------------------------- limits
def test_alarms_and_pre_shutdown_are_not_what_a_soft_limit_is_for(tmp_path: Path) -> None:
    told: list[str] = []

    class Busy(Rings):
        async def preShutdown(self, info):
            told.append(info.reason)

    async def body(box: Box) -> None:
        shard = box.shard
        await box.do(lambda ctx: ctx.storage.setAlarm(shard.clock.now_ms() + 10) and None)
        for _ in range(9):
            await box.do(lambda ctx: None)
        with pytest.raises(Overloaded, match="10 second window"):
            await box.do(lambda ctx: None)
        await asyncio.sleep(0.1)
        assert await shard.fire("a") == (True, 0)
        assert RANG == ["a"]
        assert await shard.residents.tell_shutdown("inactive", 5) == 1
        assert told == ["inactive"]
        with pytest.raises(Overloaded, match="10 second window"):
            await box.do(lambda ctx: None)

    in_box(tmp_path, body, Busy, Limits(soft_limit_rps=1, soft_limit_enforce=True))


def test_events_that_wait_for_their_share_are_told_when_the_time_is_up(tmp_path: Path) -> None:
    """Also while none of the object waits at its gate."""

    async def body(box: Box) -> None:
        residents = box.shard.residents
        calls = [box.send(lambda ctx: None) for _ in range(EVENTS_A_ROUND + 6)]
        assert len(box.instance().backlog) == 6
        assert list(residents.kept_out) == [box.instance()]
        residents.now_s += 31  # all before it has taken so long, and none has met a closed gate
        expire(box.instance())
        for call in calls:
            with pytest.raises(Overloaded, match="queued for too long"):
                await call
        await rounds()
        expire(box.instance())
        assert not residents.kept_out
        assert not box.instance().backlog
        assert await box.do(lambda ctx: 1) == 1

    in_box(tmp_path, body)


# ---------------------------------------------------------------------- alarms
class Breaks(Alarmed):
    how = ""

    async def alarm(self):
        RANG.append(self.how)
        if self.how == "section":

            async def waits(_=None):
                await asyncio.sleep(100)

            await self.ctx.blockConcurrencyWhile(waits)
        raise GeneratorExit


@pytest.mark.parametrize("how", ["section", "generator exit"])
def test_a_run_that_breaks_counts_and_is_tried_again(tmp_path: Path, how: str) -> None:
    """Whatever breaks it: a section that takes too long, or an exception that ends coroutines."""

    async def body(box: Box) -> None:
        Breaks.how = how
        shard = box.shard
        await box.do(lambda ctx: ctx.storage.setAlarm(shard.clock.now_ms() + 10) and None)
        await asyncio.sleep(1)
        for run_ in range(2):
            with pytest.raises(PerdureError):
                await shard.fire("a", forced=True)
            assert len(RANG) == run_ + 1
        armed = box.storage().alarm.armed()
        assert (armed.counted, armed.uncounted) == (2, 0)
        assert box.storage().alarm.get() == armed.scheduled_ms

    in_box(tmp_path, body, Breaks)


# ---------------------------------------------------------------------- leaving memory
def test_an_object_whose_file_cannot_be_completed_leaves_memory_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search for idle objects goes on, and whoever needed the room gets it."""

    async def body(box: Box) -> None:
        residents = box.shard.residents
        await box.do(lambda ctx: ctx.storage.put("x", 1))
        await box.do(lambda ctx: ctx.storage.put("x", 1), name="b")
        database, completes = box.storage()._database, Database.checkpoint
        closed = []

        def fails(found: Database) -> int:
            if found is not database:
                return completes(found)
            closed.append(True)
            raise StorageError("disk I/O error: SQLITE_IOERR")

        monkeypatch.setattr(Database, "checkpoint", fails)
        await asyncio.sleep(13)
        assert closed == [True]
        assert residents.count == 0
        assert [fields["object"] for _, event, fields in box.shard.logs if event == "not_completed"] == ["Rings/a"]
        assert box.shard.files.rebuilt == [box.shard.key.id_from_name("a")]

    in_box(tmp_path, body)


def test_an_object_that_has_left_memory_is_not_reset(tmp_path: Path) -> None:
    async def body(box: Box) -> None:
        await box.do(lambda ctx: None)
        await rounds()
        instance = box.instance()
        box.shard.residents._evict(instance)
        await box.do(lambda ctx: None)
        assert not box.shard.residents.holds(instance)
        assert box.shard.residents.holds(box.instance())
        instance.reset(PerdureError("too late"))
        await box.do(lambda ctx: None)
        assert box.shard.residents.statistics()["resets"] == 0

    in_box(tmp_path, body)


# ---------------------------------------------------------------------- calls that leave
class Caller(DurableObject):
    async def asks(self):
        await self.ctx.storage.put("x", 1)
        await self.env.stub("b").waits()

    async def waits(self):
        try:
            await asyncio.sleep(50)
        except asyncio.CancelledError:
            RANG.append("cancelled")
            raise


@pytest.mark.parametrize("after_s", [0, 1])
def test_a_call_that_was_held_until_a_write_was_durable_is_cancelled_with_its_caller(
    tmp_path: Path, after_s: int
) -> None:
    """Before it has left it does not leave; afterwards its callee hears of it."""

    async def whole() -> None:
        RANG.clear()
        async with World.of(Caller, tmp_path) as world:
            shard = world.shard
            shard.commits.auto = False
            future = shard.send("a", "asks")
            await rounds()
            if after_s:
                shard.commits.commit()
                await asyncio.sleep(after_s)
                assert len(world.wires.sent) == 1
            cancel(shard.instance("a"), future.call)
            await rounds()
            shard.commits.auto = True
            shard.commits.commit()
            await asyncio.sleep(1)
            with pytest.raises(PerdureError, match="cancelled"):
                await future
            assert world.wires.cancelled == after_s
            assert len(world.wires.sent) == after_s

    run(whole())


# ---------------------------------------------------------------------- the watchdog
class Everywhere(DurableObject):
    """Asks in each place where its code runs whether it could be interrupted there."""

    places: dict[str, bool] = {}

    @classmethod
    def here(cls, place: str) -> None:
        cls.places[place] = may_raise(sys._getframe(1))

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.here("constructor")

    async def method(self):
        self.here("method")

        async def runs(place: str, *_: object) -> None:
            self.here(place)
            await asyncio.sleep(0)
            self.here(f"{place}, later")

        self.ctx.waitUntil(runs("waitUntil"))
        await asyncio.create_task(runs("task"))
        await self.ctx.blockConcurrencyWhile(lambda: runs("section"))
        await self.ctx.storage.transaction(lambda txn: runs("transaction", txn))
        self.ctx.storage.transactionSync(lambda: self.here("transactionSync"))
        await self.ctx.storage.setAlarm(1)

    async def alarm(self):
        self.here("alarm")

    async def preShutdown(self):
        self.here("preShutdown")

    async def fetch(self, request):
        async def chunks():
            self.here("body")
            yield b"1"
            await asyncio.sleep(0)
            self.here("body, later")

        class Iterator:
            here = self.here

            def __aiter__(self):
                return self

            async def __anext__(self):
                self.here("iterator")
                raise StopAsyncIteration

        return HttpResponse(200, [], chunks() if request.url.endswith("chunks") else Iterator())


def test_code_of_a_program_can_be_interrupted_wherever_it_runs(tmp_path: Path) -> None:
    """Where it cannot, a turn past its bound ends the whole shard's process."""

    async def whole() -> None:
        Everywhere.places.clear()
        async with World.of(Everywhere, tmp_path) as world:
            shard = world.shard
            await world.outside("a").method()
            await with_key(world.outside("b"), "one").method()
            await shard.fire("a", forced=True)
            for url in ("http://a/chunks", "http://a/iterator"):
                response = await shard.fetch("a", HttpRequest("GET", url, [], None))
                assert [chunk async for chunk in response.body] == ([b"1"] if "chunks" in url else [])
            await shard.residents.tell_shutdown("inactive", 5)
            assert len(Everywhere.places) == 16
            assert [place for place, may in Everywhere.places.items() if not may] == []

    run(whole())


class Stuck(DurableObject):
    async def fetch(self):
        async def chunks():
            yield b"1"
            self.ctx._instance.break_object(TurnTooLong("one turn ran for too long"))
            raise TurnInterrupted

        return HttpResponse(200, [], chunks())


def test_the_reader_of_a_body_that_is_interrupted_hears_why(tmp_path: Path) -> None:
    async def whole() -> None:
        shard = Shard(Stuck, tmp_path)
        response = await shard.fetch("a", HttpRequest("GET", "http://a/", [], None))
        with pytest.raises(TurnTooLong):
            assert [chunk async for chunk in response.body] == []
        shard.stop()

    run(whole())
