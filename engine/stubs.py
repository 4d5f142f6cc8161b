"""Namespaces and stubs: how code reaches an object. The processes fill in the Transport with the router client.

What always holds: arguments are copied when the call is made, not when it is sent; calls through one stub reach the
object in the order made; creating an id or a stub creates nothing.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING, NoReturn, Protocol, cast

from .calls import KEY_CHARACTERS_MAX, Extras, MadeCall
from .errors import ByReference, InvalidArgument, MethodNotFound, OutOfRange, PerdureError, from_wire
from .http import HttpRequest, HttpResponse
from .ids import ClassKey, ObjectId
from .retrying import RetryPolicy, again
from .rpc_target import check_depth
from .subrequests import Counting, take_one
from .values import EMPTY_ARGS, UNDEFINED, pack

if TYPE_CHECKING:
    from .exports import Exports

READ = "="
"""Before the name in place of a method: a property is read. Names with dots lead further."""
RESERVED_METHODS = frozenset(
    {"fetch", "connect", "alarm", "webSocketMessage", "webSocketClose", "webSocketError", "dup", "constructor"}
)


DEADLINE_S_MAX = 86_400.0
OnReset = Callable[[PerdureError], None]


class Transport(Protocol):
    """How calls leave: the router client in gateways and applications, a gated one inside objects.

    Both methods queue the call before they return; the awaitable gives the unpacked result or raises PerdureError.
    `exports`: what this process has sent by reference.
    `deadline_s` None means the transport's default (30 s). `on_reset(error)` is called when the call fails because the
    object was reset. `extras`: what leads to the call, its key, and what was exported for its arguments.
    """

    @property
    def exports(self) -> Exports: ...

    def call(
        self,
        class_key: str,
        object_id: bytes,
        name: str | None,
        method: str,
        args: bytes,
        deadline_s: float | None = None,
        on_reset: OnReset | None = None,
        extras: Extras | None = None,
    ) -> Awaitable[object]: ...

    def fetch(
        self,
        class_key: str,
        object_id: bytes,
        name: str | None,
        request: HttpRequest,
        deadline_s: float | None = None,
        on_reset: OnReset | None = None,
        extras: Extras | None = None,
    ) -> Awaitable[HttpResponse]: ...


class FetchAdapter(Protocol):
    """Turns what a program passes to `stub.fetch` into an HttpRequest, and the answer into its Response class."""

    def __call__(
        self, send: Callable[[HttpRequest], Awaitable[HttpResponse]], request: object, init: dict[str, object]
    ) -> Awaitable[object]: ...


class Stub:
    """The caller's handle of one object: any unknown name is a remote method.

    Keyword arguments travel as ONE extra dict at the end (spec: rpc). Attributes that are set stay local. Once a call has
    failed because the object was reset, all later ones fail the same: a new stub reaches the fresh instance, and begins a
    new order (spec: ids and stubs). Exceptions of the program's own code and lost processes do not break a stub.
    """

    def __init__(
        self, key: ClassKey, object_id: ObjectId, transport: Transport, fetch_adapter: FetchAdapter | None = None
    ) -> None:
        self.id = object_id
        self._key = key
        self._transport = transport
        self._fetch_adapter = fetch_adapter
        self._broken: PerdureError | None = None
        self._retry: RetryPolicy | None = None
        self._extras: Extras | None = None
        self._deadline_s: float | None = None

    def _with_retry(self, policy: RetryPolicy | None) -> Stub:
        stub = Stub(self._key, self.id, self._transport, self._fetch_adapter)
        stub._retry, stub._extras, stub._deadline_s = policy, self._extras, self._deadline_s
        return stub

    def _with_deadline(self, seconds: float) -> Stub:
        if not 0 < seconds <= DEADLINE_S_MAX:
            raise InvalidArgument(f"a deadline is more than 0 and at most {DEADLINE_S_MAX:g} seconds, got {seconds!r}")
        stub = self._with_retry(self._retry)
        stub._deadline_s = float(seconds)
        return stub

    def _with_key(self, key: str) -> Stub:
        if not isinstance(key, str) or not 0 < len(key) <= KEY_CHARACTERS_MAX:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidArgument(f"an idempotency key is a text of 1 to {KEY_CHARACTERS_MAX} characters, got {key!r}")
        stub = self._with_retry(self._retry)
        stub._extras = Extras(key=key)
        return stub

    def _on_reset(self, error: PerdureError) -> None:
        self._broken = self._broken or error

    @property
    def name(self) -> str | None:
        """The name the stub was made with, None for ids from strings."""
        return self.id.name

    def fetch(self, request: object, **init: object) -> Awaitable[object]:
        """The HTTP call: an absolute URL or a Request; gives a Response."""
        if self._fetch_adapter is None:
            raise InvalidArgument("this stub cannot fetch: no adapter for requests is installed")
        return self._fetch_adapter(self._send, request, init)

    def _send(self, request: HttpRequest) -> Awaitable[HttpResponse]:
        if self._broken is not None:
            return cast("Awaitable[HttpResponse]", _fail_again(self._broken))
        if self._extras is not None:
            raise InvalidArgument("fetch() takes no idempotency key", hint="call a method")
        if Counting.on and (error := take_one()) is not None:
            return cast("Awaitable[HttpResponse]", _fail_again(error))
        within_s = self._deadline_s
        transport, unique, raw, name = self._transport, self._key.unique, self.id.raw, self.id.name
        if self._retry is not None and (request.body is None or isinstance(request.body, bytes)):
            return again(self._retry, False, lambda: transport.fetch(unique, raw, name, request, within_s))
        return transport.fetch(unique, raw, name, request, within_s, self._on_reset)

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> NoReturn:
        raise TypeError(f"'{type(self).__name__}' object has no len()")

    def __iter__(self) -> NoReturn:
        raise TypeError(f"'{type(self).__name__}' object is not iterable")

    def __getattr__(self, method: str) -> Remote:
        if method.startswith("__"):
            raise AttributeError(method)
        if method in RESERVED_METHODS:
            raise MethodNotFound(f"'{method}' is a reserved method and cannot be called over RPC.", remote=True)
        return Remote(self, method)

    def _call(self, method: str, payload: bytes) -> Awaitable[object]:
        """Queue a call, or the reading of a property."""
        if self._broken is not None:
            return _fail_again(self._broken)
        if Counting.on and (error := take_one()) is not None:
            return _fail_again(error)
        target, extras, within_s = self.id, self._extras, self._deadline_s
        unique, raw, name = self._key.unique, target.raw, target.name
        if self._retry is None:
            return self._transport.call(unique, raw, name, method, payload, within_s, self._on_reset, extras)
        transport, keyed = self._transport, extras is not None
        return again(
            self._retry, keyed, lambda: transport.call(unique, raw, name, method, payload, within_s, None, extras)
        )

    def _call_carrying(self, method: str, args: list[object]) -> Awaitable[object]:
        """The same with what travels by reference: that is let go when the call ends, so it is not made twice."""
        if self._broken is not None:
            return _fail_again(self._broken)
        if Counting.on and (error := take_one()) is not None:
            return _fail_again(error)
        parcel = self._transport.exports.pack(args)
        extras = Extras(key=None if self._extras is None else self._extras.key, parcel=parcel)
        unique, raw, name, within_s = self._key.unique, self.id.raw, self.id.name, self._deadline_s
        try:
            return self._transport.call(unique, raw, name, method, parcel.payload, within_s, self._on_reset, extras)
        except BaseException:
            parcel.withdraw()
            raise

    def _parts(self) -> list[object]:
        """What names the object to another process."""
        return [self._key.unique, self.id.raw, self.id.name]

    def __repr__(self) -> str:
        return f"<Stub {self._key.unique} {self.name or self.id}>"


class Remote:
    """`stub.method`: to be called; or awaited, which reads a property of the object's class. More names lead further."""

    __slots__ = ("_method", "_stub")

    def __init__(self, stub: Stub, method: str) -> None:
        self._stub = stub
        self._method = method

    @property
    def __name__(self) -> str:
        return self._method

    def __call__(self, *args: object, **kwargs: object) -> Awaitable[object]:
        stub = self._stub
        if not args and not kwargs:
            return stub._call(self._method, EMPTY_ARGS)  # pyright: ignore[reportPrivateUsage]
        given = [*args, kwargs] if kwargs else list(args)
        try:
            payload = pack(given)
        except ByReference:
            payload = b""
        if payload:
            return stub._call(self._method, payload)  # pyright: ignore[reportPrivateUsage]
        return stub._call_carrying(self._method, given)  # pyright: ignore[reportPrivateUsage]

    def __await__(self) -> Generator[object, None, object]:
        return self._stub._call(READ + self._method, EMPTY_ARGS).__await__()  # pyright: ignore[reportPrivateUsage]

    def __getattr__(self, name: str) -> Remote:
        if name.startswith("__"):
            raise AttributeError(name)
        method = f"{self._method}.{name}"
        check_depth(method.split("."))
        return Remote(self._stub, method)

    def __repr__(self) -> str:
        return f"{self._stub!r}.{self._method}"


