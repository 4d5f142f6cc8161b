"""WebSockets that programs open to the world outside, and sockets of ASGI applications, in a world."""

from __future__ import annotations

import pytest
from perdure.engine.durable import DurableObject
from perdure.sdk import asgi, fetching
from perdure.sdk.entrypoints import WorkerEntrypoint
from perdure.sdk.outgoing_sockets import connect
from perdure.sdk.response import Response
from perdure.testing import ConnectionRefused, World
from perdure.testing.virtual import run

fastapi = pytest.importorskip("fastapi")

app = fastapi.FastAPI()


@app.websocket("/talk/{name}")
async def talk(socket: fastapi.WebSocket, name: str):
    await socket.accept(subprotocol="b" if "b" in socket.scope["subprotocols"] else None)
    try:
        while True:
            text = await socket.receive_text()
            if text == "close":
                await socket.close(4003, "as asked")
                return
            await socket.send_text(f"{name}: {text}")
    except fastapi.WebSocketDisconnect as gone:
        ENDS.append(gone.code)


@app.websocket("/private")
async def private(socket: fastapi.WebSocket):
    raise fastapi.WebSocketException(1008)


@app.websocket("/counts")
async def counts(socket: fastapi.WebSocket):
    await socket.accept()
    ctx = socket.scope["env"].ctx
    while True:
        await socket.receive_text()
        count = (await ctx.storage.get("count") or 0) + 1
        await ctx.storage.put("count", count)
        await socket.send_json({"count": count})


ENDS: list[int] = []


class Inside(DurableObject):
    """An application inside an object."""

    async def fetch(self, request):
        return await asgi.fetch(app, request, self)


class Dialler(DurableObject):
    """Opens sockets to the world outside."""

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.heard = []

    async def by_fetch(self, text):
        response = await fetching.fetch("https://outside/echo", headers={"Upgrade": "websocket"})
        self.socket = response.web_socket
        self.socket.addEventListener("message", lambda event: self.heard.append(event.data))
        self.socket.addEventListener("close", lambda event: self.heard.append([event.code, event.reason]))
        self.socket.accept()
        self.socket.send(text)
        return response.status

    async def by_url(self, url, text):
        self.socket = connect(url)
        self.socket.onopen = lambda event: self.socket.send(text)
        self.socket.onmessage = self.keep
        self.socket.onerror = lambda event: self.heard.append("error")
        self.socket.onclose = lambda event: self.heard.append([event.code, self.socket.readyState])
        return self.socket.readyState

    async def keep(self, event):
        await self.ctx.storage.put("heard", event.data)
        self.heard.append(event.data)

    async def what(self):
        return self.heard

    async def close(self):
        self.socket.close(1000, "done")

    async def forget(self):
        await fetching.fetch("https://outside/echo", headers={"Upgrade": "websocket"})

    async def fail(self):
        self.ctx.abort("enough")


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        if "/object/" in request.url:
            return await self.env.Inside.getByName("a").fetch(
                request.url.replace("/object/", "/"), headers=request.headers
            )
        if request.url.endswith("/outside"):
            return await fetching.fetch("https://outside/echo", headers={"Upgrade": "websocket"})
        if request.url.endswith("/copied"):
            answer = await self.env.Inside.getByName("a").fetch("http://x/counts", headers=request.headers)
            return Response(answer.body, status=answer.status, headers={"x-mine": "1"}, web_socket=answer.webSocket)
        return await asgi.fetch(app, request, self.env)


class Echo:
    """What is outside: tells what it heard."""

    def __init__(self) -> None:
        self.ends: list[object] = []

    def answer(self, request):
        from perdure.engine.web_socket_pair import WebSocketPair

        assert request.headers["upgrade"] == "websocket"
        client, server = WebSocketPair()
        server.addEventListener("message", lambda event: server.send(f"echo {event.data}"))
        server.addEventListener("close", lambda event: self.ends.append((event.code, event.reason)))
        server.accept()
        return Response(None, status=101, web_socket=client)


