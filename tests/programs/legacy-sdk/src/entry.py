from workers import Response, handler


@handler
async def on_fetch(request, env):
    values = request.headers.get_all("X-Custom")
    return Response(f"{env.WORD} {request.method} {values}")
