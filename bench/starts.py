"""How long a start takes: after a kill with a full log, and with many objects that nobody calls."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import statistics
import sys
import time

import perdure
import uvloop
from perdure.engine.ids import ClassKey
from perdure.sdk.program import load

from .report import Row
from .running import PROGRAM, Runtime

NAMES = ("recovery_serves", "recovery_up_to_date", "recovery_folds", "start_cold_objects")
SERVES_S_MAX = 2.0
UP_TO_DATE_S_MAX = 60.0
_RATIO_MAX = 1.3
_LINKS_MAX = 30_000
_VALUE_BYTES = 24 * 1024
_USERS = 64


async def _fill(runtime: Runtime, objects: int, bytes_wanted: int, seconds: float) -> None:
    async with perdure.connect(runtime.address) as client:
        writers = client.namespace("Writer")
        end = time.monotonic() + seconds
        held = 0

        async def user(number: int) -> None:
            nonlocal held
            while held < bytes_wanted and time.monotonic() < end:
                await writers.getByName(f"w{number}").put("value", _VALUE_BYTES)
                number = (number + _USERS) % objects

        async def watch() -> None:
            nonlocal held
            while held < bytes_wanted and time.monotonic() < end:
                held = runtime.log_bytes()
                for pid in runtime.pids("archivist"):
                    os.kill(pid, signal.SIGSTOP)  # what is not folded stays in the log: it is to be full
                await asyncio.sleep(0.05)

        await asyncio.gather(watch(), *[user(number) for number in range(_USERS)])


async def _call_one(runtime: Runtime) -> None:
    async with perdure.connect(runtime.address) as client:
        await client.namespace("Writer").getByName("w0").state()


def _run(body: object) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(body)  # type: ignore[arg-type]


def recovery(folder: str | None, *, quick: bool) -> list[Row]:
    """The log is filled to 9/10 of its bound, everything is killed and started again."""
    bound = (16 << 20) if quick else (256 << 20)
    limits = {"log_bytes_max": bound, "idle_hibernate_ms": 600_000}
    if quick:
        limits["segment_bytes"] = 4 << 20
    with Runtime(folder, limits) as runtime:
        empty_s = runtime.serve()
        print("bench: recovery", file=sys.stderr)
        _run(_fill(runtime, 400 if quick else 12_000, bound * 9 // 10, 10 if quick else 90))
        log_bytes = runtime.log_bytes()
        runtime.kill()
        os.sync()
        began = time.monotonic()
        runtime.serve()
        _run(_call_one(runtime))
        serves_s = time.monotonic() - began
        runtime.wait_for("up_to_date", 120)
        up_to_date_s = time.monotonic() - began
        runtime.wait_for("recovered", 240)
        folded_s = time.monotonic() - began
        objects = float(runtime.last_number("recovering", "objects"))
    held = {"log_MiB": round(log_bytes / (1 << 20), 1), "objects": objects}
    return [
        _at_most("recovery_serves", serves_s, SERVES_S_MAX, {**held, "empty_start_s": round(empty_s, 2)}),
        _at_most("recovery_up_to_date", up_to_date_s, UP_TO_DATE_S_MAX, held),
        Row("recovery_folds", None, round(up_to_date_s, 2), round(folded_s, 2), round(up_to_date_s / folded_s, 3), "s"),
    ]


def _at_most(name: str, found: float, bound: float, details: dict[str, float]) -> Row:
    return Row(name, 1.0, bound, round(found, 2), round(bound / found, 3), "s", details)


def _make_objects(runtime: Runtime, count: int) -> None:
    """Files of objects that were never called since, as links to copies of one that was."""
    key = ClassKey(load(PROGRAM, None).keys()["Writer"])
    objects = f"{runtime.data}/objects/{key.folder}"
    source = next(f"{path}/{name}" for path, _, names in os.walk(objects) for name in names if name.endswith(".sqlite"))
    for number in range(count):
        if number % _LINKS_MAX == 0:
            copy = f"{runtime.folder}/copy{number}.sqlite"
            shutil.copyfile(source, copy)
        text = key.id_from_name(f"cold {number}").hex()
        os.makedirs(f"{objects}/{text[:2]}", exist_ok=True)
        os.link(copy, f"{objects}/{text[:2]}/{text}.sqlite")
    shutil.rmtree(f"{runtime.data}/catalogue")


def cold_objects(folder: str | None, *, quick: bool) -> list[Row]:
    """Starts of a folder with few objects and of one with many take turns."""
    few, many = Runtime(folder), Runtime(folder)
    count, turns = (2_000, 1) if quick else (100_000, 5)
    took: dict[Runtime, list[float]] = {few: [], many: []}
    with few, many:
        print("bench: start_cold_objects", file=sys.stderr)
        for runtime, objects in ((few, 10), (many, count)):
            runtime.serve()
            _run(_call_one(runtime))
            runtime.stop()
            _make_objects(runtime, objects)
            runtime.serve()
            runtime.wait_for("catalogue_rebuilt", 120)
            runtime.stop()
        for _ in range(turns):
            for runtime, seconds in took.items():
                seconds.append(runtime.serve())
                runtime.stop()
    ratio = statistics.median(one / other for one, other in zip(took[few], took[many], strict=True))
    baseline, measured = (statistics.median(seconds) for seconds in took.values())
    goal = round(1 / _RATIO_MAX, 3)
    details = {"objects": float(count)}
    return [Row("start_cold_objects", goal, round(baseline, 2), round(measured, 2), round(ratio, 3), "s", details)]


def measure(names: list[str], folder: str | None, *, quick: bool) -> list[Row]:
    """The rows of those names, and what is measured with them."""
    rows: list[Row] = []
    if any(name.startswith("recovery") for name in names):
        rows += recovery(folder, quick=quick)
    if "start_cold_objects" in names:
        rows += cold_objects(folder, quick=quick)
    return rows


if __name__ == "__main__":
    from .report import show

    show(measure(list(NAMES), None, quick="--quick" in sys.argv))
