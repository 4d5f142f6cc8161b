"""How many alarms that are due at once a shard fires in a second, beside how many calls of the same objects it takes.

Each run and each call is one durable write of an object in memory; the calls come from 128 users of one client. The bounds
`alarms_per_second_max` and `alarms_running_max` are set out of the way.
"""

from __future__ import annotations

import asyncio
import sys
import time

import perdure
import uvloop

from .report import Row
from .running import Runtime

NAMES = ("alarms",)
GOAL = 0.25
_USERS = 128
_ALARMS_S_MAX = 60.0
_SAMPLE = 20
_LIMITS = {"alarms_per_second_max": 1_000_000, "alarms_running_max": 1_000, "idle_hibernate_ms": 600_000}


class _Ringers:
    """The objects, by number."""

    def __init__(self, client: perdure.Client, count: int) -> None:
        namespace = client.namespace("Ringer")
        self._stubs = [namespace.getByName(f"ringer {number}") for number in range(count)]

    async def each(self, method: str, *arguments: object) -> list[float]:
        """What the method of each gives, in order; as many at once as there are users."""
        results = [0.0] * len(self._stubs)
        left = iter(range(len(self._stubs)))

        async def user() -> None:
            for number in left:
                results[number] = await getattr(self._stubs[number], method)(*arguments)

        await asyncio.gather(*[user() for _ in range(_USERS)])
        return results

    async def rang(self) -> list[float]:
        """When each rang, once all have. Raises TimeoutError."""
        end_s = time.monotonic() + _ALARMS_S_MAX
        sample = self._stubs[:: max(len(self._stubs) // _SAMPLE, 1)]
        while time.monotonic() < end_s:
            if all([await stub.rang() for stub in sample]):
                found = await self.each("rang")
                if all(found):
                    return found
            await asyncio.sleep(0.5)
        raise TimeoutError(f"not all alarms have fired within {_ALARMS_S_MAX} s")


async def _measured(address: str, count: int, arming_s: float) -> tuple[float, float, float]:
    """Calls a second, alarms a second, and how late the first was in milliseconds."""
    async with perdure.connect(address) as client:
        ringers = _Ringers(client, count)
        await ringers.each("write")
        began_s = time.monotonic()
        await ringers.each("write")
        calls = count / (time.monotonic() - began_s)
        due_s = time.time() + arming_s
        await ringers.each("arm", round(due_s * 1000))
        if time.time() > due_s:
            raise TimeoutError(f"arming {count} alarms took over {arming_s} s")
        await asyncio.sleep(due_s - time.time() + 0.5)
        rang = await ringers.rang()
    return calls, count / (max(rang) - due_s), (min(rang) - due_s) * 1000


def measure(names: list[str], folder: str | None, *, quick: bool) -> list[Row]:
    """The row `alarms`."""
    del names  # there is one
    count, arming_s = (400, 4.0) if quick else (1_500, 4.0)
    with Runtime(folder, _LIMITS) as runtime:
        runtime.serve()
        print("bench: alarms", file=sys.stderr)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            calls, alarms, late_ms = runner.run(_measured(runtime.address, count, arming_s))
    details = {"alarms": float(count), "first_late_ms": round(late_ms, 1)}
    return [Row("alarms", GOAL, round(calls), round(alarms), round(alarms / calls, 3), "/s", details)]


if __name__ == "__main__":
    from .report import show

    show(measure(list(NAMES), None, quick="--quick" in sys.argv))
