"""Workers called by code of the same process: bindings to services, and `ctx.exports`.

What always holds: a Worker runs in the process of its caller, outside of any object's turn and past its output gate; it gets
copies and gives copies, and none of its caller's context variables; what it raises arrives as from afar.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..engine.blocking import run_worker
from ..engine.calls import MadeCall
from ..engine.errors import DurableObjectAbort, InvalidArgument, MethodNotFound, PerdureError
from ..engine.http import HttpRequest, HttpResponse
from ..engine.outgoing import send_out
from ..engine.raised import as_remote
from ..engine.stubs import RESERVED_METHODS
from ..engine.subrequests import Counting, take_one
from ..engine.values import EMPTY_ARGS, JsDict, pack, unpack
from ..sdk.batches import MessageBatch
from ..sdk.doors import DEFAULT
from ..sdk.entrypoints import HANDLERS, ExecutionContext, WorkerEntrypoint
from ..sdk.request import Request
from ..sdk.response import Response
from ..sdk.scheduled import ScheduledController
from ..sdk.service import Target
from ..sdk.worker_handlers import call_handler
from .errands import Errands, Returning

if TYPE_CHECKING:
    from ..engine.exports import Parcel
    from .surroundings import End, Surroundings

T = TypeVar("T")
_NOT_METHODS = RESERVED_METHODS | set(HANDLERS)


class InProcessCalls:
    """Runs Workers of the programs that this process serves."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._errands = Errands()

    def fetch(self, target: Target, request: HttpRequest) -> Awaitable[HttpResponse]:
        if Counting.on and (error := take_one()) is not None:
            return _failed(error)
        begin = self._errands.begin
        files = self._around.assets.get(target.program) if target.entrypoint in (None, DEFAULT) else None
        if files is None:
            return send_out(lambda: begin(self._run(target, lambda worker: _fetch(worker, request, self._errands))))

        async def through() -> HttpResponse:
            if self._around.doors[target.program].maker() is None:
                return await files.answer(request)
            found = None if files.worker_first(request.url) else await files.before_worker(request)
            return found or await self._run(target, lambda worker: _fetch(worker, request, self._errands))

        return send_out(lambda: begin(through()))

    def call(self, target: Target, method: str, args: list[object]) -> Awaitable[object]:
        if Counting.on and (error := take_one()) is not None:
            return _failed(error)
        link = self._around.link
        payload, parcel = (pack(args), None) if link is None else link[0].exports.pack_arguments(args)

        async def run() -> object:
            if parcel is None:
                return await self._run(target, lambda worker: _call(worker, method, payload, parcel, link))
            with Returning(self._around.loop, parcel.returned):
                return await self._run(target, lambda worker: _call(worker, method, payload, parcel, link))

        return cast("MadeCall", send_out(lambda: self._errands.call(run()), parcel=parcel))

    def scheduled(self, target: Target, cron: str, scheduled_ms: int | None) -> Awaitable[JsDict]:
        at_ms = round(time.time() * 1000) if scheduled_ms is None else scheduled_ms
        controller = ScheduledController(cron, at_ms)

        async def run(worker: object) -> JsDict:
            await call_handler(worker, "scheduled", controller)
            return JsDict({"outcome": "ok", "noRetry": not controller.retries})

        return send_out(lambda: self._errands.begin(self._run(target, run)))

    def queue(self, target: Target, queue: str, messages: Sequence[object]) -> Awaitable[JsDict]:
        batch = MessageBatch.of_plain(queue, cast("Sequence[dict[str, object]]", unpack(pack(list(messages)))))

        async def run(worker: object) -> JsDict:
            await call_handler(worker, "queue", batch)
            return batch.outcome()

        return send_out(lambda: self._errands.begin(self._run(target, run)))

    async def _run(self, target: Target, work: Callable[[object], Awaitable[T]]) -> T:
        """Make the Worker and have `work` use it. Raises PerdureError, marked as remote."""
        context = ExecutionContext(self._around.report, target.props)
        try:
            return await run_worker(self._work(target, context, work))
        except asyncio.CancelledError:
            raise
        except (Exception, SystemExit, DurableObjectAbort) as error:
            raise as_remote(error) from error
        finally:
            self._around.keep(context)

    async def _work(self, target: Target, context: ExecutionContext, work: Callable[[object], Awaitable[T]]) -> T:
        return await work(self._around.make(target.program, target.entrypoint, context))