def _fail_again(error: PerdureError) -> MadeCall:
    """What a call fails with that does not leave, anew for each."""
    failed = MadeCall(loop=asyncio.get_running_loop())
    failed.set_exception(from_wire(error.to_wire()))
    return failed


def _option(options: object, more: dict[str, object], name: str, alias: str = "") -> object:
    """One option: of keyword arguments, of a dict, or of an object with attributes; None when nobody gives it."""
    for key in (name, alias) if alias else (name,):
        if key in more:
            return more[key]
        found = options.get(key) if isinstance(options, dict) else getattr(options, key, None)
        if found is not None:
            return cast("object", found)
    return None


def _check_routing(options: object, more: dict[str, object]) -> None:
    """Raises OutOfRange for a `routingMode` that does not exist."""
    mode = _option(options, more, "routingMode", "routing_mode")
    if mode not in (None, "primary-only"):
        raise OutOfRange(f"unknown routingMode: {mode}")


class Namespace:
    """All objects of one class, as a binding in `env` or `client.namespace()` gives access to them."""

    def __init__(self, key: ClassKey, transport: Transport, fetch_adapter: FetchAdapter | None = None) -> None:
        self._key = key
        self._transport = transport
        self._fetch_adapter = fetch_adapter
        self._retry: RetryPolicy | None = None

    def _with_retry(self, policy: RetryPolicy | None) -> Namespace:
        namespace = Namespace(self._key, self._transport, self._fetch_adapter)
        namespace._retry = policy
        return namespace

    def _stub(self, object_id: ObjectId) -> Stub:
        stub = Stub(self._key, object_id, self._transport, self._fetch_adapter)
        if self._retry is not None:
            stub._retry = self._retry
        return stub

    def idFromName(self, name: str) -> ObjectId:
        """The id of a name, the same at every call."""
        return ObjectId.from_name(self._key, name)

    def idFromString(self, hex: str) -> ObjectId:
        """The id that 64 hex digits name; TypeError for another class's."""
        return ObjectId.from_string(self._key, hex)

    def newUniqueId(self, options: object = None, **kwargs: object) -> ObjectId:
        """A fresh random id without a name. Raises InvalidArgument (Error) when a `jurisdiction` is asked for."""
        self._check_jurisdiction(_option(options, kwargs, "jurisdiction"))
        return ObjectId(self._key.unique_id(secrets.token_bytes))

    def get(self, id: ObjectId, options: object = None, **kwargs: object) -> Stub:
        """A stub for the id. `locationHint` is accepted and ignored; `routingMode` must be "primary-only"."""
        if not isinstance(id, ObjectId):  # pyright: ignore[reportUnnecessaryIsInstance] - programs pass anything
            raise InvalidArgument(
                "Failed to execute 'get' on 'DurableObjectNamespace': parameter 1 is not of type 'DurableObjectId'."
            )
        if not self._key.owns(id.raw):
            raise InvalidArgument("Durable Object ID is not valid for this namespace.")
        if options is not None or kwargs:
            _check_routing(options, kwargs)
        return self._stub(id)

    def getByName(self, name: str, options: object = None, **kwargs: object) -> Stub:
        """The same as `get(idFromName(name), options)`."""
        if options is not None or kwargs:
            _check_routing(options, kwargs)
        return self._stub(ObjectId.from_name(self._key, name))

    def _parts(self) -> list[object]:
        """What names the class to another process."""
        return [self._key.unique]

    def jurisdiction(self, name: str | None = None) -> Namespace:
        """`None` gives an unrestricted copy; jurisdictions themselves are not implemented on one machine."""
        self._check_jurisdiction(name)
        return self

    @staticmethod
    def _check_jurisdiction(name: object) -> None:
        if name is not None and name is not UNDEFINED:
            raise InvalidArgument("Jurisdiction restrictions are not implemented in perdure", name="Error")

    id_from_name = idFromName
    id_from_string = idFromString
    new_unique_id = newUniqueId
    get_by_name = getByName
