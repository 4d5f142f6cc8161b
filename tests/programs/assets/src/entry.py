from urllib.parse import urlparse

from workers import Response, WorkerEntrypoint


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        path = urlparse(request.url).path
        if path in ("/", "/index.html"):
            return Response("<h1>Hello from a Worker</h1>", headers={"Content-Type": "text/html; charset=utf-8"})
        if path == "/through":
            return await self.env.ASSETS.fetch("https://assets.local/image.svg")
        return await self.env.ASSETS.fetch(request.js_object)
