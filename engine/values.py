"""Values that cross a call or are stored: copied by packing, in both directions the same rules (spec: rpc, storage-kv).

What always holds: what `unpack(pack(v))` returns equals `v` and shares nothing with it; what cannot travel raises before
anything is sent. Containers come back as real dicts and lists that also answer the JavaScript style of the reference SDK.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable
from typing import Any, Final, cast

import msgpack

from .errors import ByReference, DataCloneError, PerdureError, ValueTooLarge, from_wire
from .limits import VALUE_BYTES_MAX

_SET, _DATETIME, _DECIMAL, _ERROR, _BIGINT = 1, 2, 3, 4, 5
"""Extensions. _DECIMAL is what big ints were written as before: Python converts no more than 4,300 digits."""
REFERENCE, TYPED = 6, 7
"""Extensions of values that need an exporter (`exports`): what travels by reference, and what is sent as its parts."""
_INT64_MIN, _UINT64_MAX = -(1 << 63), (1 << 64) - 1
_FORBIDDEN = (tuple, bytearray)
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MS = datetime.timedelta(milliseconds=1)


class Undefined:
    """JavaScript's `undefined`: what `put` refuses, or skips as the value of an entry; elsewhere it travels as None."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "undefined"


UNDEFINED: Final = Undefined()


class StandIn:
    """A value in another style than Python's (a JavaScript `Date`, a typed array) that stands for a plain one."""

    __slots__ = ()

    def plain(self) -> object:
        """What travels, and is stored, in its place: a value that can."""
        raise NotImplementedError


class JsDict(dict[str, object]):
    """A dict whose keys can also be read as attributes; real dict methods win on a clash."""

    __slots__ = ()

    def __getattr__(self, name: str) -> object:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def to_py(self, **_options: object) -> JsDict:
        return self

    def object_keys(self) -> JsList:
        return JsList(self.keys())

    def object_values(self) -> JsList:
        return JsList(self.values())

    def object_entries(self) -> JsList:
        return JsList(JsList(pair) for pair in self.items())

    def as_object_map(self) -> JsDict:
        return self


class JsList(list[object]):
    """A list with the JavaScript style beside its own."""

    __slots__ = ()

    def to_py(self, **_options: object) -> JsList:
        return self

    @property
    def length(self) -> int:
        return len(self)

    def object_keys(self) -> JsList:
        return JsList(str(index) for index in range(len(self)))

    def object_entries(self) -> JsList:
        return JsList(JsList((str(index), value)) for index, value in enumerate(self))

    def object_values(self) -> JsList:
        return self


class Buffer(bytes):
    """Bytes with the style of a JavaScript buffer and of a memoryview beside their own; `isinstance` says that it is either."""

    __slots__ = ()

    @property
    def __class__(self) -> type:  # type: ignore[override]
        """Programs ask `isinstance(value, memoryview)`, which asks this when the type itself says no."""
        return memoryview

    itemsize = ndim = 1
    format = "B"
    readonly = contiguous = c_contiguous = f_contiguous = True
    strides, suboffsets = (1,), ()

    @property
    def obj(self) -> bytes:
        return self

    @property
    def shape(self) -> tuple[int]:
        return (len(self),)

    def cast(self, *format: Any) -> memoryview:
        return memoryview(self).cast(*format)

    def toreadonly(self) -> memoryview:
        return memoryview(self)

    def release(self) -> None:
        """There is nothing to let go."""

    def __enter__(self) -> Buffer:
        return self

    def __exit__(self, *_error: object) -> None:
        self.release()

    @property
    def byteLength(self) -> int:
        return len(self)

    @property
    def nbytes(self) -> int:
        return len(self)

    @property
    def length(self) -> int:
        return len(self)

    def to_py(self, **_options: object) -> Buffer:
        return self

    def to_bytes(self) -> bytes:
        return bytes(self)

    def tobytes(self) -> bytes:
        return bytes(self)

    def tolist(self) -> list[int]:
        return list(self)

    def to_memoryview(self) -> memoryview:
        return memoryview(self)

    def slice(self, start: int = 0, end: int | None = None) -> Buffer:
        return Buffer(self[start:end])


