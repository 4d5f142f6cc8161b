"""A board that everybody sees change: Starlette with templates, sessions and static files, and Starlette inside each board."""

import asyncio
import functools
import json
from pathlib import Path
from urllib.parse import unquote, urlsplit

import asgi
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import JSONResponse, RedirectResponse, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates
from workers import DurableObject, WorkerEntrypoint

HERE = Path(__file__).parent
templates = Jinja2Templates(directory=HERE / "templates")


async def messages(request):
    return JSONResponse(await request.scope["env"].ctx.storage.get("messages") or [])


async def add(request):
    board = request.scope["env"]
    said = await request.json()
    kept = [*(await board.ctx.storage.get("messages") or [])[-99:], said]
    await board.ctx.storage.put("messages", kept)
    for waiting in board.readers:
        waiting.put_nowait(said)
    return JSONResponse(said, status_code=201)


async def live(request):
    board = request.scope["env"]
    waiting = asyncio.Queue()

    async def events():
        board.readers.add(waiting)
        try:
            yield "retry: 1000\n\n"
            while True:
                yield f"data: {json.dumps(await waiting.get())}\n\n"
        finally:
            board.readers.discard(waiting)

    return StreamingResponse(events(), media_type="text/event-stream")


board_app = Starlette(routes=[Route("/said", messages), Route("/said", add, methods=["POST"]), Route("/live", live)])


class Board(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.readers = set()

    async def fetch(self, request):
        return await asgi.fetch(board_app, request, self)


def board_of(request):
    return request.scope["env"].BOARDS.getByName(request.path_params["name"])


async def page(request):
    found = await (await board_of(request).fetch("http://board/said")).json()
    return templates.TemplateResponse(request, "board.html", {**request.path_params, "messages": found})


async def say(request):
    async with request.form() as form:
        request.session["who"] = form.get("who") or request.session.get("who") or "somebody"
        said = {"who": request.session["who"], "text": form["text"]}
    await board_of(request).fetch("http://board/said", method="POST", body=json.dumps(said))
    return RedirectResponse(request.url_for("page", name=request.path_params["name"]), status_code=303)


routes = [
    Route("/boards/{name}", page, name="page"),
    Route("/boards/{name}", say, methods=["POST"]),
    Mount("/static", StaticFiles(directory=HERE / "static")),
]


@functools.cache
def make_app(secret):
    return Starlette(routes=routes, middleware=[Middleware(SessionMiddleware, secret_key=secret)])


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        match unquote(urlsplit(request.url).path).split("/"):
            case ["", "boards", name, "live"]:
                return await self.env.BOARDS.getByName(name).fetch("http://board/live")
        return await asgi.fetch(make_app(self.env.SECRET_KEY), request, self.env)
