"""Stubs of what lives elsewhere: a function or RpcTarget that came by reference, and how calls leave through them.

What always holds: an import is let go exactly once, when the last handle of it is disposed or collected; a handle that was
disposed is refused; calls through one handle arrive in the order made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator, Sequence
from typing import TYPE_CHECKING, NoReturn, Protocol, cast

from .calls import Extras, MadeCall
from .errors import Disposed, HostGone, MethodNotFound, PerdureError, from_wire
from .outgoing import depart
from .rpc_target import RESERVED_ON_TARGETS, check_depth

if TYPE_CHECKING:
    from types import TracebackType

    from .exports import Exports, Parcel

GONE = "The execution context which hosts this callback is no longer running."


class Way(Protocol):
    """The connection to the process that hosts what was imported."""

    broken: PerdureError | None
    """Set when the process or the connection is gone."""

    def call(
        self, export_id: bytes, path: Sequence[str], payload: bytes | None, parcel: Parcel | None, extras: Extras | None
    ) -> MadeCall:
        """Call what the path leads to, or read it (`payload` None). The future gives the value or raises PerdureError."""
        ...

    def forward(self, export_id: bytes, path: Sequence[str], payload: bytes | None) -> Awaitable[bytes | tuple[object]]:
        """The same for whoever only passes on: the packed result, or (value,) if that holds references."""
        ...

    def keep(self, export_id: bytes) -> None:
        """What came as a parameter stays when the call has returned."""
        ...

    def drop(self, export_id: bytes) -> None:
        """Nobody here has it any more."""
        ...


def host_gone() -> HostGone:
    return HostGone(GONE, hint="ask its object for a new stub")


class Import:
    """One export of another process, with the handles of it that are alive here."""

    __slots__ = ("export_id", "exports", "handles", "parameter", "way")

    def __init__(self, exports: Exports, way: Way, export_id: bytes, *, parameter: bool) -> None:
        self.exports = exports
        self.way = way
        self.export_id = export_id
        self.handles = 0
        self.parameter = parameter
        """It came as a parameter of a call that has not returned: who made the call holds it."""

    def release(self) -> None:
        """A handle is gone."""
        self.handles -= 1
        if not self.handles and not self.parameter:
            self.way.drop(self.export_id)

    def returned(self) -> None:
        """The call that it was a parameter of has returned: kept if somebody has duplicated it."""
        self.parameter = False
        if self.handles:
            self.way.keep(self.export_id)

    def call(
        self, path: Sequence[str], args: tuple[object, ...] | None, kwargs: dict[str, object], *, inside: bool = False
    ) -> MadeCall:
        """Leave for what the path leads to; `args` None: read it. What is sent is copied now. `inside`: on this very loop."""
        check_depth(path)
        enter = self.exports.enter
        if enter is not None and asyncio._get_running_loop() is not self.exports.loop:
            return cast("MadeCall", enter(lambda: self._depart(path, args, kwargs)))
        call = self._depart(path, args, kwargs)
        return call if inside else cast("MadeCall", self.exports.through(call))

    def _depart(self, path: Sequence[str], args: tuple[object, ...] | None, kwargs: dict[str, object]) -> MadeCall:
        if self.way.broken is not None:
            raise from_wire(self.way.broken.to_wire())
        payload: bytes | None = None
        parcel: Parcel | None = None
        if args is not None:
            payload, parcel = self.exports.pack_arguments([*args, kwargs] if kwargs else list(args))

        def send(extras: Extras | None) -> MadeCall:
            return self.way.call(self.export_id, path, payload, parcel, extras)

        try:
            return cast("MadeCall", depart(self.exports.loop, send, parcel))
        except BaseException:
            if parcel is not None:
                parcel.withdraw()
            raise

    def forward(self, path: Sequence[str], payload: bytes | None) -> Awaitable[bytes | tuple[object]]:
        """Pass a call on as it came. The awaitable gives the packed result, or (value,) if that holds references."""
        if self.way.broken is not None:
            raise from_wire(self.way.broken.to_wire())
        return self.way.forward(self.export_id, path, payload)


class RpcStub:
    """A function or RpcTarget that lives elsewhere. Calling it, or a method of it, makes a call there.

    `dup()` gives a second handle; `dispose()` lets go of this one, as leaving a `with` does, and as being collected does.
    """

    __slots__ = ("__weakref__", "_imported", "_live")

    def __init__(self, imported: Import) -> None:
        self._imported = imported
        self._live = True
        imported.handles += 1

    def _import(self) -> Import:
        if not self._live:
            raise Disposed("RPC stub used after being disposed.", hint="keep what dup() gives")
        return self._imported

    def __call__(self, *args: object, **kwargs: object) -> MadeCall:
        return self._import().call((), args, kwargs)

    def _forward(self, path: Sequence[str], payload: bytes | None) -> Awaitable[bytes | tuple[object]]:
        return self._import().forward(path, payload)

    def __getattr__(self, name: str) -> RemotePath:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in RESERVED_ON_TARGETS:
            raise MethodNotFound(f"'{name}' is a reserved method and cannot be called over RPC")
        return RemotePath(self, (name,))

    def dup(self) -> RpcStub:
        """Another handle of the same, which has to be disposed on its own."""
        return RpcStub(self._import())

    def dispose(self) -> None:
        """Let go of it. Doing so twice does nothing."""
        if self._live:
            self._live = False
            self._imported.exports.let_go(self._imported)

    def __enter__(self) -> RpcStub:
        self._import()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.dispose()

    async def __aenter__(self) -> RpcStub:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.dispose()

    def __del__(self) -> None:
        if self._live:
            self._live = False
            self._imported.exports.collected(self._imported)

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> NoReturn:
        raise TypeError(f"'{type(self).__name__}' object has no len()")

    def __iter__(self) -> NoReturn:
        raise TypeError(f"'{type(self).__name__}' object is not iterable")

    def __repr__(self) -> str:
        return "<RpcStub>" if self._live else "<RpcStub, disposed>"


class RemotePath:
    """`stub.a.b`: to be called, or awaited to be read."""

    __slots__ = ("_path", "_stub")

    def __init__(self, stub: RpcStub, path: tuple[str, ...]) -> None:
        self._stub = stub
        self._path = path

    def __getattr__(self, name: str) -> RemotePath:
        if name.startswith("__"):
            raise AttributeError(name)
        path = (*self._path, name)
        check_depth(path)
        return RemotePath(self._stub, path)

    def __call__(self, *args: object, **kwargs: object) -> MadeCall:
        return self._stub._import().call(self._path, args, kwargs)  # pyright: ignore[reportPrivateUsage]

    def _forward(self, path: Sequence[str], payload: bytes | None) -> Awaitable[bytes | tuple[object]]:
        return self._stub._import().forward((*self._path, *path), payload)  # pyright: ignore[reportPrivateUsage]

    def __await__(self) -> Generator[object, None, object]:
        return self._stub._import().call(self._path, None, {}).__await__()  # pyright: ignore[reportPrivateUsage]

    def __repr__(self) -> str:
        return f"<RpcStub.{'.'.join(self._path)}>"


class Received:
    """What a call brought that needs an importer: how its arguments are unpacked, and what is disposed when it returns."""

    __slots__ = ("_borrowed", "_exports", "_way")

    def __init__(self, exports: Exports, way: Way) -> None:
        self._exports = exports
        self._way = way
        self._borrowed: list[RpcStub] = []

    def unpack(self, payload: bytes) -> object:
        """The arguments. Raises DataCloneError."""
        return self._exports.unpack(payload, self._way, self._borrowed)

    def returned(self) -> None:
        """The call is about to be answered."""
        borrowed, self._borrowed = self._borrowed, []
        for stub in borrowed:
            stub.dispose()
            stub._imported.returned()  # pyright: ignore[reportPrivateUsage]
