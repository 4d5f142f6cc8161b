"""What happened in a world, in order: for people who read a failing run, and as a hash that two equal runs share."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

KEPT = 2_000
"""Happenings that are kept; the hash has all."""


@dataclass(frozen=True, slots=True)
class Happening:
    """`at_s`: seconds since the world began. `who`: an object as `Class/name`, a shard, or ""."""

    at_s: float
    what: str
    who: str
    fields: dict[str, object]

    def __str__(self) -> str:
        rest = "".join(f" {name}={value}" for name, value in self.fields.items() if not isinstance(value, bytes))
        return f"{self.at_s:12.6f}  {self.what:<10} {self.who}{rest}"


class Story:
    """Happenings of one run."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self.names: dict[bytes, str] = {}
        """Object id → how it is told of."""
        self.happenings: deque[Happening] = deque(maxlen=KEPT)
        self._now_s = now_s
        self._hash = hashlib.sha256()

    def tell(self, what: str, who: bytes | str = "", **fields: object) -> None:
        """Note a happening."""
        name = self.names.get(who) or who.hex()[:12] if isinstance(who, bytes) else who
        found = Happening(self._now_s(), what, name, fields)
        self.happenings.append(found)
        self._hash.update(repr((found.at_s, what, name, sorted(fields.items()))).encode())

    def digest(self) -> str:
        """The same for two runs in which the same happened."""
        return self._hash.hexdigest()

    def text(self, last: int = 40) -> str:
        """The last happenings, a line each."""
        shown = list(self.happenings)[-last:]
        left_out = len(self.happenings) - len(shown)
        head = [f"… {left_out} before"] if left_out else []
        return "\n".join(head + [str(happening) for happening in shown])
