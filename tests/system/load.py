"""A client that writes down what was acknowledged, for the tests that kill."""

from __future__ import annotations

import asyncio
import random
import time

import perdure
from perdure.engine.errors import PerdureError
from perdure.router.client import Client


class Ledger:
    """Per counter: how many increments were sent, how many acknowledged; and how long the failures took."""

    def __init__(self, objects: int) -> None:
        self.names = [f"c{number}" for number in range(objects)]
        self.sent = dict.fromkeys(self.names, 0)
        self.acked = dict.fromkeys(self.names, 0)
        self.errors: list[PerdureError] = []
        self.slowest_error_s = 0.0
        self.longest_wait_s = 0.0

    async def one(self, client: Client, name: str, method: str) -> None:
        """One increment."""
        self.sent[name] += 1
        began = time.monotonic()
        try:
            await getattr(client.namespace("Counter").getByName(name), method)()
        except PerdureError as error:
            self.errors.append(error)
            self.slowest_error_s = max(self.slowest_error_s, time.monotonic() - began)
        else:
            self.acked[name] += 1
            self.longest_wait_s = max(self.longest_wait_s, time.monotonic() - began)

    async def user(self, client: Client, stop: asyncio.Event, seed: int, method: str = "increment") -> None:
        rng = random.Random(seed)
        while not stop.is_set():
            await self.one(client, rng.choice(self.names), method)

    async def check(self, address: str, method: str = "value") -> None:
        """Every acknowledged increment is there; the others are there at most once."""
        async with perdure.connect(address) as client:
            for name in self.names:
                value = await getattr(client.namespace("Counter").getByName(name), method)()
                assert self.acked[name] <= value <= self.sent[name], (
                    f"{name}: {value} found, {self.acked[name]} acknowledged, {self.sent[name]} sent"
                )
