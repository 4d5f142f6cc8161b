"""Object ids: 32 bytes, the first half from the name or random, the second a check over the class's key.

What always holds: an id of another class is refused without a look-up (spec: ids and stubs).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from functools import lru_cache

from .errors import InvalidArgument
from .values import key_text

ID_BYTES = 32
_HALF = 16
_HEX = re.compile(r"[0-9a-fA-F]{64}\Z")


class ClassKey:
    """The stable key of a class's namespace; survives renames of the class."""

    __slots__ = ("_key", "folder", "unique")

    def __init__(self, unique: str) -> None:
        """`unique`: one text per (worker, class), for instance "counter-Counter"."""
        self.unique = unique
        self._key = hashlib.sha256(unique.encode()).digest()
        readable = re.sub(r"[^A-Za-z0-9_-]", "_", unique)[:40]
        self.folder = f"{readable}-{self._key[:4].hex()}"

    def _sign(self, data: bytes) -> bytes:
        return hmac.digest(self._key, data, "sha256")[:_HALF]

    def id_from_name(self, name: str) -> bytes:
        """The 32 bytes that belong to a name, the same at every call."""
        base = self._sign(name.encode())
        return base + self._sign(base)

    def unique_id(self, random_bytes: Callable[[int], bytes]) -> bytes:
        """32 fresh bytes; `random_bytes(n)` is the source of randomness."""
        base = random_bytes(_HALF)
        return base + self._sign(base)

    def owns(self, raw: bytes) -> bool:
        """Whether the id was made for this class."""
        return len(raw) == ID_BYTES and hmac.compare_digest(self._sign(raw[:_HALF]), raw[_HALF:])

    def __repr__(self) -> str:
        return f"ClassKey({self.unique!r})"


@lru_cache(maxsize=65_536)
def _named(unique: str, name: str) -> bytes:
    return ClassKey(unique).id_from_name(name)


class ObjectId:
    """An id as programs see it: `toString()`, `equals()`, `name`, `jurisdiction`."""

    __slots__ = ("jurisdiction", "name", "raw")

    def __init__(self, raw: bytes, name: str | None = None, jurisdiction: str | None = None) -> None:
        self.raw = raw
        self.name = name
        self.jurisdiction = jurisdiction

    @classmethod
    def from_name(cls, key: ClassKey, name: str) -> ObjectId:
        """The id of a name; cached, since most calls go through names."""
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance] - programs pass anything
            if not isinstance(name, int | float):
                raise InvalidArgument(
                    f"Failed to execute 'idFromName' on 'DurableObjectNamespace': parameter 1 is not of type 'string', "
                    f"got {type(name).__name__}"
                )
            name = key_text(name)
        return cls(_named(key.unique, name), name)

    @classmethod
    def from_string(cls, key: ClassKey, text: str) -> ObjectId:
        """The id that 64 hex digits name; refuses ids of other classes."""
        if not isinstance(text, str) or not _HEX.match(text):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidArgument("Invalid Durable Object ID: must be 64 hex digits")
        raw = bytes.fromhex(text)
        if not key.owns(raw):
            raise InvalidArgument("Durable Object ID is not valid for this namespace.")
        return cls(raw)

    def toString(self) -> str:
        """64 lower-case hex digits."""
        return self.raw.hex()

    to_string = toString

    def equals(self, other: object) -> bool:
        """Compares the 32 bytes only; a different name is ignored. TypeError for what is no id."""
        if not isinstance(other, ObjectId):
            raise InvalidArgument(
                "Failed to execute 'equals' on 'DurableObjectId': parameter 1 is not of type 'DurableObjectId'."
            )
        return other.raw == self.raw

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectId) and other.raw == self.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __str__(self) -> str:
        return self.raw.hex()

    def __repr__(self) -> str:
        return f"ObjectId({self.raw.hex()}{f', name={self.name!r}' if self.name else ''})"
