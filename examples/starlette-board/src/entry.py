"""A board that everybody sees change: Starlette with templates, sessions and static files, and Starlette inside each board."""

import asyncio
import json
from pathlib import Path

import asgi
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates
from workers import DurableObject, WorkerEntrypoint, env

HERE = Path(__file__).parent
templates = Jinja2Templates(directory=HERE / "templates")


# ---------------------------------------------------------------------- inside a board
async def messages(request):
    board = request.scope["env"]
    return JSONResponse(await board.ctx.storage.get("messages") or [])


async def add(request):
    board = request.scope["env"]
    said = await request.json()
    kept = (await board.ctx.storage.get("messages") or [])[-99:] + [said]
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


board_app = Starlette(routes=[Route("/messages", messages), Route("/messages", add, methods=["POST"]), Route("/live", live)])


class Board(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.readers = set()

    async def fetch(self, request):
        return await asgi.fetch(board_app, request, self)


# ---------------------------------------------------------------------- the Worker
def board_of(request):
    return request.scope["env"].BOARDS.getByName(request.path_params["name"])


async def page(request):
    found = await (await board_of(request).fetch("http://board/messages")).json()
    name = request.path_params["name"]
    return templates.TemplateResponse(request, "board.html", {"name": name, "messages": found})


async def say(request):
    async with request.form() as form:
        request.session["who"] = form.get("who") or request.session.get("who") or "somebody"
        said = {"who": request.session["who"], "text": form["text"]}
    await board_of(request).fetch("http://board/messages", method="POST", body=json.dumps(said))
    return RedirectResponse(request.url_for("page", name=request.path_params["name"]), status_code=303)


async def whoami(request):
    return PlainTextResponse(request.session.get("who", "nobody"))


app = Starlette(
    routes=[
        Route("/boards/{name}", page, name="page"),
        Route("/boards/{name}", say, methods=["POST"]),
        Route("/whoami", whoami),
        Mount("/static", StaticFiles(directory=HERE / "static")),
    ],
    middleware=[Middleware(SessionMiddleware, secret_key=env.SECRET_KEY)],
)


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        path = request.url.split("/", 3)[3]
        if path.startswith("boards/") and path.endswith("/live"):
            return await self.env.BOARDS.getByName(path.split("/")[1]).fetch("http://board/live")
        return await asgi.fetch(app, request, self.env)
