"""Redirects that objects answer with: followed to the same object, unless the request says otherwise (spec: sdk, fetch)."""

from __future__ import annotations

import pytest
from perdure.engine.durable import DurableObject
from perdure.engine.errors import PerdureError
from perdure.sdk.entrypoints import WorkerEntrypoint
from perdure.sdk.response import Response


class Redirecting(DurableObject):
    seen = 0

    async def fetch(self, request):
        self.seen += 1
        path = request.url.removeprefix("http://x/")
        if path == "loop":
            return Response.redirect("http://x/loop", 307)
        if path.isdigit() and int(path):
            return Response(None, status=307, headers={"location": f"/{int(path) - 1}"})
        return Response(f"{request.method} {request.url} {await request.text()} {self.seen}")


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        """What comes from outside is handed on: its redirects are the client's business."""
        return await self.env.Redirecting.getByName("front").fetch(request)


async def test_a_stub_follows_redirects_to_its_object(world):
    stub = world.namespace("Redirecting").getByName("a")
    response = await stub.fetch("http://x/3#part", method="POST", body="kept")
    assert await response.text() == "POST http://x/0 kept 4"
    assert (response.status, response.url, response.redirected) == (200, "http://x/0", True)
    response = await stub.fetch("http://x/0#part")
    assert (await response.text(), response.url, response.redirected) == ("GET http://x/0  5", "http://x/0", False)


async def test_redirects_that_are_answers(world):
    stub = world.namespace("Redirecting").getByName("a")
    response = await stub.fetch("http://x/3", redirect="manual")
    assert (response.status, response.headers.get("location"), response.redirected) == (307, "/2", False)
    response = await world.fetch("http://x/3")
    assert (response.status, response.headers.get("location")) == (307, "/2")


@pytest.mark.parametrize("options", [{}, {"redirect": "error"}])
async def test_redirects_end(world, options):
    with pytest.raises((PerdureError, OSError), match="redirect"):
        await world.namespace("Redirecting").getByName("a").fetch("http://x/loop", **options)
