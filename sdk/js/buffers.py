"""`ArrayBuffer` and typed arrays: views of shared memory, as in JavaScript; `data_view` has the third.

What always holds: two views of one buffer see each other's changes; what travels or is stored is a copy of the bytes that the
view shows. Buffers that calls return (`Buffer`, immutable bytes) are copied into a new ArrayBuffer when a view of them is made.
"""

from __future__ import annotations

import array
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, cast

from ...engine.errors import InvalidArgument, OutOfRange
from ...engine.values import StandIn
from .proxies import JsBuffer, JsProxy, missing, number_text, to_number


class ArrayBuffer(StandIn, JsBuffer, JsProxy):
    """Bytes of a fixed number. `ArrayBuffer.new(8)`: eight zeros."""

    __slots__ = ("memory",)

    def __init__(self, size: object = 0) -> None:
        """`size`: bytes; or the bytes themselves."""
        self.memory = bytearray(as_bytes(size)) if not isinstance(size, int) else _zeros(size)

    @classmethod
    def new(cls, size: object = 0) -> ArrayBuffer:
        return cls(size)

    @staticmethod
    def isView(value: object) -> bool:
        return isinstance(value, View)

    @property
    def byteLength(self) -> int:
        return len(self.memory)

    nbytes = byteLength

    def slice(self, start: int = 0, end: int | None = None) -> ArrayBuffer:
        return ArrayBuffer(bytes(self.memory[start:end]))

    def plain(self) -> bytes:
        return bytes(self.memory)

    def to_bytes(self) -> bytes:
        return bytes(self.memory)

    def to_memoryview(self) -> memoryview:
        """A copy, as Python's buffers of another engine's memory are."""
        return memoryview(bytearray(self.memory))

    def to_py(self, *, depth: int = -1, default_converter: object = None) -> memoryview:
        return self.to_memoryview()

    def to_string(self, encoding: str = "utf-8") -> str:  # type: ignore[override]
        """The bytes as text."""
        return self.memory.decode(encoding)

    def tobytes(self) -> bytes:
        return bytes(self.memory)

    def assign(self, data: object) -> None:
        """Copy bytes into it. Raises ValueError when they are of another number."""
        _assign(memoryview(self.memory), data)

    def assign_to(self, target: object) -> None:
        """Copy its bytes into a writable buffer of Python's."""
        _assign(memoryview(cast("bytearray", target)).cast("B"), self.memory)

    def toString(self) -> str:
        return f"[object {type(self).__name__}]"

    def __bytes__(self) -> bytes:
        return bytes(self.memory)

    def __len__(self) -> int:
        return len(self.memory)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.memory)})"


def _zeros(size: int) -> bytearray:
    if size < 0:
        raise OutOfRange(f"Array buffer allocation failed: {size} bytes")
    return bytearray(size)


def _assign(target: memoryview, data: object) -> None:
    given = as_bytes(data)
    if len(given) != target.nbytes:
        raise ValueError(f"cannot assign from a buffer of {len(given)} bytes to one of {target.nbytes}")
    target.cast("B")[:] = given


def as_bytes(value: object) -> bytes:
    """The bytes of a buffer, a view, or what is bytes in Python. Raises InvalidArgument (TypeError)."""
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if isinstance(value, memoryview | array.array):
        return cast("memoryview", value).tobytes()
    if isinstance(value, ArrayBuffer | View):
        return value.to_bytes()
    to_bytes = getattr(value, "to_bytes", None)
    if to_bytes is not None and not isinstance(value, int):
        return bytes(to_bytes())
    raise InvalidArgument(f"an ArrayBuffer, a view of one, or bytes was expected, not {type(value).__name__}")


