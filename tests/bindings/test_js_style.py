"""Bindings as programs use them that write Python in JavaScript's style: `js`, `to_js`, `jsnull`, typed arrays."""

from __future__ import annotations

import json

from perdure.testing import World
from perdure.testing.virtual import run

from .programs import WITH_OBJECT, folder

SECTIONS = {
    "kv_namespaces": [{"binding": "KV", "id": "one"}],
    "d1_databases": [{"binding": "DB", "database_id": "one"}],
    "ratelimits": [{"name": "LIMIT", "namespace_id": "1", "simple": {"limit": 1, "period": 10}}],
}
SOURCE = """
from js import JSON, Object, Request, Uint8Array, caches
from js import Response as JsResponse
from pyodide.ffi import JsException, jsnull, run_sync, to_js
from workers import DurableObject, Response, WorkerEntrypoint


class Room(DurableObject):
    pass


def options(**given):
    return to_js(given, dict_converter=Object.fromEntries)


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        answer = getattr(self, request.url.rsplit("/", 1)[-1])()
        return await answer if hasattr(answer, "__await__") else answer

    async def kv(self):
        kv = self.env.KV
        await kv.put("text", "v", options(expirationTtl=60, metadata={"a": [1]}))
        await kv.put("bytes", Uint8Array.new([1, 2, 255]))
        found = await kv.getWithMetadata("text", options(type="text"))
        page = await kv.list(options(prefix="t"))
        names = [key.name for key in page.keys]
        buffer = await kv.get("bytes", "arrayBuffer")
        try:
            await kv.get("")
        except JsException as error:
            refused = error.message
        return Response.json([found.value, found.metadata.to_py(), names, list(buffer.to_bytes()), refused])

    async def d1(self):
        await self.env.DB.exec("create table t(a, b)")
        await self.env.DB.prepare("insert into t values (?, ?)").bind(jsnull, Uint8Array.new([7, 8])).run()
        found = await self.env.DB.prepare("select * from t").all()
        rows = [row.to_py() for row in found.results]
        try:
            await self.env.DB.prepare("select * from nobody").all()
        except JsException as error:
            refused = str(error)
        return Response.json([rows, json_of(found.results), refused])

    async def limit(self):
        return Response.json([(await self.env.LIMIT.limit(options(key="k"))).success for _ in range(2)])

    async def later(self):
        self.ctx.waitUntil(self.env.KV.put("later", "v"))
        self.ctx.waitUntil(caches.default.put("https://example.com/later", Response("x")))
        self.ctx.waitUntil(self.env.DB.prepare("create table if not exists later(a)").run())
        return Response.json([])

    async def after(self):
        hit = await caches.default.match("https://example.com/later")
        run_id = await self.env.DB.prepare("select count(*) as n from later").first("n")
        return Response.json([await self.env.KV.get("later"), await hit.text(), run_id])

    async def together(self):
        import asyncio

        await asyncio.wait_for(self.env.KV.put("a", "1"), 5)
        task = asyncio.ensure_future(self.env.KV.get("a"))
        found = await asyncio.gather(self.env.KV.get("a"), task, self.env.KV.list(limit=1), self.env.DB.exec("select 1"))
        return Response.json([found[0], found[1], found[2]["keys"][0]["name"], found[3]["count"]])

    def blocking(self):
        run_sync(self.env.KV.put("b", "2"))
        return Response.json([run_sync(self.env.KV.get("b")), run_sync(self.env.DB.prepare("select 3 as n").first("n"))])

    async def cached(self):
        cache = caches.default
        request = Request.new("https://example.com/a")
        response = JsResponse.new("kept", options(headers={"Cache-Control": "s-maxage=10"}))
        await cache.put(request, response.clone())
        hit = await cache.match(request)
        named = await caches.open("other")
        return Response.json([await hit.text(), hit.headers.get("cf-cache-status"), await named.match(request)])


def json_of(value):
    return JSON.stringify(value)
"""

EXPECTED = {
    "kv": ["v", {"a": [1]}, ["text"], [1, 2, 255], "Key name cannot be empty."],
    "d1": [
        [{"a": None, "b": [7, 8]}],
        '[{"a":null,"b":[7,8]}]',
        "Error: D1_ERROR: no such table: nobody: SQLITE_ERROR",
    ],
    "limit": [True, False],
    "later": [],
    "after": ["v", "x", 0],
    "together": ["1", "1", "a", 1],
    "blocking": ["2", 3],
    "cached": ["kept", "HIT", None],
}


def test_the_style_of_javascript(tmp_path):
    path = folder(tmp_path / "app", SOURCE, **SECTIONS, **WITH_OBJECT)

    async def inside():
        async with World(path) as world:
            for name, expected in EXPECTED.items():
                response = await world.fetch(f"/{name}")
                text = await response.text()
                assert response.status == 200, text
                assert (name, json.loads(text)) == (name, expected)

    run(inside())
