"""Bodies as streams: a transform between two bodies, a writer that works on behind the response, a source in Python."""

import asyncio

from js import URL, Object, ReadableStream, TextDecoder, TransformStream, Uint8Array
from js import Response as JsResponse
from pyodide.ffi import create_once_callable, create_proxy, destroy_proxies, to_js
from workers import Request, Response, WorkerEntrypoint, fetch


def js_object(value):
    return to_js(value, dict_converter=Object.fromEntries)


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        route = getattr(self, URL.new(request.url).pathname.strip("/"))
        return await route(request)

    async def upper(self, request):
        """The request's body in capitals, chunk by chunk."""
        decoder = TextDecoder.new()

        def transform(chunk, controller):
            text = decoder.decode(chunk, js_object({"stream": True}))
            controller.enqueue(Uint8Array.new(to_js(text.upper().encode())))

        def flush(controller):
            controller.enqueue(Uint8Array.new(to_js(b"!")))

        stages = js_object({"transform": create_proxy(transform), "flush": create_proxy(flush)})
        stream = TransformStream.new(stages)
        return JsResponse.new(request.js_object.body.pipeThrough(stream), js_object({"headers": {"x-way": "js"}}))

    async def ticks(self, request):
        """Writes on after the response has begun."""
        stream = TransformStream.new()
        writer = stream.writable.getWriter()

        async def write():
            for number in range(3):
                await writer.write(Uint8Array.new(to_js(f"tick {number}\n".encode())))
                await asyncio.sleep(1)
            await writer.close()

        self.ctx.waitUntil(write())
        return Response(stream.readable, headers={"Content-Type": "text/plain"})

    async def source(self, request):
        """A stream whose source is Python; the proxies are destroyed when it ends."""
        left = [b"a", b"b", b"c"]
        proxies = []

        def pull(controller):
            if left:
                controller.enqueue(to_js(left.pop(0)))
            else:
                controller.close()

        proxies.append(create_proxy(pull))
        stream = ReadableStream.new(js_object({"pull": proxies[0]}))
        chunks = []
        reader = stream.getReader()
        while True:
            result = await reader.read()
            if result.done:
                break
            chunks.append(result.value.to_bytes())
        reader.releaseLock()
        destroy_proxies(to_js(proxies))
        return Response(b"".join(chunks))

    async def proxy(self, request):
        """The body of another server, as it arrives."""
        response = await fetch("https://api.test/long")
        reader = response.body.getReader()
        total = 0
        while True:
            result = await reader.read()
            if result.done:
                break
            total += result.value.byteLength
        return Response.json({"bytes": total})

    async def tee(self, request):
        answer = Response(request.body)
        copy = answer.clone()
        first, second = JsResponse.new("twice").body.tee()
        return Response.json(
            {
                "one": await answer.text(),
                "two": (await copy.bytes()).decode(),
                "used": answer.body_used,
                "first": await Response(first).text(),
                "second": await JsResponse.new(second).text(),
            }
        )

    async def then(self, request):
        """Promises by hand."""
        heard = asyncio.get_running_loop().create_future()
        promise = JsResponse.new("promised").text()
        promise.then(create_once_callable(lambda text: heard.set_result(text)))
        other = Request("https://x.test/", method="POST", body="of a request")
        return Response.json({"text": await heard, "other": await other.text()})
