"""The operator: asks a running runtime about its objects and has copies made, over the router client.

What always holds: nothing here opens a file of the data folder but what lies in DATA/exports, where a shard wrote it for us.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from ..bindings.system_classes import is_system
from ..engine.errors import ClassNotFound, InvalidArgument
from ..engine.ids import ClassKey
from ..router.blocking import BlockingClient, connect_blocking
from .door import address_of
from .times import Moment

LONG_S = 3_600.0
"""Deadline of what copies whole objects."""
PAGE = 2_000
"""Objects that a shard is asked for at once."""
_HEX = re.compile(r"[0-9a-fA-F]{64}")
Fields = dict[str, object]


class Link(Protocol):
    """What an operator needs of a client; BlockingClient has it."""

    @property
    def classes(self) -> Mapping[str, str]: ...
    @property
    def shards(self) -> Sequence[int]: ...
    def operate(
        self, target: bytes | int, operation: str, *, deadline_s: float | None = None, **arguments: object
    ) -> object: ...
    def close(self) -> None: ...


def connect(data: str | None, address: str | None) -> BlockingClient:
    """Reach the runtime of a data folder, at an address, or the one that `perdure.connect()` finds. Raises NotConnected."""
    if data is not None and address is None:
        address = address_of(data)
    return connect_blocking(address)


@dataclass(frozen=True, slots=True)
class Target:
    """An object that a command is about. `name`: None when it was named by its id."""

    class_key: str
    object_id: bytes
    name: str | None

    def __str__(self) -> str:
        return self.object_id.hex() if self.name is None else f"{self.class_key}/{self.name}"


class Operator:
    """Typed calls of the shards' operations. Every method raises what `Client.operate` raises."""

    def __init__(self, link: Link) -> None:
        self._link = link

    # ------------------------------------------------------------------ naming
    def class_key(self, text: str) -> str:
        """The key of a class that is named by its name or by its key. Raises ClassNotFound."""
        classes = self._link.classes
        if text in classes:
            return classes[text]
        if text in classes.values() or is_system(text):
            return text
        raise ClassNotFound(
            f"no class {text!r} is served", hint=f"known: {', '.join(sorted(classes)) or 'none'} (names or keys)"
        )

    def class_name(self, key: str) -> str:
        """The class's name in the program that runs; its key when it has none any more."""
        return next((name for name, found in self._link.classes.items() if found == key), key)

    def named(self, class_text: str, name: str) -> Target:
        """The object of that name. Raises ClassNotFound."""
        key = self.class_key(class_text)
        return Target(key, ClassKey(key).id_from_name(name), name)

    def find(self, text: str) -> Target:
        """The object that `CLASS/NAME` or 64 hex digits name. Raises ClassNotFound, InvalidArgument."""
        if _HEX.fullmatch(text):
            object_id = bytes.fromhex(text)
            for key in self._link.classes.values():
                if ClassKey(key).owns(object_id):
                    return Target(key, object_id, None)
            raise InvalidArgument(
                f"{text} is the id of no class that is served",
                hint=f"classes: {', '.join(sorted(self._link.classes)) or 'none'}",
            )
        known = [
            each for each in self._link.classes if "/" in each and text.startswith(f"{each}/")
        ]  # of programs beside
        class_text, slash, name = (known[0], "/", text[len(known[0]) + 1 :]) if known else text.partition("/")
        if not slash or not name:
            raise InvalidArgument(f"{text!r} names no object", hint="give CLASS/NAME, or an id of 64 hex digits")
        return self.named(class_text, name)

    # ------------------------------------------------------------------ operations
    def _ask(self, target: Target | int, operation: str, *, deadline_s: float | None = None, **more: object) -> Fields:
        if isinstance(target, int):
            return cast("Fields", self._link.operate(target, operation, deadline_s=deadline_s, **more))
        found = self._link.operate(
            target.object_id, operation, deadline_s=deadline_s, class_key=target.class_key, **more
        )
        return cast("Fields", found)

    @property
    def data(self) -> str:
        """The data folder of the runtime."""
        return str(self._ask(self._link.shards[0], "about")["data"])

    def objects(self, class_key: str | None, prefix: str | None, size: int = PAGE) -> Iterator[Fields]:
        """All objects in the order of class key, name and id, a page of each shard at a time."""
        return heapq.merge(*(self._of_shard(shard, class_key, prefix, size) for shard in self._link.shards), key=_place)

    def _of_shard(self, shard: int, class_key: str | None, prefix: str | None, size: int) -> Iterator[Fields]:
        after: object = None
        while True:
            page = self._ask(shard, "list", limit=size, class_key=class_key, prefix=prefix, after=after)
            yield from cast("list[Fields]", page["objects"])
            after = page["next"]
            if after is None:
                return

    def describe(self, target: Target) -> Fields:
        """Its row of the catalogue, and whether it is resident. Raises ObjectNotFound."""
        return cast("Fields", self._link.operate(target.object_id, "describe"))

    def export(self, target: Target, path: str, at: Moment) -> Fields:
        """Have the shard write a whole SQLite file to `path`: `{"bytes", "bookmark", "time_ms"}`."""
        return self._ask(target, "export", deadline_s=LONG_S, path=path, at=at)

    def take_in(self, target: Target, path: str, *, replace: bool) -> Fields:
        """Make the file at `path` the object's database: `{"bytes", "bookmark"}`."""
        return self._ask(target, "import", deadline_s=LONG_S, name=target.name, path=path, replace=replace)

    def delete(self, target: Target) -> bool:
        """Remove the object's storage; whether it had any."""
        return bool(self._ask(target, "delete", deadline_s=LONG_S)["existed"])

    def vacuum(self, target: Target) -> tuple[int, int]:
        """Write the object's file anew without its free pages; its bytes before and after."""
        found = self._ask(target, "vacuum", deadline_s=LONG_S, name=target.name)
        return cast("int", found["before"]), cast("int", found["after"])

    def history(self, target: Target) -> Fields:
        """`{"points": [{"bookmark", "time_ms", "bytes"}…], "oldest_ms", "bytes"}`."""
        return self._ask(target, "history")

    def restore(self, target: Target, at: str | int) -> str:
        """Bring back the moment `at`; the bookmark that undoes it."""
        return str(self._ask(target, "restore", deadline_s=LONG_S, at=at)["undo"])

    def upgrade_class(self, class_key: str, now: bool) -> tuple[bool, int]:
        """Give SQL to a class, in every shard; whether it had none, and how many of its objects were in memory."""
        found = [self._ask(shard, "upgrade_class", class_key=class_key, now=now) for shard in self._link.shards]
        return bool(found[0]["upgraded"]), sum(cast("int", each["objects"]) for each in found)


def _place(row: Fields) -> tuple[str, bool, str, str]:
    """The order in which the shards list."""
    name = row["name"]
    return str(row["class"]), name is not None, str(name or ""), str(row["id"])


__all__ = ["LONG_S", "Fields", "Link", "Operator", "Target", "connect"]
