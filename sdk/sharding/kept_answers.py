"""Idempotency keys of calls through a map: what a shard answered, beside what the call's key has, so that both move together.

What always holds: an answer is written in the last turn of its call; a repeat finds it on whatever shard has the key then; it is
never given for another call. Errors that a repeat may cure are not kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

from ...engine.errors import DataCloneError, InvalidArgument, Overloaded, PerdureError, from_wire
from ...engine.raised import as_remote
from ...engine.values import pack
from .items import Item, Items, Kept
from .positions import Span

PREFIX = "__answers\0"
WINDOW_MS = 86_400_000
"""How long an answer is kept."""
ANSWERS_MAX = 10_000
"""Of one shard."""
BYTES_MAX = 16 << 20
ANSWER_BYTES_MAX = 256 << 10
"""A larger one is not kept: a repeat is told so, and does not run."""
_SWEEP_EVERY = 256


class KeptAnswers:
    """Of one shard. `kept`: `ctx.storage.kv`."""

    def __init__(self, kept: Kept, order: str) -> None:
        self.items = Items(kept, order, PREFIX)
        self._running: dict[tuple[str, str], asyncio.Future[None]] = {}
        self._count = self._bytes = 0
        self._until_sweep = 0
        """Answers until it is looked what has expired, and counted; 0: at once."""

    async def once(self, key: str, once: str, call: list[object], perform: Callable[[], Awaitable[object]]) -> object:
        """What `perform()` gives, or gave to the first call with the idempotency key `once`. `call`: method and arguments.

        Raises the error kept; InvalidArgument: `once` belongs to another call; Overloaded: no more can be kept.
        """
        name = hashlib.blake2b(once.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        digest = hashlib.blake2b(pack(call), digest_size=16).digest()
        while (running := self._running.get((key, name))) is not None:
            await asyncio.shield(running)
        found = cast("dict[str, Any] | None", self.items.get(key, name))
        if found is not None and found["expires_ms"] > _now_ms():
            return _given(once, digest, found)
        self._make_room()
        ended = self._running[key, name] = asyncio.get_running_loop().create_future()
        try:
            try:
                value = await perform()
            except Exception as error:
                told = as_remote(error)
                if not (told.retryable or told.overloaded or told.durableObjectReset):
                    self._keep(key, name, digest, {"error": told.to_wire()})
                raise
            self._keep(key, name, digest, {"value": value})
            return value
        finally:
            del self._running[key, name]
            ended.set_result(None)

    def _keep(self, key: str, name: str, digest: bytes, answer: dict[str, object]) -> None:
        try:
            size = len(pack(answer))
        except DataCloneError:  # it holds what travels by reference
            answer, size = {}, 0
        if size > ANSWER_BYTES_MAX:
            answer, size = {}, 0
        self.items.put(key, {**answer, "digest": digest, "expires_ms": _now_ms() + WINDOW_MS}, name)
        self._count += 1
        self._bytes += size
        self._until_sweep -= 1

    def _make_room(self) -> None:
        if self._until_sweep <= 0 or self._full():
            self._sweep()
        if self._full():
            raise Overloaded(
                f"Durable Object is overloaded. Too many idempotency keys: {self._count} of a shard.",
                hint="split the shard, or give keys only to calls that may be made again",
            )

    def _full(self) -> bool:
        return self._count >= ANSWERS_MAX or self._bytes >= BYTES_MAX

    def _sweep(self) -> None:
        now_ms, self._count, self._bytes = _now_ms(), 0, 0
        for key, name, value in list(self.items):
            if cast("dict[str, Any]", value)["expires_ms"] <= now_ms:
                self.items.delete(key, name)
            else:
                self._count += 1
                self._bytes += len(pack(value))
        self._until_sweep = _SWEEP_EVERY

    # ------------------------------------------------------------------ moves
    def read(self, span: Span) -> list[Item]:
        """Those of a span, marked: they travel with what its keys have."""
        return [[*item, "answer"] for item in self.items.read(span)]

    def write(self, items: Iterable[Item]) -> list[Item]:
        """Keep those that are marked, of what has come; gives the others."""
        others: list[Item] = []
        for item in items:
            if len(item) == 5:
                self.items.write([item[:4]])
            else:
                others.append(item)
        self._until_sweep = 0
        return others

    def erase(self, span: Span) -> None:
        """Another shard has them."""
        self.items.erase(span)
        self._until_sweep = 0


def _given(once: str, digest: bytes, found: dict[str, Any]) -> object:
    if bytes(found["digest"]) != digest:
        raise InvalidArgument(
            f"the idempotency key {once!r} was used for another call of this key",
            hint="a key is for one call with its arguments: make a new one",
        )
    if "error" in found:
        error: PerdureError = from_wire(found["error"])
        raise error
    if "value" not in found:
        raise InvalidArgument(
            f"the call with the idempotency key {once!r} has run; its answer was too large, or cannot be kept",
            name="Error",
            hint="let the call with the key do the work, and read its result with another one",
        )
    return found["value"]


def _now_ms() -> int:
    return round(time.time() * 1000)
