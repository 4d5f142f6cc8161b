from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route
from workers import DurableObject, asgi


class Room(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS reactions (name TEXT PRIMARY KEY, count INTEGER)")

    async def add(self, name):
        sql = self.ctx.storage.sql
        row = sql.exec(
            "INSERT INTO reactions VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET count = count + 1 RETURNING count",
            name,
        ).one()
        return {"name": name, "count": row.count if not callable(row.count) else row["count"]}

    async def stats(self):
        return {row.name: row["count"] for row in self.ctx.storage.sql.exec("SELECT name, count FROM reactions")}


def stub(request):
    rooms = request.scope["env"].ROOMS
    return rooms.get(rooms.idFromName(request.path_params["room"]))


async def add(request):
    return JSONResponse(await stub(request).add(request.path_params["reaction"]), status_code=202)


async def stats(request):
    return JSONResponse(await stub(request).stats())


async def events(request):
    async def lines():
        for number in range(3):
            yield f"data: {number}\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream")


app = Starlette(
    routes=[
        Route("/rooms/{room}/reactions/{reaction}", add, methods=["POST"]),
        Route("/rooms/{room}/stats", stats),
        Route("/events", events),
    ]
)

Default = asgi.entrypoint(app)
