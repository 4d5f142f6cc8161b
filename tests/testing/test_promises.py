"""`then`, `catch` and `finally` of what the runtime gives to await, as programs in the style of JavaScript use them."""

from __future__ import annotations

from perdure.sdk.workers import DurableObject, Response
from perdure.testing import World
from perdure.testing.virtual import run


class Host(DurableObject):
    async def storage(self):
        storage, seen = self.ctx.storage, []
        written = storage.put("a", 1).then(lambda _: storage.get("a")).then(lambda value: value + 1)
        seen.append(await written)
        await storage.get("a").finally_(lambda: seen.append("finally"))
        seen.append(await getattr(storage.get("a"), "finally")(lambda: None))
        return seen

    async def order(self):
        """A callback runs after the code that gave it, as a promise's does."""
        seen = []
        promise = self.ctx.storage.get("a").then(seen.append)
        seen.append("first")
        await promise
        return seen

    async def add(self, a, b):
        if b == 0:
            raise ValueError("nothing")
        return a + b

    async def asks_itself(self):
        other = self.env.Host.getByName("other")
        return await other.add(1, 2).then(lambda sum: other.add(sum, 3))

    async def fetch(self, request):
        return Response("fetched")


def in_world(work):
    async def main():
        async with World([Host]) as world:
            await work(world.namespace("Host").getByName("a"))

    run(main())


def test_of_storage() -> None:
    async def work(a):
        assert await a.storage() == [2, "finally", 1]
        assert await a.order() == ["first", 1]

    in_world(work)


def test_of_calls_and_fetches() -> None:
    async def work(a):
        assert await a.add(1, 2).then(lambda sum: sum * 2) == 6
        seen = []
        assert "nothing" in await a.add(1, 0).catch(lambda error: str(error))
        assert "nothing" in await a.add(1, 0).then(seen.append, lambda error: str(error))
        assert seen == []
        assert await a.add(1, 2).finally_(lambda: seen.append("over")) == 3
        assert seen == ["over"]
        assert await a.fetch("http://object/").then(lambda response: response.text()) == "fetched"
        assert await a.asks_itself() == 6

    in_world(work)