class View(StandIn, JsBuffer, JsProxy):
    """A piece of a buffer."""

    __slots__ = ("buffer", "byteOffset", "view")
    view: memoryview

    def __init__(self, buffer: ArrayBuffer, offset: int, nbytes: int) -> None:
        if offset < 0 or nbytes < 0 or offset + nbytes > buffer.byteLength:
            raise OutOfRange(f"Start offset {offset} is outside the bounds of the buffer")
        self.buffer = buffer
        self.byteOffset = offset
        self.view = memoryview(buffer.memory)[offset : offset + nbytes]

    @property
    def byteLength(self) -> int:
        return self.view.nbytes

    nbytes = byteLength

    def plain(self) -> bytes:
        return self.view.tobytes()

    def to_bytes(self) -> bytes:
        return self.view.tobytes()

    def tobytes(self) -> bytes:
        return self.view.tobytes()

    def to_memoryview(self) -> memoryview:
        return memoryview(bytearray(self.view)).cast("B").cast(cast("Any", self.view.format))

    def to_py(self, *, depth: int = -1, default_converter: object = None) -> memoryview:
        return self.to_memoryview()

    def to_string(self, encoding: str = "utf-8") -> str:  # type: ignore[override]
        return self.view.tobytes().decode(encoding)

    def assign(self, data: object) -> None:
        """Copy bytes into it. Raises ValueError when they are of another number."""
        _assign(self.view, data)

    def assign_to(self, target: object) -> None:
        """Copy its bytes into a writable buffer of Python's."""
        _assign(memoryview(cast("bytearray", target)).cast("B"), self.to_bytes())

    def __bytes__(self) -> bytes:
        return self.view.tobytes()

    def __bool__(self) -> bool:
        return True


class TypedArray(View):
    """Numbers in a buffer. `new(3)`, `new([1, 2])`, `new(buffer, byteOffset, length)`, `of(1, 2)`."""

    __slots__ = ()
    format: ClassVar[str]
    BYTES_PER_ELEMENT: ClassVar[int]

    def __init__(self, source: object = 0, byteOffset: int = 0, length: int | None = None) -> None:
        size = self.BYTES_PER_ELEMENT
        numbers: list[object] | None = None
        if isinstance(source, ArrayBuffer):
            buffer, offset = source, byteOffset
            if offset % size:
                raise OutOfRange(f"start offset of {type(self).__name__} should be a multiple of {size}")
            if length is None and (buffer.byteLength - offset) % size:
                raise OutOfRange(f"byte length of {type(self).__name__} should be a multiple of {size}")
            nbytes = buffer.byteLength - offset if length is None else length * size
        elif isinstance(source, int) and not isinstance(source, bool):
            buffer, offset, nbytes = ArrayBuffer(source * size), 0, source * size
        elif missing(source):
            buffer, offset, nbytes = ArrayBuffer(0), 0, 0
        elif size == 1 and not isinstance(source, TypedArray) and _is_buffer(source):
            buffer, offset = ArrayBuffer(as_bytes(source)), byteOffset
            nbytes = buffer.byteLength - offset if length is None else length
        else:
            numbers = list(cast("Iterable[object]", source))
            buffer, offset, nbytes = ArrayBuffer(len(numbers) * size), 0, len(numbers) * size
        super().__init__(buffer, offset, nbytes)
        self.view = self.view.cast(cast("Any", self.format))
        if numbers is not None:
            self.set(numbers)

    @classmethod
    def new(cls, source: object = 0, byteOffset: int = 0, length: int | None = None) -> TypedArray:
        return cls(source, byteOffset, length)

    @classmethod
    def of(cls, *numbers: object) -> TypedArray:
        return cls(numbers)

    @classmethod
    def from_(cls, items: object) -> TypedArray:
        return cls(list(cast("Iterable[object]", items)))

    def number(self, value: object) -> float:
        """The value as it fits: wrapped, as JavaScript does."""
        found = to_number(value)
        if found != found or found in (float("inf"), float("-inf")):
            return 0
        bits = self.BYTES_PER_ELEMENT * 8
        wrapped = int(found) & ((1 << bits) - 1)
        return wrapped - (1 << bits) if self.format.islower() and wrapped >> (bits - 1) else wrapped

    @property
    def length(self) -> int:
        return len(self.view)

    def set(self, source: object, offset: int = 0) -> None:
        """Copy numbers in. Raises OutOfRange (RangeError) when there is no room."""
        items = list(cast("Iterable[object]", source))
        if offset < 0 or offset + len(items) > len(self.view):
            raise OutOfRange("offset is out of bounds")
        for index, value in enumerate(items, offset):
            self.view[index] = cast("Any", self.number(value))

    def _bounds(self, start: int, end: int | None) -> tuple[int, int]:
        first, last, _ = slice(start, end).indices(len(self.view))
        return first, max(last, first)

    def subarray(self, start: int = 0, end: int | None = None) -> TypedArray:
        """A view of the same memory."""
        first, last = self._bounds(start, end)
        return type(self)(self.buffer, self.byteOffset + first * self.BYTES_PER_ELEMENT, last - first)

    def slice(self, start: int = 0, end: int | None = None) -> TypedArray:
        """A copy."""
        first, last = self._bounds(start, end)
        return type(self)(ArrayBuffer(self.view[first:last].tobytes()))

    def fill(self, value: object, start: int = 0, end: int | None = None) -> TypedArray:
        first, last = self._bounds(start, end)
        for index in range(first, last):
            self.view[index] = cast("Any", self.number(value))
        return self

    def at(self, index: int) -> float | None:
        return self[index] if -len(self.view) <= index < len(self.view) else None

    def includes(self, value: object) -> bool:
        return value in self.view

    def indexOf(self, value: object) -> int:
        return next((index for index, each in enumerate(self.view) if each == value), -1)

    def join(self, separator: str = ",") -> str:
        return separator.join(number_text(each) for each in self.view)

    def tolist(self) -> list[float]:
        return cast("list[float]", self.view.tolist())

    def values(self) -> Iterator[float]:
        return iter(self.tolist())

    def toString(self) -> str:
        return self.join()

    def __len__(self) -> int:
        return len(self.view)

    def __iter__(self) -> Iterator[float]:
        return iter(self.tolist())

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            first, last, step = index.indices(len(self.view))
            return self.slice(first, last) if step == 1 else type(self)(self.tolist()[index])
        return self.view[index]

    def __setitem__(self, index: Any, value: object) -> None:
        if isinstance(index, slice):
            self.set(value, index.indices(len(self.view))[0])
        else:
            self.view[index] = cast("Any", self.number(value))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, TypedArray):
            return type(other) is type(self) and other.view == self.view
        return isinstance(other, bytes | bytearray | memoryview) and self.to_bytes() == bytes(other)

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.tolist()})"


