"""What the documentation's pages on requests show: query, JSON, headers, logging, parallel and conditional answers."""

import asyncio
import logging
from http import HTTPMethod, HTTPStatus
from urllib.parse import parse_qs, urlparse

from greeting import greet
from js import URL, Date, Headers, console
from workers import Request, Response, WorkerEntrypoint, fetch

logger = logging.getLogger(__name__)


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        url = urlparse(request.url)
        params = parse_qs(url.query)
        if "name" in params:
            return Response(greet(params["name"][0]))
        route = getattr(self, "on_" + url.path.strip("/").replace("-", "_"), None)
        if url.path == "/favicon.ico":
            return Response("")
        return await route(request) if route else Response("Hello world!")

    async def on_name(self, request):
        name = (await request.json())["name"]
        return Response(greet(name))

    async def on_log(self, request):
        console.log("console.log from Python!")
        logger.error("error message from Python!")
        print("print() from Python!")
        return Response("We're testing logging!", status=HTTPStatus.ACCEPTED)

    async def on_headers(self, request):
        names = [name for name, _ in request.headers.items()]
        has = "user-agent" in request.headers
        headers = Headers.new({"x-seen": str(len(names))}.items())
        headers.set("x-agent", request.headers["user-agent"] if has else "none")
        headers.append("set-cookie", "a=1")
        headers.append("set-cookie", "b=2")
        return Response("see the headers", headers=headers)

    async def on_redirect(self, request):
        return Response.redirect("https://example.com/there", 301)

    async def on_url(self, request):
        url = URL.new(request.url)
        params = url.searchParams
        return Response.json(
            {
                "pathname": url.pathname,
                "host": url.hostname,
                "q": params.get("q"),
                "has": params.has("none"),
                "all": list(params.getAll("q")),
                "sorted": sorted([list(pair) for pair in params]),
                "late": Date.now() > 0,
            }
        )

    async def on_both(self, request):
        one, two = await asyncio.gather(fetch("https://api.test/one"), fetch("https://api.test/two"))
        return Response.json({"one": await one.json(), "two": await two.text()})

    async def on_forward(self, request):
        asked = Request(request, headers={"x-forwarded": "yes"})
        answer = await fetch(
            "https://api.test/echo", method=HTTPMethod.POST, body=await asked.text(), headers={"X-N": 7}
        )
        answer.raise_for_status()
        return Response(answer.body, status=201, headers=[("x-a", "1"), ("x-a", "2")])

    async def on_cors(self, request):
        if request.method == HTTPMethod.OPTIONS:
            return Response(None, status=204, headers={"Access-Control-Allow-Origin": "*"})
        return Response.json({"method": request.method, "cf": None if request.cf is None else "some"})