SCALARS = frozenset({type(None), bool, int, float, str, bytes, Buffer})
"""Immutable types: they may be shared instead of copied."""
NEED_EXPORTER: set[type] = set()
"""Types, and their subclasses, that only an exporter can pack; `exports` and `value_types` fill it in."""


def needs_exporter(kind: type) -> bool:
    """Whether values of that type cross a call only (by reference, or as their parts) and are never stored."""
    return any(base in NEED_EXPORTER for base in kind.__mro__) or hasattr(kind, "__anext__")


_PACKED_AS_THEY_ARE = frozenset({type(None), bool, int, float, str, bytes, list, dict})


def _default(value: object) -> object:
    """What msgpack cannot pack by itself. Containers' subclasses as the containers, the rest as extensions or refused."""
    kind = type(value)
    if isinstance(value, StandIn):
        plain = value.plain()
        return plain if type(plain) in _PACKED_AS_THEY_ARE else _default(plain)
    if isinstance(value, _FORBIDDEN):
        raise TypeError(f"{kind} cannot be sent over RPC")
    if isinstance(value, dict):
        return dict(cast("dict[object, object]", value))
    if isinstance(value, list):
        return list(cast("list[object]", value))
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):  # subclasses of int, and ints beyond 64 bits
        return _whole(int(value))
    if isinstance(value, float):
        return float(value)
    if isinstance(value, memoryview | bytes):
        return bytes(value)
    if value is UNDEFINED:
        return None
    if isinstance(value, set | frozenset):
        return msgpack.ExtType(_SET, _packer(sorted_or_listed(cast("set[object]", value))))
    if isinstance(value, datetime.datetime):
        return msgpack.ExtType(_DATETIME, str(milliseconds(value)).encode())
    if isinstance(value, PerdureError):
        return msgpack.ExtType(_ERROR, _packer(value.to_wire()))
    if isinstance(value, Exception):
        fields = PerdureError(str(value), name="Error").to_wire()
        return msgpack.ExtType(_ERROR, _packer(fields))
    if needs_exporter(kind):
        raise ByReference(f'Could not serialize object of type "{kind.__name__}"')
    if hasattr(value, "__await__"):
        raise TypeError(f"Awaitable {kind} cannot be sent over RPC")
    if isinstance(value, re.Pattern):
        raise TypeError("RegExp cannot be sent over RPC")
    raise DataCloneError(f'Could not serialize object of type "{kind.__name__}"')


def _whole(number: int) -> object:
    if _INT64_MIN <= number <= _UINT64_MAX:
        return number
    return msgpack.ExtType(_BIGINT, b"%x" % number if number >= 0 else b"-%x" % -number)


def milliseconds(when: datetime.datetime) -> int:
    """Milliseconds since the epoch, never rounded up; a naive time is local. Raises DataCloneError outside the years 1-9999."""
    try:
        return (when.astimezone(datetime.UTC) - _EPOCH) // _MS
    except (OverflowError, ValueError, OSError) as error:
        raise DataCloneError(f"Could not serialize a time: {error}") from None


def _local_time(ms: int) -> datetime.datetime:
    """The naive local time of milliseconds since the epoch: the fraction apart, because floats would round it."""
    seconds, fraction = divmod(ms, 1000)
    return datetime.datetime.fromtimestamp(seconds).replace(microsecond=fraction * 1000)


def sorted_or_listed(values: Iterable[object]) -> list[object]:
    """A set's members in a stable order where they have one."""
    members = list(values)
    try:
        return sorted(members)  # pyright: ignore[reportArgumentType] - falls back where there is no order
    except TypeError:
        return members


_packers: list[msgpack.Packer] = []
_SINGLE = frozenset((int, str, bool, float, type(None)))


def _pack_plain(value: object) -> bytes:
    """With a packer of the pool: making one costs more than packing a small value. Values within values take another."""
    packer = _packers.pop() if _packers else msgpack.Packer(default=_default, strict_types=True, autoreset=True)
    data = cast(
        bytes, packer.pack(value)
    )  # after an error the packer is left to the collector: it may hold half a value
    _packers.append(packer)
    return data


def _pack_unusual(value: object) -> bytes:
    """With ints beyond 64 bits, which msgpack refuses before asking `default`, and texts that hold half a surrogate pair."""
    return cast(
        bytes, msgpack.packb(_widen(value), default=_default, strict_types=True, unicode_errors="surrogatepass")
    )


