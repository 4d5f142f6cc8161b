"""KV in both styles: the wrapper's dicts and keyword arguments, and objects made for JavaScript."""

import json

from js import JSON, Object
from pyodide.ffi import to_js
from workers import Response, WorkerEntrypoint


def js_object(value):
    return to_js(value, dict_converter=Object.fromEntries)


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        path = request.url.split("/", 3)[3]
        if path == "":
            await self.env.FOO.put("bar", "baz")
            return Response(await self.env.FOO.get("bar"))
        if path == "options":
            return await self.options()
        if path == "js":
            return await self.in_js_style()
        return Response("Not Found", status=404)

    async def options(self):
        kv = self.env.FOO
        await kv.put("session:1", json.dumps({"user": "ann"}), expirationTtl=3600, metadata={"kind": "session"})
        await kv.put("session:2", json.dumps({"user": "bob"}), {"metadata": {"kind": "session"}})
        found = await kv.get("session:1", "json")
        same = await kv.get("session:1", type="json")
        with_metadata = await kv.getWithMetadata("session:2")
        listed = await kv.list(prefix="session:")
        several = await kv.get(["session:1", "session:9"], "json")
        await kv.delete("session:2")
        return Response.json(
            {
                "user": found.user,
                "same": same["user"],
                "kind": with_metadata.metadata.kind,
                "names": [key["name"] for key in listed["keys"]],
                "expires": listed.keys[0].expiration if not callable(listed.keys) else listed["keys"][0]["expiration"],
                "complete": listed.list_complete,
                "several": sorted(several),
                "missing": await kv.get("session:2"),
                "binary": (await kv.get("session:1", "arrayBuffer")).tobytes().decode(),
            }
        )

    async def in_js_style(self):
        kv = self.env.FOO
        await kv.put("c", JSON.stringify(js_object({"n": 1})), js_object({"expirationTtl": 60}))
        value = await kv.get("c", js_object({"type": "json"}))
        page = await kv.list(js_object({"limit": 1}))
        return Response.json({"n": value.n, "complete": page["list_complete"]})
