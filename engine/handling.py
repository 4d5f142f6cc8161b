"""How a call becomes code of the program: the constructor, remote methods, `fetch`, and what their exceptions become.

What always holds: arguments are unpacked copies, results are packed in the turn that returned them; what a program
raises reaches the caller as an error marked `remote`, with the traceback in its message as the reference SDK has it.
"""

from __future__ import annotations

import sys
import types
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

from . import alarm_runs, socket_events
from .alarm_calls import blame
from .beacon import WHOLE, record
from .bodies import OutgoingBody
from .calls import ALARM, FETCH, PRE_SHUTDOWN, REFERENCE, RPC, Call
from .context import DurableObjectContext
from .durable import DurableObject
from .errors import ByReference, DurableObjectAbort, InvalidArgument, MethodNotFound, PerdureError
from .handlers import call_relaxed, find_handler
from .http import HttpResponse
from .interruption import entry
from .lifecycle import State
from .raised import as_remote
from .reference_calls import Reached
from .restoring import restore
from .rpc_target import declared, not_a_function
from .shutting_down import run_handler
from .socket_calls import SOCKET, SocketCall
from .sockets import Sockets
from .stubs import READ, RESERVED_METHODS
from .turns import Event, InstanceGone, one_round, unwound
from .upgrades import checked
from .values import EMPTY_ARGS, pack, unpack

if TYPE_CHECKING:
    from .exports import Exports, Parcel
    from .instance import Instance

Method = Callable[..., object]


async def _await(value: Awaitable[object]) -> object:
    return await value