def _packer(value: object) -> bytes:
    try:
        try:
            data = _pack_plain(value)
        except (OverflowError, UnicodeEncodeError):
            data = _pack_unusual(value)
        if 0xC4 in data or 0xC5 in data or 0xC6 in data:  # the markers of bytes, or a piece of something else
            _refuse_bytearrays(value)
        return data
    except RecursionError:
        raise DataCloneError("Could not serialize a value that is nested too deeply or contains itself") from None
    except ValueError as error:
        if "recursion" in str(error):
            raise DataCloneError("Could not serialize a value that is nested too deeply or contains itself") from None
        raise DataCloneError(f"Could not serialize value: {error}") from None


def _refuse_bytearrays(value: object) -> None:
    """msgpack packs them without asking `default`. They are not hashable, so no set and no key holds one."""
    if type(value) is bytearray:
        raise TypeError(f"{bytearray} cannot be sent over RPC")
    if isinstance(value, dict):
        value = list(cast("dict[object, object]", value).values())
    if isinstance(value, list):
        for each in cast("list[object]", value):
            if type(each) not in SCALARS:
                _refuse_bytearrays(each)


def _widen(value: object) -> object:
    """The same value with ints beyond 64 bits as extensions. What lies in sets is widened when the set is packed."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return _whole(int(value))
    if isinstance(value, dict):
        return {_widen_key(k): _widen(v) for k, v in cast("dict[object, object]", value).items()}
    if isinstance(value, list):
        return [_widen(v) for v in cast("list[object]", value)]
    return value


def _widen_key(key: object) -> object:
    """Keys become texts anyway; an extension would be none."""
    if isinstance(key, int) and not isinstance(key, bool) and not _INT64_MIN <= key <= _UINT64_MAX:
        return str(int(key))
    return key


EMPTY_ARGS = b"\x90"


def pack(value: object, *, bytes_max: int = VALUE_BYTES_MAX) -> bytes:
    """The value as bytes.

    Raises TypeError for tuples, bytearrays and awaitables, DataCloneError for other objects, ValueTooLarge above
    `bytes_max` (all before anything is sent).
    """
    if type(value) in _SINGLE and _packers:  # nothing lies in it that must be looked at: one step less for most results
        packer = _packers.pop()
        try:
            data = cast(bytes, packer.pack(value))
        except (OverflowError, UnicodeEncodeError):  # the packer may hold half a value: it is not kept
            data = _pack_unusual(value)
        else:
            _packers.append(packer)
    else:
        data = _packer(value)
    if len(data) > bytes_max:
        raise _too_large(len(data), bytes_max)
    return data


def _too_large(size: int, bytes_max: int) -> ValueTooLarge:
    return ValueTooLarge(
        f"Serialized RPC arguments or return values are limited to {bytes_max >> 20}MiB, "
        f"but the size of this value was: {size} bytes",
        hint="stream large bodies with fetch, or split the value",
    )


def pack_crossing(
    value: object, export: Callable[[object], tuple[int, object] | None], *, bytes_max: int = VALUE_BYTES_MAX
) -> bytes:
    """As `pack`, for values in which something needs an exporter.

    `export(value)` is asked for each such value, once, and gives the extension's code and its data (bytes), or the parts
    that stand for the value: those may need it again.
    """

    def default(found: object) -> object:
        if isinstance(found, StandIn):
            found = found.plain()
            if type(found) in _PACKED_AS_THEY_ARE:
                return found
        if isinstance(found, set | frozenset):
            return msgpack.ExtType(_SET, packed(sorted_or_listed(cast("set[object]", found))))
        if needs_exporter(type(found)):
            exported = export(found)
            if exported is not None:
                code, data = exported
                return msgpack.ExtType(code, data if isinstance(data, bytes) else packed(data))
        return _default(found)

    def packed(found: object) -> bytes:
        _refuse_bytearrays(found)
        return cast(
            bytes, msgpack.packb(_widen(found), default=default, strict_types=True, unicode_errors="surrogatepass")
        )

    try:
        data = packed(value)
    except RecursionError:
        raise DataCloneError("Could not serialize a value that is nested too deeply or contains itself") from None
    except ValueError as error:
        raise DataCloneError(f"Could not serialize value: {error}") from None
    if len(data) > bytes_max:
        raise _too_large(len(data), bytes_max)
    return data


def key_text(key: object) -> str:
    """A dict's key as it arrives: text, as JavaScript writes it."""
    if isinstance(key, str):
        return key
    if key is None:
        return "null"
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, float) and key.is_integer() and abs(key) < 1e21:
        return str(int(key))
    return str(key)


