"""The same rooms by someone who thinks in JavaScript: proxies everywhere, converted by hand."""

from js import JSON, URL, Array, Object, Response
from pyodide.ffi import to_js
from workers import DurableObject, WorkerEntrypoint


def js_object(value):
    return to_js(value, dict_converter=Object.fromEntries)


class Room(DurableObject):
    async def fetch(self, request):
        url = URL.new(request.url)
        if request.method == "POST":
            said = await request.json()
            kept = await self.ctx.storage.get("messages")
            messages = kept.to_py() if kept else []
            messages.append({"text": said["text"], "by": said["by"]})
            await self.ctx.storage.put("messages", to_js(messages, dict_converter=Object.fromEntries))
            return Response.new(
                JSON.stringify(js_object({"count": len(messages)})),
                status=201,
                headers=js_object({"Content-Type": "application/json"}),
            )
        kept = await self.ctx.storage.get("messages")
        if not kept:
            return Response.new("No messages", js_object({"status": 404, "statusText": "None Yet"}))
        texts = [message.text for message in kept]
        return Response.json(js_object({"path": url.pathname, "texts": texts, "array": Array.isArray(to_js(texts))}))


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        name = URL.new(request.url).pathname.split("/")[1]
        if not name:
            return Response.new("Room name required", status=400)
        stub = self.env.ROOMS.getByName(name)
        return await stub.fetch(request.js_object)
