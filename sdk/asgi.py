"""`asgi`: applications of FastAPI, Starlette and their kind, in a Worker or inside an object (spec: sdk, asgi).

    async def fetch(self, request):
        return await asgi.fetch(app, request, self.env)

What always holds: the application's code, also that of tasks which it begins, runs in the event that called `fetch` (inside an
object: in its turns), and what is left of it after the response goes on as with `waitUntil`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import FunctionType
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from ..engine.interruption import entry
from ..engine.upgrades import is_upgrade, offered
from .asgi_exchange import Exchange
from .asgi_lifespan import LOG, VERSIONS, Application, Lifespan, Message
from .asgi_socket import SocketExchange
from .entrypoints import WAIT_UNTIL_S_MAX, WorkerEntrypoint
from .event_code import adopted
from .incoming import Incoming, headers_of, method_of, split
from .response import Response
from .wait_until import keep

if TYPE_CHECKING:
    from .request import Request

__all__ = ["entrypoint", "fetch", "request_to_scope", "run_in_background", "websocket"]


def request_to_scope(
    request: Incoming, env: object, ws: bool = False, state: dict[str, object] | None = None
) -> dict[str, Any]:
    """The connection scope of a request. Raises ValueError for a URL that is not absolute."""
    parts = split(request)
    path = parts.path or "/"
    scope: dict[str, Any] = {
        "type": "websocket" if ws else "http",
        "asgi": dict(VERSIONS),
        "http_version": "1.1",
        "method": method_of(request),
        "scheme": parts.scheme,
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": parts.query.encode(),
        "headers": [
            (name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers_of(request)
        ],
        "env": env,
    }
    if ws:
        del scope["method"]
        scope["scheme"] = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
        scope["subprotocols"] = offered(headers_of(request))
        scope["extensions"] = {"websocket.http.response": {}}
    if state is not None:
        scope["state"] = dict(state)
    return scope


async def fetch(app: Application, request: Request | Incoming, env: object, ctx: object = None) -> Response:
    """The application's response to one request. Its body streams when the application sends it in parts.

    A request that asks for a WebSocket is the application's too: see `websocket`.
    `ctx` is accepted as in the reference; not needed. Raises what the application raises before it answers, and RuntimeError when
    it does not answer.
    """
    if is_upgrade(headers_of(request)):
        return await websocket(app, request, env)
    loop = asyncio.get_running_loop()
    waiting: asyncio.Future[Response] = loop.create_future()
    exchange, lifespan = Exchange(request, waiting), Lifespan(app)
    task = loop.create_task(_serve(app, request, env, exchange, lifespan), name="asgi request")
    keep(task)
    try:
        return await waiting
    except asyncio.CancelledError:
        task.cancel()  # who asked has gone
        raise


async def _serve(app: Application, request: Incoming, env: object, exchange: Exchange, lifespan: Lifespan) -> None:
    """The whole of one request, with the application's lifespan around it."""
    try:
        async with asyncio.timeout(None) as bound:
            exchange.on_finished(lambda: _bound(bound))
            await _start_and_call(app, request, env, exchange, lifespan)
    except TimeoutError as error:
        LOG.error("an ASGI application was not done %g s after its response", WAIT_UNTIL_S_MAX, exc_info=error)
    finally:
        exchange.abandon()
        lifespan.abandon()


def _bound(bound: asyncio.Timeout) -> None:
    """What is left after the response has the time that `waitUntil` gives."""
    if not bound.expired():
        bound.reschedule(asyncio.get_running_loop().time() + WAIT_UNTIL_S_MAX)


async def _start_and_call(
    app: Application, request: Incoming, env: object, exchange: Exchange, lifespan: Lifespan
) -> None:
    failure: Exception | None = None
    try:
        await lifespan.startup()
        await _call(app, request_to_scope(request, env, state=lifespan.state), exchange)
    except Exception as error:
        failure = error
    if failure is not None and exchange.answered and not exchange.failed(failure):
        LOG.error("Exception in ASGI application after response started", exc_info=failure)
    try:
        await lifespan.shutdown()
    except Exception as error:  # the response is what it is
        LOG.error("Exception in ASGI lifespan application", exc_info=error)
    if failure is not None and not exchange.answered:
        exchange.failed(failure)


async def _call(app: Application, scope: Message, exchange: Exchange | SocketExchange) -> None:
    with adopted():
        await app(scope, exchange.receive, exchange.send)
    exchange.returned()


def run_in_background(coroutine: Coroutine[Any, Any, object]) -> asyncio.Task[None]:
    """Let it go on beside the event, as with `waitUntil`; what it raises is logged by the logger `asgi`."""

    async def run() -> None:
        try:
            await coroutine
        except Exception as error:
            LOG.error("Exception in a background task", exc_info=error)

    task = asyncio.get_running_loop().create_task(run(), name="asgi background")
    keep(task)
    return task


async def websocket(app: Application, request: Request | Incoming, env: object = None) -> Response:
    """The application's answer to a request for a WebSocket: one with the client's end when it accepts.

    The application goes on for as long as the socket is open; inside an object it keeps that awake. Raises what it raises
    before it answers, RuntimeError when it does not answer.
    """
    loop = asyncio.get_running_loop()
    waiting: asyncio.Future[Response] = loop.create_future()
    exchange, lifespan = SocketExchange(waiting), Lifespan(app)
    task = loop.create_task(_serve_socket(app, request, env, exchange, lifespan), name="asgi socket")
    keep(task)
    try:
        return await waiting
    except asyncio.CancelledError:
        task.cancel()  # who asked has gone
        raise


async def _serve_socket(
    app: Application, request: Incoming, env: object, exchange: SocketExchange, lifespan: Lifespan
) -> None:
    try:
        await lifespan.startup()
        await _call(app, request_to_scope(request, env, True, lifespan.state), exchange)
    except Exception as error:
        if not exchange.failed(error):
            LOG.error("Exception in ASGI application, its WebSocket is closed with 1011", exc_info=error)
    finally:
        exchange.abandon()
    try:
        await lifespan.shutdown()
    except Exception as error:
        LOG.error("Exception in ASGI lifespan application", exc_info=error)
    finally:
        lifespan.abandon()


def entrypoint(app: Application) -> type[WorkerEntrypoint]:
    """A Worker that is the application: `Default = asgi.entrypoint(app)`."""

    class Default(WorkerEntrypoint):
        async def fetch(self, request: Request) -> Response:
            return await fetch(app, request, self.env, self.ctx)

    return Default


def __getattr__(name: str) -> object:
    """`asgi.env`: a dependency of FastAPI that gives the Worker's or object's `env`."""
    if name != "env":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import fastapi

    async def env(request: Any) -> object:
        return request.scope["env"]

    env.__annotations__ = {"request": fastapi.Request}
    return fastapi.Depends(env)


entry(cast("FunctionType", _call))
