"""A chat over HTTP alone, written against `js` and `pyodide.ffi`: long polling and server-sent events.

GET / is the page; POST /room/NAME says something; GET /room/NAME?after=N waits for what comes after message N;
GET /room/NAME/events is a stream of events.
"""

import asyncio
import json
from pathlib import Path

from js import (
    JSON,
    URL,
    Array,
    Date,
    Headers,
    Object,
    Promise,
    Response,
    TextEncoder,
    TransformStream,
    clearTimeout,
    setTimeout,
)
from pyodide.ffi import create_once_callable, create_proxy, to_js
from workers import DurableObject, WorkerEntrypoint

LIMIT = 50


def js_object(value):
    return to_js(value, dict_converter=Object.fromEntries)


def as_json(value, status=200):
    headers = Headers.new()
    headers.set("Content-Type", "application/json")
    headers.append("Cache-Control", "no-store")
    return Response.new(JSON.stringify(js_object(value)), status=status, headers=headers)


class Room(DurableObject):
    def __init__(self, state, env):
        super().__init__(state, env)
        self.state = state
        self.waiting = []
        self.writers = []

    async def messages(self):
        kept = await self.state.storage.list(js_object({"prefix": "message:", "limit": LIMIT, "reverse": True}))
        found = [{"key": key, "message": value.to_py()} for key, value in kept.to_py().items()]
        return [entry["message"] for entry in reversed(found)]

    async def fetch(self, request):
        url = URL.new(request.url)
        if request.headers.get("Upgrade") == "websocket":
            return Response.new("Expected WebSocket upgrade", status=400)
        if request.method == "POST":
            return await self.say(await request.json())
        if url.pathname.endswith("/events"):
            return await self.events()
        if url.searchParams.has("after"):
            return await self.poll(int(url.searchParams.get("after")), int(url.searchParams.get("wait") or 5000))
        return as_json(await self.messages())

    async def say(self, said):
        number = (await self.state.storage.get("number") or 0) + 1
        message = {"number": number, "by": said["by"], "text": said["text"], "at": Date.new().toISOString()}
        await self.state.storage.put("number", number)
        await self.state.storage.put(f"message:{number:08}", js_object(message))
        waiting, self.waiting = self.waiting, []
        for wake in waiting:
            wake()
        for writer in list(self.writers):
            await self.send(writer, message)
        return as_json({"number": number}, 201)

    async def poll(self, after, wait):
        fresh = [message for message in await self.messages() if message["number"] > after]
        if fresh:
            return as_json(fresh)
        heard = asyncio.get_running_loop().create_future()

        def wake(*_):
            if not heard.done():
                heard.set_result(True)

        late = create_once_callable(wake)
        timer = setTimeout(late, wait)
        self.waiting.append(wake)
        await heard
        clearTimeout(timer)
        return as_json([message for message in await self.messages() if message["number"] > after])

    async def events(self):
        stream = TransformStream.new()
        writer = stream.writable.getWriter()
        self.writers.append(writer)

        async def past():
            for message in await self.messages():
                await self.send(writer, message)

        self.state.waitUntil(past())
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
        return Response.new(stream.readable, headers=js_object(headers))

    async def send(self, writer, message):
        encoder = TextEncoder.new()
        try:
            await writer.write(encoder.encode(f"data: {json.dumps(message)}\n\n"))
        except Exception:
            self.writers.remove(writer)


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        path = URL.new(request.url).pathname
        if path == "/":
            page = Path(__file__).parent / "chat.html"
            return Response.new(page.read_text(), headers=js_object({"Content-Type": "text/html"}))
        if path.startswith("/room/"):
            name = path[len("/room/") :].split("/")[0]
            if not name:
                return Response.new("Room name required", status=400)
            room = self.env.ROOM.get(self.env.ROOM.idFromName(name))
            return await room.fetch(request.js_object)
        if path == "/all":
            rooms = [self.env.ROOM.getByName(name).fetch("https://room/") for name in ("one", "two")]
            answers = await Promise.all(to_js(rooms))
            texts = [await answer.text() for answer in answers]
            return as_json({"rooms": Array.of(*texts).to_py()})
        if path == "/each":
            seen = []
            each = create_proxy(lambda value, index, *_: seen.append([index, value]))
            to_js(["a", "b"]).forEach(each)
            each.destroy()
            return as_json(seen)
        return Response.new("Not found: /room/<name>", status=404)