def _pairs(pairs: Iterable[tuple[object, object]]) -> JsDict:
    return JsDict((key if type(key) is str else key_text(key), value) for key, value in pairs)


def _pairs_with_buffers(pairs: Iterable[tuple[object, object]]) -> JsDict:
    return JsDict(
        (key if type(key) is str else key_text(key), Buffer(value) if type(value) is bytes else value)
        for key, value in pairs
    )


def _list_with_buffers(values: Iterable[object]) -> JsList:
    return JsList(Buffer(value) if type(value) is bytes else value for value in values)


def _extension(code: int, data: bytes) -> object:
    if code == _SET:
        members = cast("list[object]", unpack(data))
        return {frozenset(cast("set[object]", each)) if isinstance(each, set) else each for each in members}
    if code == _DATETIME:
        return _local_time(int(data))
    if code == _BIGINT:
        return int(data, 16)
    if code == _DECIMAL:
        return int(data)
    if code == _ERROR:
        return from_wire(cast("dict[str, object]", unpack(data)))
    raise DataCloneError(f"unknown value extension {code}")


def unpack_crossing(data: bytes, import_value: Callable[[int, object], object]) -> object:
    """The value that `pack_crossing` packed. `import_value(code, data or parts)` gives what stands for an exported value.

    Raises DataCloneError.
    """

    def extension(code: int, raw: bytes) -> object:
        if code == REFERENCE:
            return import_value(code, raw)
        if code == TYPED:
            return import_value(code, unpacked(raw))
        if code == _SET:
            return set(cast("list[object]", unpacked(raw)))
        return _extension(code, raw)

    def unpacked(raw: bytes) -> object:
        value = cast(
            "object",
            msgpack.unpackb(
                raw,
                object_pairs_hook=_pairs_with_buffers,
                list_hook=_list_with_buffers,
                ext_hook=extension,
                strict_map_key=False,
                unicode_errors="surrogatepass",
            ),
        )
        return Buffer(value) if type(value) is bytes else value

    try:
        return unpacked(data)
    except DataCloneError:
        raise
    except Exception as error:  # also what a class makes of parts that it did not expect
        raise DataCloneError(f"malformed value: {error}") from error


def unpack(data: bytes | memoryview) -> object:
    """The value that `pack` packed. Raises DataCloneError when the bytes are no value."""
    # msgpack has no hook for bytes. Looking for the three markers that begin them costs less than looking at each value;
    # one that is found in the middle of a text does no harm.
    raw = data if type(data) is bytes else bytes(data)
    try:
        if 0xC4 in raw or 0xC5 in raw or 0xC6 in raw:
            return _unpack_buffers(raw)
        return msgpack.unpackb(
            raw, object_pairs_hook=_pairs, list_hook=JsList, ext_hook=_extension, strict_map_key=False
        )
    except DataCloneError:
        raise
    except UnicodeDecodeError:  # half a surrogate pair in a text: rare, and the only other way
        return _unpack_unusual(raw)
    except (ValueError, msgpack.UnpackException) as error:
        raise DataCloneError(f"malformed value: {error}") from error


def _unpack_buffers(data: bytes, errors: str = "strict") -> object:
    value = cast(
        "object",
        msgpack.unpackb(
            data,
            object_pairs_hook=_pairs_with_buffers,
            list_hook=_list_with_buffers,
            ext_hook=_extension,
            strict_map_key=False,
            unicode_errors=errors,
        ),
    )
    return Buffer(value) if type(value) is bytes else value


def _unpack_unusual(data: bytes) -> object:
    try:
        return _unpack_buffers(data, "surrogatepass")
    except DataCloneError:
        raise
    except (ValueError, msgpack.UnpackException) as error:
        raise DataCloneError(f"malformed value: {error}") from error
