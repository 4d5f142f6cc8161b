"""Where a program's code can be interrupted, and that whoever waits for an interrupted object hears of it, once."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from perdure.engine.calls import RPC, Call
from perdure.engine.durable import DurableObject
from perdure.engine.errors import TurnTooLong
from perdure.engine.http import HttpRequest, HttpResponse
from perdure.engine.interruption import TurnInterrupted, may_raise
from perdure.engine.values import pack, unpack
from perdure.router.retries import with_key
from perdure.testing.virtual import run

from .shelf import LoopClock, Shard
from .world import World


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


class Interrupted(DurableObject):
    """Is interrupted where `at` says, and swallows it where it can."""

    at = ""

    def _here(self, place: str) -> None:
        if place == self.at:
            self.ctx._instance.break_object(TurnTooLong("one turn ran for too long"))
            raise TurnInterrupted

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self._here("constructor")

    async def waits(self):
        await asyncio.sleep(1_000)

    async def method(self):
        async def runs(place: str) -> None:
            await self.ctx.storage.put("x", 1)
            try:
                self._here(place)
            except TurnInterrupted:
                if place != "section":
                    raise

        await self.ctx.storage.setAlarm(2_000_000)
        self.ctx.waitUntil(runs("waitUntil"))
        self._here("method")
        if self.at == "task":
            asyncio.create_task(runs("task"))  # noqa: RUF006
        if self.at == "section":
            self.ctx.blockConcurrencyWhile(lambda: runs("section"))
        if self.at == "transaction":
            await self.ctx.storage.transaction(lambda txn: runs("transaction"))
        if self.at == "transactionSync":
            self.ctx.storage.transactionSync(lambda: self._here("transactionSync"))
        await asyncio.sleep(1)
        return "done"

    async def alarm(self):
        self._here("alarm")

    async def preShutdown(self):
        self._here("preShutdown")


@pytest.mark.parametrize(
    "at",
    ["constructor", "method", "waitUntil", "task", "section", "transaction", "transactionSync", "alarm", "preShutdown"],
)
def test_each_caller_of_an_interrupted_object_is_answered_once(tmp_path: Path, at: str) -> None:
    async def whole() -> None:
        shard = Shard(Interrupted, tmp_path)
        shard.residents.clock = shard.clock = LoopClock()
        answers: list[tuple[str, object]] = []

        def send(method: str) -> None:
            def answer(call: Call, result: object) -> None:
                answers.append((call.method, result))

            key = shard.key
            shard.residents.deliver(Call(key.unique, key.id_from_name("a"), "a", RPC, method, pack([]), answer))

        Interrupted.at = at
        for method in ("waits", "method", "waits"):
            send(method)
        await asyncio.sleep(5)
        if at == "alarm":
            with pytest.raises(TurnTooLong):
                await shard.fire("a", forced=True)
            assert shard.instance("a").storage.alarm.armed().counted == 1
        if at == "preShutdown":
            assert await shard.residents.tell_shutdown("inactive", 5) == 1
        await asyncio.sleep(5)
        assert sorted(method for method, _ in answers) == ["method", "waits", "waits"]
        for method, result in answers:
            if method == "waits" or at not in ("alarm", "preShutdown"):
                assert isinstance(result, TurnTooLong), (method, result)
                assert result.durableObjectReset
        assert shard.residents.statistics()["resets"] == 1
        Interrupted.at = ""
        send("method")
        await asyncio.sleep(5)
        assert unpack(answers[-1][1]) == "done"
        shard.stop()

    run(whole())
