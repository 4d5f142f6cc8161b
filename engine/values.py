"""Values that cross a call or are stored: copied by packing, in both directions the same rules (spec: rpc, storage-kv).

What always holds: what `unpack(pack(v))` returns equals `v` and shares nothing with it; what cannot travel raises before
anything is sent. Containers come back as real dicts and lists that also answer the JavaScript style of the reference SDK.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import cast

import msgpack

from .errors import DataCloneError, PerdureError, ValueTooLarge, from_wire
from .limits import VALUE_BYTES_MAX

_SET, _DATETIME, _BIGINT, _ERROR = 1, 2, 3, 4
_INT64_MIN, _UINT64_MAX = -(1 << 63), (1 << 64) - 1
_FORBIDDEN = (tuple, bytearray)
SCALARS = frozenset({type(None), bool, int, float, str, bytes})
"""Immutable types: they may be shared instead of copied."""


class JsDict(dict[str, object]):
    """A dict whose keys can also be read as attributes; real dict methods win on a clash."""

    __slots__ = ()

    def __getattr__(self, name: str) -> object:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def to_py(self) -> JsDict:
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

    def to_py(self) -> JsList:
        return self

    def object_values(self) -> JsList:
        return self


class Buffer(bytes):
    """Bytes with the JavaScript style beside their own."""

    __slots__ = ()

    @property
    def byteLength(self) -> int:
        return len(self)

    def to_py(self) -> Buffer:
        return self

    def to_bytes(self) -> bytes:
        return bytes(self)

    def to_memoryview(self) -> memoryview:
        return memoryview(self)

    def slice(self, start: int = 0, end: int | None = None) -> Buffer:
        return Buffer(self[start:end])


def _default(value: object) -> object:
    kind = type(value)
    if isinstance(value, _FORBIDDEN):
        raise TypeError(f"{kind} cannot be sent over RPC")
    if isinstance(value, dict):
        return dict(cast("dict[object, object]", value))
    if isinstance(value, list):
        return list(cast("list[object]", value))
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):  # subclasses of int, and ints beyond 64 bits
        number = int(value)
        if _INT64_MIN <= number <= _UINT64_MAX:
            return number
        return msgpack.ExtType(_BIGINT, str(number).encode())
    if isinstance(value, float):
        return float(value)
    if isinstance(value, memoryview | bytes):
        return bytes(value)
    if isinstance(value, set | frozenset):
        return msgpack.ExtType(_SET, _packer(sorted_or_listed(cast("set[object]", value))))
    if isinstance(value, datetime.datetime):
        return msgpack.ExtType(_DATETIME, str(round(value.timestamp() * 1000)).encode())
    if isinstance(value, PerdureError):
        return msgpack.ExtType(_ERROR, _packer(value.to_wire()))
    if isinstance(value, Exception):
        fields = PerdureError(str(value), name="Error").to_wire()
        return msgpack.ExtType(_ERROR, _packer(fields))
    if hasattr(value, "__await__"):
        raise TypeError(f"Awaitable {kind} cannot be sent over RPC")
    raise DataCloneError(f'Could not serialize object of type "{kind.__name__}"')


def sorted_or_listed(values: Iterable[object]) -> list[object]:
    """A set's members in a stable order where they have one."""
    members = list(values)
    try:
        return sorted(members)  # pyright: ignore[reportArgumentType] - falls back where there is no order
    except TypeError:
        return members


_packers: list[msgpack.Packer] = []


def _pack_plain(value: object) -> bytes:
    """With a packer of the pool: making one costs more than packing a small value. Values within values take another."""
    packer = _packers.pop() if _packers else msgpack.Packer(default=_default, strict_types=True, autoreset=True)
    data = cast(
        bytes, packer.pack(value)
    )  # after an error the packer is left to the collector: it may hold half a value
    _packers.append(packer)
    return data


def _packer(value: object) -> bytes:
    try:
        return _pack_plain(value)
    except OverflowError:
        return cast(bytes, msgpack.packb(_widen(value), default=_default, strict_types=True))
    except UnicodeEncodeError as error:
        raise DataCloneError(f"Could not serialize text: {error.reason}") from None
    except ValueError as error:
        if "recursion" in str(error):
            raise DataCloneError("Could not serialize a value that is nested too deeply or contains itself") from None
        raise DataCloneError(f"Could not serialize value: {error}") from None


def _widen(value: object) -> object:
    """The same value with ints beyond 64 bits as an extension (msgpack raises before asking `default`)."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if _INT64_MIN <= value <= _UINT64_MAX else msgpack.ExtType(_BIGINT, str(value).encode())
    if isinstance(value, dict):
        return {_widen(k): _widen(v) for k, v in cast("dict[object, object]", value).items()}
    if isinstance(value, list):
        return [_widen(v) for v in cast("list[object]", value)]
    return value


EMPTY_ARGS = b"\x90"


def pack(value: object, *, bytes_max: int = VALUE_BYTES_MAX) -> bytes:
    """The value as bytes.

    Raises TypeError for tuples, bytearrays and awaitables, DataCloneError for other objects, ValueTooLarge above
    `bytes_max` (all before anything is sent).
    """
    data = _packer(value)
    if len(data) > bytes_max:
        raise ValueTooLarge(
            f"Serialized RPC arguments or return values are limited to {bytes_max >> 20}MiB, "
            f"but the size of this value was: {len(data)} bytes",
            hint="stream large bodies with fetch, or split the value",
        )
    return data


def _key(key: object) -> str:
    if isinstance(key, str):
        return key
    if key is None:
        return "null"
    if isinstance(key, bool):
        return "true" if key else "false"
    return str(key)


def _pairs(pairs: Iterable[tuple[object, object]]) -> JsDict:
    return JsDict((key if type(key) is str else _key(key), value) for key, value in pairs)


def _extension(code: int, data: bytes) -> object:
    if code == _SET:
        return set(cast("list[object]", unpack(data)))
    if code == _DATETIME:
        return datetime.datetime.fromtimestamp(int(data) / 1000)
    if code == _BIGINT:
        return int(data)
    if code == _ERROR:
        return from_wire(cast("dict[str, object]", unpack(data)))
    raise DataCloneError(f"unknown value extension {code}")


def unpack(data: bytes | memoryview) -> object:
    """The value that `pack` packed. Raises DataCloneError when the bytes are no value."""
    try:
        return msgpack.unpackb(
            data, object_pairs_hook=_pairs, list_hook=JsList, ext_hook=_extension, strict_map_key=False
        )
    except DataCloneError:
        raise
    except (ValueError, msgpack.UnpackException) as error:
        raise DataCloneError(f"malformed value: {error}") from error
