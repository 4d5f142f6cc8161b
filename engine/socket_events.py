"""Running an event of a socket: the handlers `webSocketMessage`, `webSocketClose`, `webSocketError`, or an end's listeners.

What always holds: an event that was handled before is only acknowledged; what a handler raises is logged, and the event counts as
handled; an object that has no such socket is not constructed for it.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, cast

from .beacon import record
from .closing_codes import ABNORMAL, NO_CODE
from .errors import DurableObjectAbort, ObjectReset, PerdureError, SocketUnknown
from .interruption import entry
from .object_socket import ObjectSocket
from .raised import as_remote
from .socket_calls import CLOSED, FAILED, MESSAGE, METHODS, OPENED, SOCKET, Closing, Data, SocketCall
from .socket_resets import again
from .standard_sockets import StandardSocket
from .turns import Event, InstanceGone, one_round, outside
from .web_socket import received

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from .calls import Call, Result
    from .handlers import Method
    from .instance import Instance
    from .sockets import Sockets
    from .web_socket_events import Complain

HANDLED = b""
LOADED = -1
"""In place of what has happened: nothing has, but the object is to be in memory."""


def event_name(call: SocketCall) -> str:
    """How the supervisor knows the event: what ends its shard again and again is refused, and no other socket's."""
    return f"{call.method} {call.socket.hex()}" if call.socket else call.method


def record_of(instance: Instance, call: SocketCall) -> bytes:
    """The beacon's record of the event."""
    sockets = instance.sockets
    socket = None if sockets is None or call.what != MESSAGE else sockets.by_id.get(call.socket)
    if socket is None:
        return record(instance.object_id, str(instance), event_name(call))
    if socket.record is None:
        socket.record = record(instance.object_id, str(instance), event_name(call))
    return socket.record


def prepare(instance: Instance, call: SocketCall) -> None:
    """Before the object is constructed. Raises SocketUnknown when there is nothing to construct it for."""
    sockets = instance.sockets
    if call.what == LOADED or call.end is not None:
        return
    if sockets is None or (call.socket not in sockets.by_id and call.socket not in sockets.standard):
        raise _unknown(instance)


def load(
    deliver: Callable[[SocketCall], None], class_key: str, object_id: bytes, name: str | None, then: Callable[[], None]
) -> None:
    """Have an object in memory, with its constructor run. `then()` when it is."""

    def answered(_call: Call, result: Result) -> None:
        if not isinstance(result, PerdureError):
            then()

    deliver(SocketCall(class_key, object_id, name, SOCKET, METHODS[OPENED], b"", answered, what=LOADED))


def ask_holders(instance: Instance) -> None:
    """Another file has taken the place of the object's: connections that it does not know are ended when they tell of them."""
    for holder in instance.shelf.holders():
        holder.ask(instance.key.unique, instance.object_id)


def _unknown(instance: Instance) -> SocketUnknown:
    return SocketUnknown("the object has no such WebSocket", object_id=instance.object_id.hex())


async def run(instance: Instance, event: Event, call: SocketCall) -> bytes:
    """The answer. Raises SocketUnknown, Overloaded (deliver it again), and what ends the object."""
    sockets = instance.all_sockets()
    if call.end is not None:
        call.end.happens(call.what, call.data, complaints(instance, call))
        return HANDLED
    if call.what == LOADED:
        return HANDLED
    socket = sockets.by_id.get(call.socket)
    if socket is None:
        return _run_standard(instance, sockets, call)
    holder = call.holder
    if holder is not None and socket.holder is not holder:
        sockets.met(socket, holder)
    if call.auto_ms is not None:
        socket.auto_ms = call.auto_ms
    if call.what == OPENED:
        instance.meters.requests += 1
        return HANDLED
    call.answer = sockets.sending.in_order(call.answer)
    ends = call.what != MESSAGE
    if (call.number and not socket.begins(call)) or (ends and socket.dropped):
        if ends:  # its handler has ended before
            await _end(instance, sockets, socket)
        return HANDLED
    if not ends:
        instance.meters.messages += 1
    await _handle(instance, event, sockets, socket, call)
    return HANDLED


def _run_standard(instance: Instance, sockets: Sockets, call: SocketCall) -> bytes:
    socket = sockets.standard.get(call.socket)
    if socket is None:
        raise _unknown(instance)
    if call.holder is not None and socket.holder is not call.holder:
        socket.met(call.holder)
    if call.what == OPENED:
        instance.meters.requests += 1
        return HANDLED
    if call.number and not socket.begins(call):
        return HANDLED
    if call.what == MESSAGE:
        instance.meters.messages += 1
    _tell_listeners(instance, socket, call)
    if call.what in (CLOSED, FAILED):
        del sockets.standard[socket.id]
    return HANDLED


