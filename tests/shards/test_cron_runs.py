"""Who runs a due cron, in virtual time: gateways that come, go and die."""

from __future__ import annotations

import asyncio

import pytest
from perdure.engine.errors import InvalidArgument, NotConnected, PerdureError
from perdure.sdk.crons import Cron
from perdure.shards.cron_runs import CronRuns
from perdure.testing.virtual import run

START_S = 1_800_000_000  # the beginning of a minute


class Clock:
    """The loop's time, and what a test has put it on or back by."""

    def __init__(self) -> None:
        self.stepped_s = 0.0
        self.began_s = asyncio.get_running_loop().time()

    def now_ms(self) -> int:
        return int((START_S + asyncio.get_running_loop().time() - self.began_s + self.stepped_s) * 1000)

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


class Gateway:
    def __init__(self, name: str) -> None:
        self.name = name
        self.sent: list[tuple[int, str, int]] = []

    def send(self, message) -> None:
        self.sent.append((message["run"], message["cron"], message["scheduled_ms"] // 1000 - START_S))


class Scene:
    def __init__(self, *crons: str) -> None:
        self.clock = Clock()
        self.gateways = [Gateway("gateway 0"), Gateway("gateway 1")]
        self.reports: list[tuple[str, dict[str, object]]] = []
        self.runs = CronRuns(
            self.clock, lambda: self.gateways, lambda level, event, fields: self.reports.append((event, fields))
        )
        self.runs.adopt([Cron.parse(text) for text in crons])
        self.runs.start()


def test_each_slot_goes_to_one_gateway_in_its_minute() -> None:
    async def body() -> None:
        scene = Scene("* * * * *", "*/2 * * * *")
        await asyncio.sleep(59.9)
        assert scene.gateways[0].sent == []
        await asyncio.sleep(0.2)
        assert [cron for _, cron, _ in scene.gateways[0].sent] == ["* * * * *"]
        await asyncio.sleep(240)
        every = [at for _, cron, at in scene.gateways[0].sent if cron == "* * * * *"]
        assert every == [60, 120, 180, 240, 300]
        assert [at for _, cron, at in scene.gateways[0].sent if cron != "* * * * *"] == [120, 240]
        assert scene.gateways[1].sent == []
        scene.runs.stop()

    run(body())


def test_another_gateway_when_the_first_is_gone() -> None:
    async def body() -> None:
        scene = Scene("* * * * *")
        await asyncio.sleep(61)
        first = scene.gateways.pop(0)
        scene.runs.gone(first)
        assert scene.reports[0][0] == "scheduled_lost"
        await asyncio.sleep(60)
        assert [at for _, _, at in first.sent] == [60]
        assert [at for _, _, at in scene.gateways[0].sent] == [120]
        scene.runs.stop()

    run(body())


def test_a_slot_waits_for_a_gateway_for_two_minutes() -> None:
    async def body() -> None:
        scene = Scene("1 * * * *")
        late, scene.gateways[:] = scene.gateways[0], []
        await asyncio.sleep(100)
        scene.gateways.append(late)
        scene.runs.give()
        assert [at for _, _, at in late.sent] == [60]
        await asyncio.sleep(60)
        assert len(late.sent) == 1
        scene.runs.stop()

    run(body())


def test_a_slot_that_found_no_gateway_is_missed_and_told() -> None:
    async def body() -> None:
        scene = Scene("1 * * * *")
        late, scene.gateways[:] = scene.gateways[0], []
        await asyncio.sleep(300)
        scene.gateways.append(late)
        scene.runs.give()
        assert late.sent == []
        assert [event for event, _ in scene.reports] == ["scheduled_missed"]
        scene.runs.stop()

    run(body())


def test_a_clock_that_is_put_back_runs_nothing_twice() -> None:
    async def body() -> None:
        scene = Scene("* * * * *")
        await asyncio.sleep(121)
        scene.clock.stepped_s = -90
        await asyncio.sleep(180)
        assert [at for _, _, at in scene.gateways[0].sent] == [60, 120, 180]
        scene.runs.stop()

    run(body())


def test_nothing_begins_after_the_stop() -> None:
    async def body() -> None:
        scene = Scene("* * * * *")
        scene.runs.stop()
        await asyncio.sleep(300)
        assert scene.gateways[0].sent == []

    run(body())


def test_by_hand() -> None:
    async def body() -> None:
        scene = Scene("0 5 * * *")
        asked = asyncio.ensure_future(scene.runs.trigger())
        await asyncio.sleep(0)
        number, cron, at = scene.gateways[0].sent[0]
        assert (cron, at) == ("0 5 * * *", 0)
        scene.runs.answered({"run": number, "took_ms": 7, "error": None})
        assert await asked == {"cron": "0 5 * * *", "scheduled_ms": START_S * 1000, "took_ms": 7, "error": None}
        asked = asyncio.ensure_future(scene.runs.trigger("x", 1_000))
        await asyncio.sleep(0)
        scene.runs.gone(scene.gateways[0])
        with pytest.raises(PerdureError, match="gateway 0 died"):
            await asked
        scene.runs.adopt([Cron.parse("0 5 * * *"), Cron.parse("0 6 * * *")])
        with pytest.raises(InvalidArgument, match="several crons"):
            await scene.runs.trigger()
        scene.gateways.clear()
        with pytest.raises(NotConnected):
            await scene.runs.trigger("0 5 * * *")
        scene.runs.stop()

    run(body())
