"""`to_js`: a Python value as one in JavaScript's style.

What always holds: what storage, calls and bodies take before, they take after; a value that is contained twice is converted
once, so circles stay circles.
"""

from __future__ import annotations

import array
from collections.abc import Callable, Mapping
from typing import Any, cast

from ...engine.values import UNDEFINED, Buffer, StandIn
from .arrays import Array
from .buffers import Uint8Array, typed_array
from .collections import Map, Set
from .proxies import JsProxy

Convert = Callable[[object], object]


class ConversionError(Exception):
    """A value has no counterpart, and no proxy of it may be made."""


class JsDoubleProxy(StandIn, JsProxy):
    """A Python value that is handed to JavaScript: what it was, callable if that is, with `destroy`."""

    __slots__ = ("_destroyed", "_value")

    def __init__(self, value: object) -> None:
        object.__setattr__(self, "_value", value)
        object.__setattr__(self, "_destroyed", False)

    def _held(self) -> Any:
        if self._destroyed:
            raise RuntimeError("Object has already been destroyed")
        return self._value

    def destroy(self) -> None:
        """It cannot be used any more."""
        object.__setattr__(self, "_destroyed", True)
        object.__setattr__(self, "_value", None)

    def plain(self) -> object:
        """It travels as its value does: a function by reference."""
        return self._held()

    def unwrap(self) -> Any:
        """The Python value."""
        return self._held()

    def to_py(self, *, depth: int = -1, default_converter: object = None) -> Any:
        return self._held()

    def copy(self) -> JsDoubleProxy:
        """Another proxy of the same value."""
        return type(self)(self._held())

    def toJs(self, **settings: Any) -> object:
        return to_js(self._held(), **settings)

    def getBuffer(self, _type: str | None = None) -> PyBuffer:
        """The bytes of a Python buffer. Raises TypeError when it is none."""
        return PyBuffer(typed_array(memoryview(self._held())))

    @property
    def type(self) -> str:
        return type(self._held()).__name__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._held()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._held(), name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._held(), name, value)

    def __getitem__(self, key: Any) -> Any:
        return self._held()[key]

    def __setitem__(self, key: Any, value: object) -> None:
        self._held()[key] = value

    def __iter__(self) -> Any:
        return iter(self._held())

    def __len__(self) -> int:
        return len(self._held())

    def __bool__(self) -> bool:
        return bool(self._held())

    def __repr__(self) -> str:
        return "<destroyed proxy>" if self._destroyed else f"<proxy of {self._value!r}>"


class PyBuffer(JsProxy):
    """`proxy.getBuffer()`: `data` is a typed array; `release` lets it go."""

    __slots__ = ("data", "nbytes", "shape")

    def __init__(self, data: Any) -> None:
        self.data = data
        self.nbytes = data.byteLength
        self.shape = Array([len(data)])

    def release(self) -> None:
        self.data = None


class _Converter:
    """One conversion."""

    def __init__(
        self,
        pyproxies: list[object] | None,
        create_pyproxies: bool,
        dict_converter: Callable[[Any], object] | None,
        default_converter: Callable[..., object] | None,
    ) -> None:
        self._proxies = pyproxies
        self._create = create_pyproxies
        self._of_dict = dict_converter
        self._default = default_converter
        self._known: dict[int, tuple[object, object]] = {}

    def convert(self, value: object, depth: int) -> object:
        if value is None or isinstance(value, str | int | float | JsProxy | StandIn) or value is UNDEFINED:
            return value
        if isinstance(value, bytes | bytearray | memoryview | array.array):
            return typed_array(value) if not isinstance(value, Buffer) else Uint8Array(value)
        if depth == 0:
            return self._other(value)
        known = self._known.get(id(value))
        if known is not None:
            return known[1]
        if isinstance(value, list | tuple):
            made = Array()
            self._keep(value, made)
            made.extend(self.convert(each, depth - 1) for each in cast("list[object]", value))
            return made
        if isinstance(value, set | frozenset):
            return self._keep(value, Set(self.convert(each, depth - 1) for each in cast("set[object]", value)))
        if isinstance(value, Mapping):
            return self._dict(cast("Mapping[object, object]", value), depth)
        return self._other(value)

    def _keep(self, value: object, made: object) -> object:
        self._known[id(value)] = (value, made)  # the value too: its id must not be given to another
        return made

    def _dict(self, value: Mapping[object, object], depth: int) -> object:
        if self._of_dict is None:
            made = Map()
            self._keep(value, made)
            for key, each in value.items():
                made[self.convert(key, depth - 1)] = self.convert(each, depth - 1)
            return made
        pairs = Array(Array((key, self.convert(each, depth - 1))) for key, each in value.items())
        return self._keep(value, self._of_dict(pairs))

    def _whole(self, value: object) -> object:
        return self.convert(value, -1)

    def _other(self, value: object) -> object:
        if self._default is not None:
            return self._default(value, self._whole, self._keep)
        if not self._create:
            raise ConversionError(f"No conversion known for {type(value).__name__}")
        if self._proxies is not None:
            self._proxies.append(JsDoubleProxy(value))
        return value


def to_js(
    obj: object,
    /,
    *,
    depth: int = -1,
    pyproxies: list[object] | None = None,
    create_pyproxies: bool = True,
    dict_converter: Callable[[Any], object] | None = None,
    default_converter: Callable[..., object] | None = None,
    eager_converter: Callable[..., object] | None = None,
) -> Any:
    """Lists become arrays, dicts maps (or what `dict_converter(pairs)` makes of them), sets sets, bytes typed arrays.

    What has no counterpart (a function, a datetime, an object) stays as it is, or becomes what
    `default_converter(value, convert, cache)` returns. Raises ConversionError with `create_pyproxies=False`.
    """
    converter = _Converter(pyproxies, create_pyproxies, dict_converter, default_converter)
    if eager_converter is not None:
        return eager_converter(obj, converter._whole, converter._keep)  # pyright: ignore[reportPrivateUsage]
    return converter.convert(obj, depth)
