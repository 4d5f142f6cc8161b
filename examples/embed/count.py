"""A plain Python program that uses objects without HTTP: it starts nothing and connects to a running perdure.

scripts/run &                                  # serves examples/counter
.venv/bin/python examples/embed/count.py       # finds it, counts to 100, prints what it did
"""

import asyncio
import sys

import perdure


class Counter:
    """What the object's class looks like from here: for the type checker and the reader only."""

    async def increment(self, amount: int = 1) -> int: ...
    async def value(self) -> int: ...


async def main(address: str | None) -> None:
    async with perdure.connect(address) as client:
        counter = client.get(Counter, "embedded")
        before = await counter.value()
        results = await asyncio.gather(*[counter.increment() for _ in range(100)])
        print(f"from {before} to {await counter.value()}, in order: {results == sorted(results)}")


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else None))
    except perdure.PerdureError as error:
        sys.exit(f"error: {error}")
