"""What a key has, as the cache and the table hold it: checked, copied and measured before anything is stored (spec: storage-kv).

What always holds: an entry is immutable, so it may be shared; every entry that `encode` gave can be written later without
an error of its own; sizes are those of the bytes in the table.
"""

from __future__ import annotations

from typing import Final, cast

import msgpack

from .errors import InvalidArgument, OutOfRange, StorageError
from .limits import Limits
from .values import UNDEFINED, Buffer, key_text, pack, unpack


class _Absent:
    """No such key."""

    __slots__ = ()


class Packed:
    """A value that is not immutable, or not of the usual kinds: its packed copy, unpacked anew for every reader."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


ABSENT: Final = _Absent()
Entry = object
"""What a key has: ABSENT, a scalar, or Packed."""


def encode(key: str, value: object, limits: Limits) -> Entry:
    """A value as the cache holds it. Raises TypeError, InvalidArgument, DataCloneError, StorageError when it cannot be stored."""
    if not key.isascii():
        check_text(key, "put")
    kind = type(value)
    if type(value) is int and -(1 << 63) <= value < (1 << 64):
        return value
    if kind is bool or kind is float or value is None:
        return value
    if value is UNDEFINED:
        raise InvalidArgument("put() called with undefined value.")
    if (kind is str and _is_whole(cast("str", value))) or kind is bytes or kind is Buffer:
        size = len(cast("bytes", value))
        if size * 4 + len(key) * 4 < limits.key_and_value_bytes_max:
            return Buffer(cast("bytes", value)) if kind is bytes else value
    data = pack(value, bytes_max=1 << 62)
    if len(data) + len(key.encode()) > limits.key_and_value_bytes_max:
        raise StorageError(
            "string or blob too big: SQLITE_TOOBIG",
            hint=f"a key and its value may have {limits.key_and_value_bytes_max} bytes together",
        )
    return Packed(data)


def check_legacy(key: str, entry: Entry, limits: Limits) -> None:
    """Raises OutOfRange for what the key-value backend does not take."""
    check_legacy_key(key, limits)
    size = len(data_of(entry))
    if size > limits.legacy_value_bytes_max:
        raise OutOfRange(
            f"Values cannot be larger than {limits.legacy_value_bytes_max} bytes. A value of size {size} was provided.",
            hint="declare the class in new_sqlite_classes, or split the value",
        )


def check_legacy_key(key: str, limits: Limits) -> None:
    """Raises OutOfRange for a key that the key-value backend does not take."""
    size = len(key.encode(errors="surrogatepass"))
    if size > limits.legacy_key_bytes_max:
        raise OutOfRange(
            f"Keys cannot be larger than {limits.legacy_key_bytes_max} bytes. A key of size {size} was provided."
        )


def _is_whole(text: str) -> bool:
    """Whether UTF-8 can hold the text: one with half a surrogate pair is packed another way."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def data_of(entry: Entry) -> bytes:
    """The bytes that the table holds of an entry."""
    return entry.data if isinstance(entry, Packed) else cast("bytes", msgpack.packb(entry))


def decode(data: bytes) -> Entry:
    """The entry of stored bytes."""
    first = data[0] if data else 0xC1
    if first < 0x80 or first in (0xC0, 0xC2, 0xC3) or 0xCA <= first <= 0xD3 or first >= 0xE0:
        return cast("object", msgpack.unpackb(data))
    if 0xC4 <= first <= 0xC6:
        return Buffer(cast("bytes", msgpack.unpackb(data)))
    if 0xA0 <= first < 0xC0 or 0xD9 <= first <= 0xDB:
        return unpack(data)
    return Packed(data)


def value_of(entry: Entry) -> object:
    """A copy for a reader."""
    return unpack(entry.data) if isinstance(entry, Packed) else entry


def check_key(key: object, operation: str) -> str:
    """The key as text: numbers are taken as JavaScript writes them. Raises InvalidArgument for what is neither."""
    if not isinstance(key, str):
        if isinstance(key, int | float):
            return key_text(key)
        raise InvalidArgument(
            f"Failed to execute '{operation}' on 'DurableObjectStorage': parameter 1 is not of type 'string', "
            f"got {type(key).__name__}"
        )
    return key if key.isascii() else check_text(key, operation)


def check_text(key: str, operation: str) -> str:
    """Raises InvalidArgument for a key that UTF-8 cannot hold."""
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(
            f"Failed to execute '{operation}' on 'DurableObjectStorage': the key is not well-formed text: {error.reason}"
        ) from None
    return key
