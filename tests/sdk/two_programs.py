"""Programs of files for tests: a front one and one beside it, whose modules have the same names."""

from __future__ import annotations

import json
from pathlib import Path

FRONT = """
import models
from workers import DurableObject, Request, Response, WorkerEntrypoint, env


class Counter(DurableObject):
    async def add(self):
        value = (await self.ctx.storage.get("n") or 0) + 1
        await self.ctx.storage.put("n", value)
        return value

    async def ask(self, name):
        await self.ctx.storage.put("asked", name)
        return await self.env.GREETER.greet(name)

    async def other(self):
        return await self.env.THEIRS.getByName("a").add()

    async def count(self, amount):
        total = await self.ctx.storage.get("total") or 0
        total += amount
        await self.ctx.storage.put("total", total)
        return total

    async def callbacks(self):
        counter = await self.env.GREETER.apply(self.count, 3)
        return [await counter(), await counter(), await self.ctx.storage.get("total")]

    async def pipelined(self):
        greeter = self.env.GREETER
        made = greeter.apply(self.count, 3)
        return [await made(), await made(), await greeter.greet("you").text]

    async def forward(self):
        return await self.env.COUNTER.getByName("other").use(self.env.GREETER)

    async def use(self, greeter):
        return await greeter.greet("me")

    async def props(self):
        return [self.ctx.exports is not None, await self.ctx.exports.Inner({"props": {"by": "object"}}).who()]


class Inner(WorkerEntrypoint):
    async def who(self):
        return dict(self.ctx.props or {})


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        path = request.url.split("/", 3)[3]
        if path == "where":
            import late
            return Response(f"{models.WHO} {late.WHO} {await self.env.GREETER.where()}")
        if path == "through":
            return await self.env.SHOP.fetch("http://shop/inside", method="POST", body="body")
        if path == "self":
            return Response(await self.env.SELF.greeting())
        if path == "env":
            return Response(f"{env.NAME} {await self.env.GREETER.name()}")
        return Response("front")

    async def greeting(self):
        return "hello myself"
"""
BESIDE = """
import models
import workers
from workers import DurableObject, Response, WorkerEntrypoint, env


class Counter(DurableObject):
    async def add(self):
        value = (await self.ctx.storage.get("n") or 100) + 1
        await self.ctx.storage.put("n", value)
        return value


class Greeter(WorkerEntrypoint):
    async def greet(self, name, options=None):
        return {"text": f"hello {name}", "by": (self.ctx.props or {}).get("by"), "options": options}

    async def apply(self, function, times):
        for _ in range(times):
            await function(2)
        count = 0
        def counter():
            nonlocal count
            count += 1
            return f"{count} {env.NAME}"
        return counter

    def where(self):
        import late
        return f"{models.WHO} {late.WHO}"

    def name(self):
        return f"{env.NAME} {workers.env.NAME}"

    async def fail(self):
        error = KeyError("lost")
        error.shelf = 3
        raise error

    async def change(self, given):
        given["changed"] = True
        return given

    async def later(self):
        async def note():
            await self.env.OWN.getByName("later").add()
        self.ctx.waitUntil(note())
        return "soon"

    def stop(self):
        self.ctx.abort("enough")

    async def fetch(self, request):
        return Response("named")

    kept = 5

    def _hidden(self):
        return "never"


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response(f"{request.method} {request.url} {await request.text()}", status=201, headers={"x-a": "1"})

    async def scheduled(self, controller):
        await self.env.OWN.getByName("scheduled").add()
        controller.noRetry()

    async def queue(self, batch):
        for message in batch.messages:
            if message.body == "bad":
                message.retry(delaySeconds=5)
            elif message.body == "good":
                message.ack()
        batch.ackAll()
"""


def write(folder: Path, name: str, source: str, **config: object) -> str:
    """A program's folder. `config`: beside name and main."""
    source_folder = folder / name / "src"
    source_folder.mkdir(parents=True)
    (source_folder / "entry.py").write_text(source)
    (source_folder / "models.py").write_text(f"WHO = 'models of {name}'\n")
    (source_folder / "late.py").write_text(f"import models\nWHO = 'late ' + models.WHO\nassert 'of {name}' in WHO\n")
    (folder / name / "wrangler.json").write_text(json.dumps({"name": name, "main": "src/entry.py", **config}))
    return str(folder / name)


def classes(*names: str) -> dict[str, object]:
    return {
        "durable_objects": {"bindings": [{"name": name.upper(), "class_name": name} for name in names]},
        "migrations": [{"tag": "v1", "new_sqlite_classes": list(names)}],
    }


def both(folder: Path) -> tuple[str, str]:
    """Their folders."""
    config = classes("Counter")
    own = {"bindings": [{"name": "OWN", "class_name": "Counter"}]}
    beside = write(folder, "shop", BESIDE, vars={"NAME": "shop"}, migrations=config["migrations"], durable_objects=own)
    bindings = [
        {"name": "COUNTER", "class_name": "Counter"},
        {"name": "THEIRS", "class_name": "Counter", "script_name": "shop"},
    ]
    services = [
        {"binding": "SHOP", "service": "shop"},
        {"binding": "GREETER", "service": "shop", "entrypoint": "Greeter", "props": {"by": "front"}},
        {"binding": "SELF", "service": "front"},
    ]
    front = write(
        folder,
        "front",
        FRONT,
        vars={"NAME": "front"},
        migrations=config["migrations"],
        durable_objects={"bindings": bindings},
        services=services,
    )
    return front, beside
