"""A program of the reference, as it would be deployed, in a world of its own; and the servers that it calls outside."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from perdure.sdk.response import Response

if TYPE_CHECKING:
    from perdure.testing import World

PROGRAMS = os.path.dirname(os.path.abspath(__file__))


def program(name: str, **options: object) -> pytest.MarkDecorator:
    """The mark of a test whose world serves a program of this folder."""
    return pytest.mark.perdure(program=f"{PROGRAMS}/{name}", **options)


async def ask(world: World, what: str, body: object = None, **headers: str) -> tuple[int, object]:
    """`ask(world, "POST /x")`: the status, and the body: of JSON its value, else its text."""
    method, _, path = what.partition(" ")
    answer = await world.fetch(path, method=method, headers=headers, body=body)
    is_json = (answer.headers.get("content-type") or "").startswith("application/json")
    return answer.status, await (answer.json() if is_json else answer.text())


async def outside(request: object) -> Response:
    """https://api.test/: what the programs call."""
    path = request.url.partition("api.test")[2]  # type: ignore[attr-defined]
    if path == "/json":
        return Response.json({"ok": True})
    if path == "/one":
        return Response.json({"number": 1})
    if path == "/echo":
        said = await request.text()  # type: ignore[attr-defined]
        return Response(f"{request.method} {said} {request.headers.get('x-n')}")  # type: ignore[attr-defined]
    if path == "/long":
        return Response(b"x" * 100_000)
    if path == "/form":
        form = await request.form_data()  # type: ignore[attr-defined]
        return Response.json({"field": form["field"], "file": form["file"].name, "blob": await form["blob.py"].text()})
    if path == "/page":
        page = '<html><head><title>t</title><meta property="og:title" content="theirs"></head><body>b</body></html>'
        return Response(page, headers={"Content-Type": "text/html"})
    return Response("plain")


def serve_outside(world: World) -> None:
    world.on_fetch("https://api.test/", outside)