def _tell_listeners(instance: Instance, socket: StandardSocket, call: SocketCall) -> None:
    end = socket.end
    if end is None:
        _relay(socket, call)
        return
    if end.owner is None:  # not accepted yet: it hears of it then
        if call.what == MESSAGE:
            end.arrive(cast("Data", call.data))
        elif call.what == FAILED:
            end.broke(str(call.data))
        else:
            end.ended(*_closing(call))
        return

    end.happens(call.what, call.data, complaints(instance, call))
    if call.what == FAILED:
        end.cut_off()


def complaints(instance: Instance, call: SocketCall) -> Complain:
    """Where what a listener raises goes."""

    def complain(error: BaseException) -> None:
        _report(instance, call, error)

    return complain


async def _handle(instance: Instance, event: Event, sockets: Sockets, socket: ObjectSocket, call: SocketCall) -> None:
    """Call the handler, and note what comes of it in its last turn."""
    what = call.what
    method, room = sockets.handler_of(what)
    arguments = _arguments(sockets, socket, call)
    if what != MESSAGE:
        sockets.dispatches_the_end_of(socket)
    timer = _watch(instance, event, sockets.timeout_ms, call) if sockets.timeout_ms else None
    socket.running.add(call.number)
    try:
        if method is not None:
            await _call(method, arguments[:room])
    except (InstanceGone, DurableObjectAbort, GeneratorExit):
        raise
    except BaseException as error:
        if instance.broken is not None or instance.fatal is not None:
            raise
        _report(instance, call, error)
    finally:
        socket.has_run(call.number)
        if timer is not None:
            timer.cancel()
    while instance.input.section is not None:  # begun by the handler and not awaited
        await one_round()
    _check_owned(instance, sockets)
    if what == MESSAGE:
        sockets.handled(call, socket)
    elif not socket.running:
        sockets.forget(socket)
        sockets.handled(call, socket)
    else:
        sockets.has_closed(socket)
        sockets.handled(call, socket)
        await _end(instance, sockets, socket)


async def _end(instance: Instance, sockets: Sockets, socket: ObjectSocket) -> None:
    """The row goes when the handlers of its messages have ended: until then they may have to run again."""
    while socket.running:
        await socket.until_one_has_run()
    _check_owned(instance, sockets)
    sockets.forget(socket)


def _check_owned(instance: Instance, sockets: Sockets) -> None:
    """Raises Overloaded where the object is another process's now: the event is handled there, from the start."""
    if instance.storage.failure is not None:
        sockets.sending.discard()
        raise again(instance.storage.failure)


async def _call(method: Method, arguments: tuple[object, ...]) -> None:
    result = method(*arguments)
    if type(result) is types.CoroutineType or hasattr(result, "__await__"):
        await cast("Awaitable[object]", result)


def _arguments(sockets: Sockets, socket: ObjectSocket, call: SocketCall) -> tuple[object, ...]:
    """What the handler gets; the end's state is what the event makes of it."""
    web = sockets.web_of(socket)
    if call.what == MESSAGE:
        return (web, received(cast("Data", call.data)))
    if call.what == FAILED:
        web.apply(CLOSED, (None, "", False))
        return (web, PerdureError(str(call.data)))
    code, reason, clean = _closing(call)
    web.apply(CLOSED, (code, reason, clean))
    return (web, code, reason, clean)


def _relay(socket: StandardSocket, call: SocketCall) -> None:
    """To the outgoing connection that the object has given away."""
    assert socket.line is not None, "what was given away has an end or a line"
    if call.what == MESSAGE:
        socket.line.send(cast("Data", call.data))
    elif call.what == FAILED:
        socket.line.close(ABNORMAL, "")
    else:
        code, reason, clean = _closing(call)
        socket.line.close(ABNORMAL if not clean else None if code == NO_CODE else code, reason)


def _closing(call: SocketCall) -> tuple[int, str, bool]:
    code, reason, clean = cast("Closing", call.data)
    return (NO_CODE if code is None else code), reason, clean


def _watch(instance: Instance, event: Event, timeout_ms: int, call: SocketCall) -> asyncio.TimerHandle:
    """The event may take so long."""

    def overran() -> None:
        if not event.answered and instance.broken is None:
            instance.reset(
                ObjectReset(
                    f"A WebSocket event ({METHODS[call.what]}) exceeded event execution time: "
                    "the Durable Object was reset",
                    hint=f"setHibernatableWebSocketEventTimeout() has set {timeout_ms} ms",
                )
            )

    return outside().run(instance.turns.loop.call_later, timeout_ms / 1000, overran)


def _report(instance: Instance, call: SocketCall, error: BaseException) -> None:
    """What a handler or listener raised: nobody else hears of it."""
    fields: dict[str, object] = {
        "object": str(instance),
        "id": instance.object_id.hex(),
        "method": call.method,
        "traceback": as_remote(error, with_properties=False).message,
    }
    instance.shelf.report("warning", "raised", fields)


for _function in (_call, run):
    entry(cast("types.FunctionType", _function))
