"""What belongs to a key always to the same object, by rendezvous hashing: no table is kept anywhere.

What always holds: with the same number of shards a key has the same object, in every process and version; with one shard more
a key either stays or goes to the new one, and one in N+1 goes.
"""

from __future__ import annotations

import hashlib

from ...engine.errors import InvalidArgument
from .spreading import Fixed


def chosen(key: str, names: list[str]) -> str:
    """The name with the highest hash together with the key."""

    def weight(name: str) -> bytes:
        return hashlib.blake2b(f"{name}\0{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()

    return max(names, key=weight)


class ByKey(Fixed):
    """`ByKey(env.ROOMS, shards=8).at(room).say(text)`.

    It moves nothing: after a change of `shards` the data of the keys that changed their object stay where they were. Use
    `ByMap` for data that must go along.
    """

    def at(self, key: str) -> object:
        """The stub of the key's object. Raises InvalidArgument for what is no text."""
        return self._namespace.getByName(self.name_of(key))

    def name_of(self, key: str) -> str:
        """Its name."""
        if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance] - programs pass anything
            raise InvalidArgument(f"a key is a text, got {type(key).__name__}")
        return chosen(key, self.names)
