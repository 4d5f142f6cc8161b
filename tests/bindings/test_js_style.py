"""Queues, R2 and AI as programs call them that convert with `to_js` and use names of `js`."""

from __future__ import annotations

import json

from perdure.testing import World
from perdure.testing.virtual import run

from .programs import WITH_OBJECT, folder

SOURCE = """
from js import JSON, Blob, Date, Headers, Object, Uint8Array
from pyodide.ffi import jsnull, to_js
from workers import DurableObject, Response, WorkerEntrypoint


def to_object(value):
    return to_js(value, dict_converter=Object.fromEntries)


class Room(DurableObject):
    pass


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        files = self.env.FILES
        metadata = {"httpMetadata": {"contentType": "t/x", "cacheExpiry": Date.new(1000)}, "customMetadata": {"k": "v"}}
        await files.put("a", "x", to_object(metadata))
        head = await files.head("a")
        headers = Headers.new()
        head.writeHttpMetadata(headers)
        await files.put("b", Uint8Array.new(to_js([1, 2, 3])))
        await files.put("c", jsnull)
        await files.put("d", Blob.new(to_js(["q"])))
        part = await files.get("b", to_object({"range": {"offset": 1}}))
        page = await files.list(to_object({"include": ["httpMetadata"], "limit": 1}))
        await files.delete(to_js(["a", "b"]))
        upload = await files.createMultipartUpload("m", to_object({"customMetadata": {"z": "1"}}))
        await upload.complete(to_js([await upload.uploadPart(1, "end")]))
        answer = await self.env.AI.run("m", to_js({"prompt": "Hi", "max_tokens": 5}))
        jobs = self.env.JOBS
        await jobs.send(to_js({"url": "u", "n": [1, None]}))
        await jobs.send(to_object({"url": "u"}))
        await jobs.send("text", to_object({"contentType": "text"}))
        await jobs.sendBatch(to_js([to_object({"body": {"a": 1}, "delaySeconds": 0}), to_object({"body": Date.new(0)})]))
        await jobs.sendBatch([{"body": 1}, {"body": jsnull}], to_object({"delaySeconds": 0}))
        await jobs.send(Uint8Array.new(to_js([1])), contentType="bytes")
        return Response.json({
            "head": [head.httpMetadata.contentType, head.customMetadata.k, head.httpMetadata.cacheExpiry.timestamp()],
            "headers": [headers.get("content-type"), headers.get("expires")],
            "part": list((await part.arrayBuffer()).to_py()),
            "page": [page.objects[0].httpMetadata.contentType, page.truncated],
            "left": [[each.key, each.size] for each in (await files.list()).objects],
            "answer": [answer.response, answer["response"], answer.to_py()],
        })

    async def queue(self, batch):
        bodies = [str(message.body) for message in batch.messages]
        await self.env.FILES.put("queued", JSON.stringify(to_js(bodies)))
"""


def test_values_options_and_results_of_the_javascript_style(tmp_path):
    sections = {
        "queues": {"producers": [{"binding": "JOBS", "queue": "j"}], "consumers": [{"queue": "j"}]},
        "r2_buckets": [{"binding": "FILES", "bucket_name": "f"}],
        "ai": {"binding": "AI"},
        "vars": {"AI_BASE_URL": "http://models.test/v1"},
    }

    async def serve(request):
        assert json.loads(await request.text())["max_tokens"] == 5
        return {"choices": [{"message": {"content": "Hello"}}]}

    async def inside():
        async with World(folder(tmp_path / "app", SOURCE, **sections, **WITH_OBJECT)) as world:
            world.on_fetch("http://models.test/", serve)
            assert await (await world.fetch("/")).json() == {
                "head": ["t/x", "v", 1.0],
                "headers": ["t/x", "Thu, 01 Jan 1970 00:00:01 GMT"],
                "part": [2, 3],
                "page": ["t/x", True],
                "left": [["c", 0], ["d", 1], ["m", 3]],
                "answer": ["Hello", "Hello", {"response": "Hello"}],
            }
            await world.advance(seconds=6)
            assert json.loads(await (await world.env.FILES.get("queued")).text()) == [
                "{'url': 'u', 'n': [1, None]}", "{'url': 'u'}", "text", "{'a': 1}", "1970-01-01T00:00:00.000Z", "1", "None",
                "b'\\x01'",
            ]  # fmt: skip

    run(inside())