def in_world(test):
    """With a world of the classes above, and what is outside."""

    def inside():
        async def go():
            async with World([Inside, Dialler, Default]) as world:
                echo = Echo()
                world.on_fetch("https://outside/echo", echo.answer)
                world.on_fetch("https://outside/refuses", lambda request: 403)
                await test(world, echo)

        run(go())

    inside.__name__ = test.__name__
    return inside


def dialler(world):
    return world.namespace("Dialler").getByName("a")


@in_world
async def test_fetch_with_an_upgrade_from_an_object(world, echo):
    object = dialler(world)
    assert await object.by_fetch("hello") == 101
    await world.settle()
    assert await object.what() == ["echo hello"]
    await world.advance(hours=1)
    assert world.state(object) != "cold"  # it is awake as long as it has an outgoing socket
    await object.close()
    await world.settle()
    assert echo.ends == [(1000, "done")]
    await world.advance(hours=1)
    assert world.state(object) == "cold"


@in_world
async def test_a_socket_by_its_url_from_an_object(world, echo):
    object = dialler(world)
    assert await object.by_url("wss://outside/echo", "hello") == 0
    await world.settle()
    assert await object.what() == ["echo hello"]
    assert await world.storage(object).get("heard") == "echo hello"


@in_world
async def test_a_socket_by_its_url_that_is_refused(world, echo):
    object = dialler(world)
    for url in ("wss://outside/refuses", "wss://nowhere/"):
        await object.by_url(url, "hello")
        await world.settle()
    assert await object.what() == ["error", [1006, 3]] * 2


@in_world
async def test_outgoing_sockets_end_with_their_object(world, echo):
    object = dialler(world)
    await object.by_fetch("hello")
    with pytest.raises(Exception, match="enough"):
        await object.fail()
    await world.settle()
    assert [code for code, _ in echo.ends] == [1006]
    object = dialler(world)
    await object.forget()
    with pytest.raises(Exception, match="enough"):
        await object.fail()
    await world.settle()
    assert [code for code, _ in echo.ends] == [1006, 1006]


@in_world
async def test_a_socket_from_outside_is_passed_on_by_the_worker(world, echo):
    client = await world.connect("/outside")
    client.send("hello")
    assert await client.receive() == "echo hello"
    client.close(3000, "bye")
    assert (await client.closed())[0] == 3000
    assert echo.ends == [(3000, "bye")]


@in_world
async def test_fastapi_in_a_worker(world, echo):
    ENDS.clear()
    client = await world.connect("/talk/ada", protocols=["a", "b"])
    assert client.protocol == "b"
    client.send("hello")
    assert await client.receive() == "ada: hello"
    client.close(4001, "bye")
    await client.closed()
    await world.settle()
    assert ENDS == [4001]
    other = await world.connect("/talk/bob")
    other.send("close")
    assert await other.closed() == (4003, "as asked")
    with pytest.raises(ConnectionRefused) as refused:
        await world.connect("/private")
    assert refused.value.response.status == 403


@in_world
async def test_fastapi_inside_an_object(world, echo):
    client = await world.connect("/object/counts")
    for number in (1, 2):
        client.send("more")
        assert await client.receive() == f'{{"count":{number}}}'
    object = world.namespace("Inside").getByName("a")
    await world.advance(minutes=10)
    assert world.state(object) != "cold"
    await world.crash(object)
    assert (await client.closed())[0] == 1006
    again = await world.connect("/object/counts")
    again.send("more")
    assert await again.receive() == '{"count":3}'


@in_world
async def test_a_worker_answers_with_the_socket_and_headers_of_its_own(world, echo):
    client = await world.connect("/copied")
    assert client.response.headers["x-mine"] == "1"
    client.send("more")
    assert await client.receive() == '{"count":1}'