def _failed(error: PerdureError) -> asyncio.Future[Any]:
    """Of what does not leave."""
    failed = MadeCall(loop=asyncio.get_running_loop())
    failed.set_exception(error)
    return failed


async def _fetch(worker: object, request: HttpRequest, errands: Errands) -> HttpResponse:
    result = await call_handler(worker, "fetch", Request.from_wire(request))
    if not isinstance(result, Response):
        raise TypeError(f"fetch() must return a Response, it returned {type(result).__name__}")
    response = result.to_wire()
    if isinstance(response.body, AsyncIterator):
        response.body = _outside(response.body, copy_context(), errands)
    return response


async def _outside(body: AsyncIterator[bytes], context: Context, errands: Errands) -> AsyncIterator[bytes]:
    """The chunks of a body, each made outside of the turn that waits for it, in the context of the Worker."""
    try:
        while True:
            chunk = await send_out(lambda: errands.begin(_next(body), context))
            if chunk is None:
                return
            yield chunk
    finally:
        close = cast("Callable[[], Awaitable[None]] | None", getattr(body, "aclose", None))
        if close is not None:
            await send_out(lambda: errands.begin(_close(close), context))


async def _next(body: AsyncIterator[bytes]) -> bytes | None:
    return await anext(body, None)


async def _close(close: Callable[[], Awaitable[None]]) -> None:
    await close()


async def _call(
    worker: object, name: str, payload: bytes, parcel: Parcel | None, link: tuple[End, End] | None
) -> object:
    """`link`: the caller's end and the Worker's. The result is a copy, or leads back over the link."""
    method = find_method(worker, name)
    if parcel is None or link is None:
        return await _result(method, [] if payload == EMPTY_ARGS else cast("list[object]", unpack(payload)), link)
    exports = link[1].exports
    received = exports.received(link[1])
    with Returning(exports.loop, received.returned):
        return await _result(method, cast("list[object]", received.unpack(payload)), link)


async def _result(method: Callable[..., object], args: list[object], link: tuple[End, End] | None) -> object:
    """What it gives, as it arrives at the caller."""
    result: Any = method(*args)
    if hasattr(result, "__await__"):
        result = await result
    if link is None:
        return unpack(pack(result))
    packed = link[1].exports.pack_result(result)
    if isinstance(packed, bytes):
        return unpack(packed)
    link[1].hand_over(packed)
    return link[0].unpack_result(packed.payload, packed.ids)


def find_method(worker: object, name: str) -> Callable[..., object]:
    """The remote method of that name (spec: rpc). Raises MethodNotFound, InvalidArgument."""
    cls = type(worker)
    if name in _NOT_METHODS:
        raise MethodNotFound(f"'{name}' is a reserved method and cannot be called over RPC")
    if not isinstance(worker, WorkerEntrypoint):
        raise InvalidArgument(
            "The receiver does not support RPC, because it has handlers as functions: declare a class that derives from "
            "WorkerEntrypoint"
        )
    declared = inspect.getattr_static(cls, name, None)
    if name.startswith("_") or declared is None or hasattr(WorkerEntrypoint, name):
        raise MethodNotFound(f'The RPC receiver does not implement the method "{name}".')
    found = getattr(worker, name)
    if not callable(found) or name in getattr(worker, "__dict__", {}):
        raise MethodNotFound(f'"{name}" is not a function')
    return found