def _is_buffer(source: object) -> bool:
    if isinstance(source, bytes | bytearray | memoryview | array.array):
        return True
    return hasattr(source, "to_bytes") and not isinstance(source, int)


class Uint8Array(TypedArray):
    __slots__ = ()
    format, BYTES_PER_ELEMENT = "B", 1


class Uint8ClampedArray(TypedArray):
    """What is out of range becomes 0 or 255."""

    __slots__ = ()
    format, BYTES_PER_ELEMENT = "B", 1

    def number(self, value: object) -> float:
        found = to_number(value)
        return 0 if found != found else round(min(max(found, 0), 255))


class Int8Array(TypedArray):
    __slots__ = ()
    format, BYTES_PER_ELEMENT = "b", 1


class Int16Array(TypedArray):
    __slots__ = ()
    format, BYTES_PER_ELEMENT = "h", 2


class Uint16Array(TypedArray):
    __slots__ = ()
    format, BYTES_PER_ELEMENT = "H", 2


class Int32Array(TypedArray):
    __slots__ = ()
    format, BYTES_PER_ELEMENT = "i", 4


class Uint32Array(TypedArray):
    __slots__ = ()
    format, BYTES_PER_ELEMENT = "I", 4


class BigInt64Array(TypedArray):
    __slots__ = ()
    format, BYTES_PER_ELEMENT = "q", 8


class BigUint64Array(TypedArray):
    __slots__ = ()
    format, BYTES_PER_ELEMENT = "Q", 8


class _Floats(TypedArray):
    __slots__ = ()

    def number(self, value: object) -> float:
        return float(to_number(value))


class Float32Array(_Floats):
    __slots__ = ()
    format, BYTES_PER_ELEMENT = "f", 4


class Float64Array(_Floats):
    __slots__ = ()
    format, BYTES_PER_ELEMENT = "d", 8


KINDS: dict[str, type[TypedArray]] = {
    "B": Uint8Array,
    "c": Uint8Array,
    "?": Uint8Array,
    "b": Int8Array,
    "h": Int16Array,
    "H": Uint16Array,
    "i": Int32Array,
    "I": Uint32Array,
    "l": BigInt64Array,
    "L": BigUint64Array,
    "q": BigInt64Array,
    "Q": BigUint64Array,
    "f": Float32Array,
    "d": Float64Array,
}
"""By the format of a Python buffer."""


def typed_array(data: bytes | bytearray | memoryview | array.array[Any]) -> TypedArray:
    """A copy of a Python buffer, as the typed array of its format."""
    view = memoryview(data)
    kind = KINDS.get(view.format, Uint8Array)
    return kind(ArrayBuffer(view.tobytes()))


setattr(TypedArray, "from", TypedArray.from_)
