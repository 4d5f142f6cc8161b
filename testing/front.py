"""The front door of a world: requests for the program's Worker, without HTTP between them."""

from __future__ import annotations

import asyncio
import json as json_module
from collections.abc import Mapping, Sequence
from contextvars import Context
from dataclasses import replace
from typing import cast
from urllib.parse import urlsplit

from ..bindings.kinds import environments
from ..bindings.surroundings import Surroundings
from ..engine.blocking import run_worker
from ..engine.errors import PerdureError
from ..engine.http import HttpRequest, HttpResponse
from ..router.gateway_http import Front, Message
from ..sdk.entrypoints import ExecutionContext
from ..sdk.programs import Programs
from ..sdk.request import Request
from ..sdk.response import Response
from ..sdk.scheduled import ScheduledController, run_scheduled
from .clients import Client, ConnectionRefused
from .network import Caller, Network
from .process import Report
from .virtual import VirtualLoop, in_background

HOST = "localhost"


class FrontDoor:
    """A gateway: the same front as in a gateway process, called with what HTTP would bring."""

    def __init__(self, programs: Programs, network: Network, loop: VirtualLoop, report: Report) -> None:
        self._loop = loop
        self._network = network
        caller = Caller(network, None)
        around = Surroundings(caller, loop, report, "", caller.loopback())
        environments(programs, around)
        name = programs.first.name
        self._report = report
        self._make_worker = around.doors[name].maker()
        self.makers = {program: door.maker() for program, door in around.doors.items()}
        """How each program's Worker is made."""
        self._front: Front = in_background(
            Front,
            self._make_worker,
            loop,
            report,
            development=True,
            host=HOST,
            assets=around.assets.get(name),
        )
        self._requests = 0

    async def fetch(self, url: str, options: dict[str, object]) -> Response:
        """`url`: absolute, or a path. `options`: of a Request, and `json`."""
        if "json" in options:
            options = {**options, "body": json_module.dumps(options["json"])}
            options.setdefault("method", "POST")
            del options["json"]
            headers = dict(cast("dict[str, str]", options.get("headers") or {}))
            options["headers"] = {"content-type": "application/json", **headers}
        wire = Request(_absolute(url), **options).to_wire()
        body = wire.body
        if body is not None and not isinstance(body, bytes):
            body = b"".join([chunk async for chunk in body])
        parts = urlsplit(wire.url)
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in wire.headers]
        if body:
            headers.append((b"content-length", str(len(body)).encode()))
        scope: Message = {
            "type": "http",
            "method": wire.method,
            "scheme": parts.scheme,
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "headers": [(b"host", parts.netloc.encode()), *headers],
        }
        return await self._request(scope, body or b"")

    async def connect(self, url: str, headers: Mapping[str, str], protocols: Sequence[str]) -> Client:
        """A request for a WebSocket. Raises ConnectionRefused, and what the Worker raises."""
        pairs = [*headers.items(), ("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-version", "13")]
        if protocols:
            pairs.append(("sec-websocket-protocol", ", ".join(protocols)))
        made = Request(_absolute(url), headers=pairs).to_wire()
        request = HttpRequest("GET", made.url, [("host", urlsplit(made.url).netloc), *made.headers])
        self._network.story.tell("connect", made.url)
        response = await self._loop.create_task(
            run_worker(self._front.upgrade(request)), name=f"connect {made.url}", context=Context()
        )
        client = Client(self._loop, Response.from_wire(replace(response, web_socket=None)))
        socket = response.web_socket
        if socket is None:
            raise ConnectionRefused(client.response)
        ref = socket.give()
        sink = client.sink()
        line = socket.take(sink) if ref is None else self._network.holding_of(None).open(ref, sink)
        return client.attach(line)

    async def scheduled(self, cron: str, scheduled_ms: int) -> None:
        """A run of the Worker's `scheduled`; raises what it raises. What it hands to `waitUntil` goes on after this."""
        context = ExecutionContext(self._report)
        worker = None if self._make_worker is None else self._make_worker(context)
        self._network.story.tell("scheduled", cron)
        run = run_worker(run_scheduled(worker, ScheduledController(cron, scheduled_ms)))
        await self._loop.create_task(run, name=f"scheduled {cron}", context=Context())

    async def _request(self, scope: Message, body: bytes) -> Response:
        self._requests += 1
        number = self._requests
        done: asyncio.Future[Response] = self._loop.create_future()
        self._network.story.tell("request", f"#{number}", method=scope["method"], path=_text(scope["raw_path"]))

        def arrive() -> None:
            task = self._loop.create_task(self._answer(scope, body), name=f"request {number}", context=Context())
            task.add_done_callback(leave)

        def leave(task: asyncio.Task[Response]) -> None:
            self._network.travel(("response", number), "reply", finish, task)

        def finish(task: asyncio.Task[Response]) -> None:
            if done.done():
                return
            if task.cancelled():
                done.set_exception(PerdureError("the request was cancelled"))
            elif task.exception() is not None:
                done.set_exception(cast("BaseException", task.exception()))
            else:
                self._network.story.tell("response", f"#{number}", status=task.result().status)
                done.set_result(task.result())

        self._network.travel(("request", number), "request", arrive)
        return await done

    async def _answer(self, scope: Message, body: bytes) -> Response:
        sent: list[Message] = []
        asked = False

        async def receive() -> Message:
            nonlocal asked
            if asked:
                await self._loop.create_future()  # the client stays
            asked = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        await self._front(scope, receive, send)
        start = sent[0]
        pairs = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in cast("list[tuple[bytes, bytes]]", start["headers"])
        ]
        content = b"".join(cast("bytes", message.get("body", b"")) for message in sent[1:])
        status, text = cast("int", start["status"]), cast("str", start.get("status_text", ""))
        return Response.from_wire(HttpResponse(status, pairs, content or None, text))

    async def close(self) -> None:
        await self._front.close(0.0)


def _absolute(url: str) -> str:
    return url if "://" in url else f"http://{HOST}{url}"


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
