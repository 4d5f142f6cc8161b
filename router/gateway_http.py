"""The front door as an ASGI application: a request becomes the Worker's, its response goes back, errors become statuses.

What always holds: the gateway keeps no state; a client that disconnects cancels the work done for it; bodies stream both ways
with the server's back-pressure; what an exception says stays in the log unless in development.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import cast

from ..bindings.assets import AssetFiles
from ..engine.blocking import run_worker
from ..engine.calls import REQUEST_ID
from ..engine.errors import DeadlineExceeded, PerdureError, ProgramBug, QuotaExceeded, ValueTooLarge
from ..engine.http import Body, HttpRequest, HttpResponse
from ..engine.limits import BODY_INLINE_BYTES_MAX
from ..engine.tracebacks import shown
from ..engine.upgrades import checked
from ..sdk.entrypoints import ExecutionContext
from ..sdk.request import Request
from ..sdk.response import Response
from ..sdk.worker_handlers import call_handler
from .encoded_bodies import as_encoded
from .logs import Report

REQUEST_BYTES_MAX = 100 << 20  # spec/limits.md: the request body of the reference's plans
_WATCH_S = 0.25
_RETRY_AFTER_S = "1"

Message = MutableMapping[str, object]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Accept = Callable[[HttpResponse], Awaitable[None]]
"""Serves the socket of a response, to the client that has asked for one."""
ACCEPT = "perdure.accept"
"""Of a request for a WebSocket: its `Accept`, in the scope."""


class ClientGone(Exception):
    """The client closed the connection."""


class _Running:
    """A request being answered, for the watch of disconnects."""

    __slots__ = ("began_s", "reading", "receive", "task", "watcher")

    def __init__(self, task: asyncio.Task[object], receive: Receive, reading: bool, began_s: float) -> None:
        self.task = task
        self.receive = receive
        self.reading = reading
        """The body is still being read from the client: that tells of a disconnect too."""
        self.began_s = began_s
        self.watcher: asyncio.Task[None] | None = None


class Front:
    """The ASGI application. `make_worker(context)` makes the program's `Default` for one request; None: there is none.

    `assets`: files that are served beside it.
    """

    def __init__(
        self,
        make_worker: Callable[[ExecutionContext], object] | None,
        loop: asyncio.AbstractEventLoop,
        report: Report,
        *,
        development: bool,
        host: str,
        assets: AssetFiles | None = None,
    ) -> None:
        self.requests = 0
        self.closing = False
        """Each connection is to end with its next response."""
        self._make_worker = make_worker
        self._assets = assets
        self._loop = loop
        self._report = report
        self._development = development
        self._host = host
        self._running: set[_Running] = set()
        self._contexts: set[ExecutionContext] = set()
        self._draining: asyncio.Future[None] = loop.create_future()
        self._prefix = secrets.token_hex(4)
        self._timer = loop.call_later(_WATCH_S, self._watch)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if self.closing:
            send = _closing(send)
        if scope["type"] != "http":
            raise RuntimeError(f"the gateway does not speak {scope['type']}")
        self.requests += 1
        headers = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in cast("list[tuple[bytes, bytes]]", scope["headers"])
        ]
        request_id = f"{self._prefix}-{self.requests:x}"
        host, length, chunked = self._host, 0, False
        for name, value in headers:
            if name == "host":
                host = value
            elif name == "content-length":
                length = int(value) if value.isdigit() else 0
            elif name == "transfer-encoding":
                chunked = True
            elif name == "x-request-id" and value.isascii() and len(value) <= 100:
                request_id = value
        REQUEST_ID.set(request_id)
        if length > REQUEST_BYTES_MAX:
            await self._failed(
                send, ValueTooLarge(f"the body is {length} bytes, the limit is {REQUEST_BYTES_MAX}"), request_id
            )
            return
        query = cast("bytes", scope["query_string"])
        path = cast("bytes", scope["raw_path"]).decode("latin-1")
        url = f"{scope['scheme']}://{host}{path}{'?' + query.decode('latin-1') if query else ''}"
        running = _Running(
            cast("asyncio.Task[object]", asyncio.current_task()), receive, length > 0 or chunked, self._loop.time()
        )
        self._running.add(running)
        try:
            body: Body = None
            if chunked or length > BODY_INLINE_BYTES_MAX:
                body = _incoming(running)
            elif length:
                body = b"".join([chunk async for chunk in _incoming(running)])
            request = HttpRequest(cast("str", scope["method"]), url, headers, body)
            accept = cast("Accept | None", scope.get(ACCEPT))
            await run_worker(self._answer(request, send, request_id, accept))
        except ClientGone:
            return
        except asyncio.CancelledError:
            if running.watcher is None or not running.watcher.done():
                raise
            cast("asyncio.Task[object]", asyncio.current_task()).uncancel()  # ours: the client is gone
        finally:
            self._running.discard(running)
            if running.watcher is not None:
                running.watcher.cancel()

    async def _answer(self, request: HttpRequest, send: Send, request_id: str, accept: Accept | None) -> None:
        try:
            response = await self._work(request)
            if response.web_socket is not None:
                if accept is None:
                    await _plain(send, 400, "a request for a WebSocket needs the header Connection: Upgrade\n")
                else:
                    await accept(response)
                return
            if any(name.lower() == "content-encoding" for name, _ in response.headers):
                response = await as_encoded(response)
        except (ClientGone, asyncio.CancelledError):
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            await self._failed(send, error, request_id)
            return
        await self._send(response, send, request_id)

    async def _work(self, request: HttpRequest) -> HttpResponse:
        if self._assets is not None:
            found = await self._from_assets(self._assets, request)
            if found is not None:
                return found
        if self._make_worker is None:
            raise ProgramBug(
                "Handler does not export a fetch() function: the program has no `Default` WorkerEntrypoint",
                hint="declare `class Default(WorkerEntrypoint)` with `async def fetch(self, request)` in the main module",
            )
        context = ExecutionContext(self._report)
        worker = self._make_worker(context)
        try:
            result = await call_handler(worker, "fetch", Request.from_wire(request))
        finally:
            if context.tasks:
                self._contexts.add(context)
        if not isinstance(result, Response):
            raise ProgramBug(
                f"fetch() must return a Response, it returned {type(result).__name__}",
                name="TypeError",
                hint="return Response(…) on each way through it",
            )
        return checked(request, result.to_wire())

    async def upgrade(self, request: HttpRequest) -> HttpResponse:
        """The program's answer to a request for a WebSocket: with `web_socket`, or an ordinary one. Raises what it raises."""
        return await self._work(request)

    async def _from_assets(self, assets: AssetFiles, request: HttpRequest) -> HttpResponse | None:
        """What is answered without the Worker."""
        if self._make_worker is None:
            return await assets.answer(request)
        return None if assets.worker_first(request.url) else await assets.before_worker(request)

    async def _send(self, response: HttpResponse, send: Send, request_id: str) -> None:
        headers = [(name.lower().encode("latin-1"), _raw(value)) for name, value in response.headers]
        body = response.body
        if body is None or isinstance(body, bytes):
            data = body or b""
            if data:
                headers = [header for header in headers if header[0] != b"content-length"]
            if not any(name == b"content-length" for name, _ in headers) and response.status not in (204, 304):
                headers.append((b"content-length", b"%d" % len(data)))
            await send(_start(response, headers))
            await send({"type": "http.response.body", "body": data})
            return
        await send(_start(response, headers))
        if any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers):
            body = self._until_drained(body)
        try:
            async for chunk in body:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except Exception as error:
            # The status has left already: breaking the connection is the only way to say that the body is not whole.
            self._report("error", "response_broke_off", {"request_id": request_id, "error": str(error)})
            raise ConnectionAbortedError("the response's body broke off") from error
        finally:
            closer = getattr(body, "aclose", None)
            if closer is not None:
                await closer()
        await send({"type": "http.response.body", "body": b""})

    def drain(self) -> None:
        """No new requests will come. Event streams end now: they last as long as they are let, and their clients come back."""
        if not self._draining.done():
            self._draining.set_result(None)

    async def _until_drained(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        try:
            while not self._draining.done():
                step = asyncio.ensure_future(_step(body))
                try:
                    await asyncio.wait((step, self._draining), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    if not step.done():
                        step.cancel()
                        await asyncio.wait((step,))  # a generator can be closed only when it does not run
                if step.cancelled() or (chunk := step.result()) is None:
                    return
                yield chunk
        finally:
            closer = getattr(body, "aclose", None)
            if closer is not None:
                await closer()

    # ------------------------------------------------------------------ errors
    async def _failed(self, send: Send, error: BaseException, request_id: str) -> None:
        """Tell the client as much as it may know; the log gets the rest."""
        status = status_of(error)
        error_id = secrets.token_hex(8)
        fields: dict[str, object] = {"error_id": error_id, "request_id": request_id, "status": status}
        if isinstance(error, PerdureError):
            told = {"error": error.message, "hint": error.hint, "object_id": error.durableObjectId}
            if status == 500 and "\n" in error.message:
                told["error"] = None  # an object's traceback: it is in ours
            fields |= {key: value for key, value in told.items() if value}
        if status == 500:
            fields["traceback"] = shown(error)
        self._report("error" if status == 500 else "warning", "request_failed", fields)
        if status == 500:
            text = "Internal Server Error\n"
        else:
            text = f"{error.message if isinstance(error, PerdureError) else error}\n"
        text += f"error id: {error_id}\n"
        if self._development and status == 500:
            text += "\n" + shown(error)
        extra = [(b"retry-after", _RETRY_AFTER_S.encode())] if status == 503 else []
        await _plain(send, status, text, extra)

    # ------------------------------------------------------------------ disconnects
    def _watch(self) -> None:
        """Requests that take longer than a moment are watched, so that short ones cost nothing."""
        before = self._loop.time() - _WATCH_S
        for running in self._running:
            if running.watcher is None and not running.reading and running.began_s < before:
                running.watcher = self._loop.create_task(self._watch_one(running), name="disconnect watch")
        self._contexts = {context for context in self._contexts if context.tasks}
        self._timer = self._loop.call_later(_WATCH_S, self._watch)

    async def _watch_one(self, running: _Running) -> None:
        while (await running.receive())["type"] != "http.disconnect":
            continue
        if running in self._running:
            running.task.cancel()

    async def close(self, seconds: float) -> None:
        """Wait, up to a bound, for what `waitUntil` was given."""
        self._timer.cancel()
        tasks = [task for context in self._contexts for task in context.tasks]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)


def status_of(error: BaseException) -> int:
    """The status that the HTTP client sees (table in docs/http-errors.md)."""
    if not isinstance(error, PerdureError):
        return 500
    if isinstance(error, DeadlineExceeded):
        return 504
    if isinstance(error, QuotaExceeded):
        return 429
    if error.overloaded or error.durableObjectReset:
        return 503
    if error.remote:
        return 500
    if isinstance(error, ValueTooLarge):
        return 413
    return 503 if error.retryable else 500


def _raw(value: str) -> bytes:
    """A header's value on the wire: what Latin-1 lacks as UTF-8, as everybody reads it."""
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode("utf-8", "replace")


async def _step(body: AsyncIterator[bytes]) -> bytes | None:
    """The next chunk, None at the end."""
    return await anext(body, None)


async def _incoming(running: _Running) -> AsyncIterator[bytes]:
    """The request's body as it arrives. Raises ClientGone, ValueTooLarge."""
    total = 0
    while True:
        message = await running.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = cast("bytes", message.get("body", b""))
        total += len(chunk)
        if total > REQUEST_BYTES_MAX:
            raise ValueTooLarge(f"the body is longer than {REQUEST_BYTES_MAX} bytes")
        more = message.get("more_body", False)
        if not more:
            running.reading = False
        if chunk:
            yield chunk
        if not more:
            return


def _closing(send: Send) -> Send:
    """The response says that its connection ends with it."""

    async def send_closing(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [
                *(
                    header
                    for header in cast("list[tuple[bytes, bytes]]", message["headers"])
                    if header[0] != b"connection"
                ),
                (b"connection", b"close"),
            ]
        await send(message)

    return send_closing


def _start(response: HttpResponse, headers: list[tuple[bytes, bytes]]) -> Message:
    """The status text is beside what ASGI knows: HTTP servers write their own, worlds of tests have the program's."""
    start: Message = {"type": "http.response.start", "status": response.status, "headers": headers}
    if response.status_text:
        start["status_text"] = response.status_text
    return start


async def _plain(send: Send, status: int, text: str, extra: list[tuple[bytes, bytes]] | None = None) -> None:
    body = text.encode()
    headers = [(b"content-type", b"text/plain;charset=UTF-8"), (b"content-length", b"%d" % len(body)), *(extra or [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