class Handler:
    """Runs the calls of one instance against the program's object."""

    __slots__ = ("_instance", "_methods")

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._methods: dict[str, tuple[Method, bytes]] = {}
        """What was called before: the method, and the record of its events."""

    async def handle(self, event: Event, call: Call, *, begun: bool = False) -> bytes | Parcel | HttpResponse:
        """The result of a call, packed. Raises what the program raised, or a PerdureError."""
        instance = self._instance
        if not begun:
            late = instance.begin(event, call)
            if late is not None:
                raise late
            if instance.shelf.refused:
                _check_refused(instance, call)
            if call.kind == SOCKET:
                event.record = socket_events.record_of(instance, cast("SocketCall", call))
            else:
                event.record = record(instance.object_id, str(instance), call.method)
            instance.turns.beacon[WHOLE] = event.record
        if instance.object is None:
            position = instance.storage.pending_restore()
            if position is not None:
                await restore(instance, event, position)
                instance.storage.pending_restore()  # the file is another one
                socket_events.ask_holders(instance)
            if instance.sockets is None and instance.storage.socket_note is not None:
                instance.sockets = Sockets(instance, instance.storage.socket_note)
            if call.kind == SOCKET:
                socket_events.prepare(instance, cast("SocketCall", call))
        if call.kind == ALARM:
            answer = alarm_runs.prepare(instance, alarm_runs.as_alarm(call))
            if answer is not None:
                return answer
        if instance.object is None:
            if instance.runtime.blocking:
                # the constructor may be suspended: until it has ended nobody else may find the object half made
                await instance.sections.enter(self._construct_apart, "the constructor", breaking=True)
            else:
                self._construct()
            while instance.input.section is not None:  # begun by the constructor: events come after it
                await one_round()
        if call.kind == SOCKET:
            return await socket_events.run(instance, event, cast("SocketCall", call))
        if call.key is not None and not begun:
            return await self._once(event, call)
        if call.kind == FETCH:
            return await self._fetch(event, call)
        if call.kind == REFERENCE:
            assert call.reached is not None, "it is for something"
            return await call.reached.perform(call.payload, call.received)
        if call.kind == PRE_SHUTDOWN:
            return pack(await run_handler(instance, call))
        if call.kind == ALARM:
            alarm = find_handler(instance, "alarm")
            assert alarm is not None, "looked for before the object was constructed"
            return await alarm_runs.run(instance, event, alarm_runs.as_alarm(call), alarm)
        known = self._methods.get(call.method)
        if known is None and ("." in call.method or call.method.startswith(READ)):
            return await self._reached(call, instance.shelf.transport.exports)
        method = known[0] if known is not None else self._find(call.method, event.record)
        result: Any
        if call.payload == EMPTY_ARGS:
            result = method()
        elif call.received is None:
            result = method(*cast("list[object]", unpack(call.payload)))
        else:
            result = method(*cast("list[object]", call.received.unpack(call.payload)))
        if hasattr(result, "__await__"):
            result = await result
        try:
            return pack(result)
        except ByReference:
            pass
        return instance.shelf.transport.exports.pack(result)

    async def _reached(self, call: Call, exports: Exports) -> bytes | Parcel:
        """A property of the object, or what lies below one."""
        path = call.method.removeprefix(READ).split(".")
        target = self._instance.object
        self._check(target, path[0])
        reading = call.method.startswith(READ)
        return await Reached(exports, getattr(target, path[0]), path, 1, reading=reading).perform(
            call.payload, call.received
        )

    async def _once(self, event: Event, call: Call) -> bytes | Parcel:
        """A call with an idempotency key."""
        if call.kind == FETCH:
            raise InvalidArgument("fetch() takes no idempotency key", hint="call a method")

        async def perform() -> bytes | Parcel:
            return cast("bytes | Parcel", await self.handle(event, call, begun=True))

        return await self._instance.storage.answers().once(call, perform, as_remote)

    def forget(self) -> None:
        """The object has left memory."""
        self._methods.clear()

    def ready(self, call: Call) -> tuple[Method, bytes] | None:
        """The method of a call that needs nothing else first, and its record; None: take the long way (`handle`)."""
        instance = self._instance
        if call.kind != RPC or call.key is not None or call.received is not None or instance.object is None:
            return None
        if instance.runtime.blocking:  # each step has a stack of its own
            return None
        return self._methods.get(call.method)

    def begin_at_once(self, event: Event, call: Call, known: tuple[Callable[..., Any], bytes]) -> tuple[bool, Any]:
        """The first step without a driver: most methods end in it. (False, result), or (True, what `drive` goes on with)."""
        instance = self._instance
        late = instance.begin(event, call)
        if late is not None:
            raise late
        turns = instance.turns
        if turns.running is not None:
            turns.end_callback()
        turns.running, turns.scope = instance, event
        method, event.record = known
        turns.beacon[WHOLE] = event.record
        try:
            value = method() if call.payload == EMPTY_ARGS else method(*cast("list[object]", unpack(call.payload)))
            if type(value) is types.CoroutineType:
                try:
                    return True, (value, True, value.send(None))
                except StopIteration as stop:
                    return False, stop.value
        except GeneratorExit as error:
            raise unwound() from error
        finally:
            turns.running = turns.scope = None
        if hasattr(value, "__await__"):
            return True, (_await(value),)
        return False, value

    def report_raised(self, call: Call, error: BaseException, result: PerdureError) -> None:
        """The program's own exception, with what an operator needs to find it."""
        if isinstance(error, PerdureError):
            return
        instance = self._instance
        fields: dict[str, object] = {"object": str(instance), "id": instance.object_id.hex(), "method": call.method}
        instance.shelf.report(
            "warning", "raised", {**fields, "request_id": call.request_id, "traceback": result.message}
        )

    async def _construct_apart(self) -> None:
        self._construct()

    def _construct(self) -> None:
        instance = self._instance
        runtime = instance.runtime
        instance.move(State.LOADING)
        instance.context = DurableObjectContext(instance)
        try:
            instance.object = runtime.cls(instance.context, runtime.env)
        except DurableObjectAbort:
            raise
        except BaseException as error:
            failure = as_remote(error, with_properties=runtime.errors_keep_properties)
            failure.durableObjectReset, failure.remote = True, False  # as the reference tells of a reset
            instance.fatal = instance.fatal or failure
            blame(instance)
            instance.break_now()
            raise InstanceGone from error
        instance.move(State.IDLE)

    def _find(self, name: str, known_as: bytes) -> Method:
        """The remote method of that name."""
        name = sys.intern(name)  # Python keeps the last names that it looked up: one string then, not one of each call
        target = self._instance.object
        self._check(target, name)
        found = getattr(target, name)
        if not callable(found):
            raise not_a_function((name,))
        self._methods[name] = (found, known_as)
        return found

    def _check(self, target: object, name: str) -> None:
        """Raises MethodNotFound, InvalidArgument for what is not to be reached over RPC; the rules of spec/rpc.md."""
        cls = type(target)
        if name in RESERVED_METHODS:
            raise MethodNotFound(f"'{name}' is a reserved method and cannot be called over RPC.")
        if not isinstance(target, DurableObject):
            raise InvalidArgument(
                f"The receiving Durable Object does not support RPC, because its class {cls.__name__} was not declared "
                f"with `class {cls.__name__}(DurableObject)`: it must extend DurableObject"
            )
        if not declared(target, name):
            raise MethodNotFound(f'The RPC receiver does not implement the method "{name}".')
        if name in getattr(target, "__dict__", {}):
            raise not_a_function((name,))

    async def _fetch(self, event: Event, call: Call) -> HttpResponse:
        instance = self._instance
        http = instance.runtime.http
        assert call.request is not None, "a fetch carries its request"
        fetch = find_handler(instance, "fetch")
        if fetch is None:
            raise MethodNotFound("Method fetch does not exist")
        result = call_relaxed(fetch, http.to_request(call.request))
        if hasattr(result, "__await__"):
            result = await cast("Awaitable[object]", result)
        response = await http.from_response(result)
        if isinstance(response.body, AsyncIterator):
            response.body = OutgoingBody(instance, response.body)
        if response.web_socket is not None:
            checked(call.request, response)
            response.web_socket.give()
        return response


def _check_refused(instance: Instance, call: Call) -> None:
    """Raises EventRefused for an event that has ended its process again and again, as long as that is remembered."""
    name = socket_events.event_name(cast("SocketCall", call)) if call.kind == SOCKET else call.method
    key = (instance.object_id, name)
    found = instance.shelf.refused.get(key)
    if found is None:
        return
    until_s, error = found
    if instance.clock.monotonic_s() < until_s:
        raise error
    del instance.shelf.refused[key]


for _function in (
    _await,
    Handler.handle,
    Handler.begin_at_once,
    Handler._construct_apart,  # pyright: ignore[reportPrivateUsage]
    Handler._construct,  # pyright: ignore[reportPrivateUsage]
    Handler._fetch,  # pyright: ignore[reportPrivateUsage]
    call_relaxed,
    run_handler,
    alarm_runs.run,
):
    entry(cast("types.FunctionType", _function))
