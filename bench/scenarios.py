"""The scenarios: each measures the bare path and the product in turn, in the same run, and gives pairs of samples."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import perdure
import uvloop

from .ceiling import Caller
from .load import Call, Sample, drive, wrk
from .rigs import Bare, Product

IN_FLIGHT = 64


@dataclass(frozen=True)
class Scenario:
    """`goal` None: shown, not checked."""

    name: str
    goal: float | None
    method: str
    objects: int
    in_flight: int
    over: str
    """embedded, relayed or http."""


SCENARIOS = [
    Scenario("one_in_flight", None, "increment", 1, 1, "embedded"),
    Scenario("hot_object_durable", 0.5, "increment", 1, IN_FLIGHT, "embedded"),
    Scenario("thousand_objects_durable", 0.5, "increment", 1_000, IN_FLIGHT, "embedded"),
    Scenario("hot_object_echo", 0.5, "echo", 1, IN_FLIGHT, "embedded"),
    Scenario("hot_object_durable_relayed", None, "increment", 1, IN_FLIGHT, "relayed"),
    Scenario("hot_object_echo_relayed", None, "echo", 1, IN_FLIGHT, "relayed"),
    Scenario("http_hot_object_durable", 0.5, "increment", 1, IN_FLIGHT, "http"),
    Scenario("http_thousand_objects_durable", 0.5, "increment", 1_000, IN_FLIGHT, "http"),
    Scenario("http_hot_object_echo", 0.5, "echo", 1, IN_FLIGHT, "http"),
]


def _names(objects: int) -> list[str]:
    return [f"o{number:05d}" for number in range(objects)]


def bare(scenario: Scenario, rig: Bare, seconds: float) -> Sample:
    """The denominator."""
    if scenario.over == "http":
        verb = "GET" if scenario.method == "echo" else "POST"
        return wrk(rig.url, verb, scenario.method, scenario.objects, scenario.in_flight, seconds)

    async def run() -> Sample:
        caller = Caller(asyncio.get_running_loop(), rig.endpoint)
        calls = [caller.caller(name, scenario.method) for name in _names(scenario.objects)]
        return await drive(calls, scenario.in_flight, seconds)

    return _on_uvloop(run)


def product(scenario: Scenario, rig: Product, seconds: float) -> Sample:
    """The numerator."""
    if scenario.over == "http":
        verb = "GET" if scenario.method == "echo" else "POST"
        return wrk(rig.url, verb, scenario.method, scenario.objects, scenario.in_flight, seconds)

    async def run() -> Sample:
        async with perdure.connect(rig.address, relay=scenario.over == "relayed") as client:
            counters = client.namespace("Counter")
            calls: list[Call] = [
                getattr(counters.getByName(name), scenario.method) for name in _names(scenario.objects)
            ]
            return await drive(calls, scenario.in_flight, seconds)

    return _on_uvloop(run)


def _on_uvloop(run: Callable[[], object]) -> Sample:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())  # type: ignore[arg-type, return-value]


def measure(scenario: Scenario, bare_rig: Bare, product_rig: Product, seconds: float) -> list[tuple[Sample, Sample]]:
    """Three pairs, the two sides in turn; the first calls of each side wake the objects and are not counted."""
    warm = min(seconds / 2, 1.5) if scenario.objects == 1 else max(seconds / 2, 1.5)
    bare(scenario, bare_rig, warm)
    product(scenario, product_rig, warm)
    each = seconds / 3
    return [(bare(scenario, bare_rig, each), product(scenario, product_rig, each)) for _ in range(3)]
