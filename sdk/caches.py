"""`caches`: the Cache API of the reference, `caches.default` and `caches.open(name)`.

What always holds: a cache is of its process alone, in memory, and may forget anything at any time; a response that may not be
kept is not, without an error, save those that the reference refuses.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

from ..engine.http import HttpResponse
from ..engine.thenable import Thenable
from . import cache_rules
from .cache_rules import Pairs
from .cache_store import CacheStore, Kept
from .request import Request
from .response import Response

T = TypeVar("T")
_DEFAULT = ""
"""Name of the default cache: `open` does not reach it."""
_store = CacheStore()


def install(store: CacheStore) -> Callable[[], None]:
    """Let all caches of this process be those of `store`; the function that it gives puts the ones before back."""
    global _store
    before, _store = _store, store

    def undo() -> None:
        global _store
        _store = before

    return undo


class Cached(Thenable, Generic[T]):
    """An operation that is done, or on its way: await it for what it gives."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._work = work

    def __await__(self) -> Generator[Any, Any, T]:
        return self._work().__await__()


class Cache:
    """One cache. Requests are URLs or Requests."""

    def __init__(self, name: str) -> None:
        self._name = name

    def put(self, request: object, response: Response) -> Awaitable[None]:
        """Keep a response for its request as long as its headers say, or not at all if they say so.

        Its body is used up. Raises TypeError for another method than GET, status 206, and `Vary: *`.
        """
        asked = _request(request)
        if asked.method != "GET":
            raise TypeError("Cannot cache response to non-GET request.")
        if not isinstance(response, Response):  # pyright: ignore[reportUnnecessaryIsInstance] - programs pass anything
            raise TypeError(f"put() takes a Response, got {type(response).__name__}")
        if response.status == 206:
            raise TypeError("Cannot cache response to a range request (206 Partial Content).")
        if "*" in cache_rules.varies(list(response.headers.items())):
            raise TypeError("Cannot cache response with 'Vary: *' header.")
        wire = response.to_wire()
        if wire.body is None or isinstance(wire.body, bytes):
            self._keep(asked, wire, wire.body)
            return Cached(_nothing)
        return _begin(self._read_and_keep(asked, wire))

    async def _read_and_keep(self, asked: Request, wire: HttpResponse) -> None:
        self._keep(asked, wire, await Response.from_wire(wire).bytes())

    def _keep(self, asked: Request, wire: HttpResponse, body: bytes | None) -> None:
        now_s = time.time()
        lifetime_s = cache_rules.lifetime_s(wire.status, wire.headers, now_s)
        if wire.status == 304 or lifetime_s <= 0:
            return
        varied = {name: cache_rules.value_of(asked.pairs(), name) for name in cache_rules.varies(wire.headers)}
        headers = cache_rules.kept_headers(wire.headers)
        kept = Kept(wire.status, wire.status_text, headers, body, now_s, now_s + lifetime_s, varied)
        _store.keep((self._name, asked.url), kept)

    def match(self, request: object, options: object = None, **more: object) -> Awaitable[Response | None]:
        """The response that is kept for a request, None when there is none; conditions and ranges of the request are answered."""
        asked = _request(request)
        found: Response | None = None
        if asked.method == "GET" or _ignores_method(options, more):
            now_s = time.time()
            kept = _store.find((self._name, asked.url), asked.pairs(), now_s)
            found = None if kept is None else _answer(kept, asked.pairs(), now_s)

        async def work() -> Response | None:
            return found

        return Cached(work)

    def delete(self, request: object, options: object = None, **more: object) -> Awaitable[bool]:
        """Forget what is kept for a URL; whether there was something."""
        asked = _request(request)
        there = (asked.method == "GET" or _ignores_method(options, more)) and _store.remove((self._name, asked.url))

        async def work() -> bool:
            return there

        return Cached(work)


class CacheStorage:
    """`caches`."""

    def __init__(self) -> None:
        self.default = Cache(_DEFAULT)

    def open(self, name: str) -> Awaitable[Cache]:
        """A cache of that name, apart from the default one and those of other names. Raises TypeError."""
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance] - programs pass anything
            raise TypeError(f"the name of a cache is a text, got {type(name).__name__}")

        async def work() -> Cache:
            return Cache(f"={name}")

        return Cached(work)


caches = CacheStorage()


def _begin(work: Coroutine[Any, Any, T]) -> Awaitable[T]:
    """Reading a body takes time: it goes on also when nobody awaits it."""
    return asyncio.ensure_future(work)


async def _nothing() -> None:
    return


def _request(given: object) -> Request:
    if isinstance(given, Request):
        return given
    try:
        return Request(given)
    except TypeError:
        raise TypeError("Invalid URL. Cache API keys must be fully-qualified, valid URLs.") from None


def _ignores_method(options: object, more: dict[str, object]) -> bool:
    given = {**options, **more} if isinstance(options, dict) else more
    found = given.get("ignoreMethod", given.get("ignore_method", getattr(options, "ignoreMethod", False)))
    return bool(found)


def _answer(kept: Kept, asked: Pairs, now_s: float) -> Response:
    """What a cache answers of what it keeps: whole, a range of it, or that the sender has it."""
    headers = [*kept.headers, ("cf-cache-status", "HIT"), ("age", str(int(now_s - kept.stored_s)))]
    if cache_rules.not_modified(asked, kept.headers):
        return Response.from_wire(HttpResponse(304, headers, None))
    wanted = cache_rules.value_of(asked, "range")
    if wanted is None or kept.status != 200 or kept.body is None:
        return Response.from_wire(HttpResponse(kept.status, headers, kept.body, kept.status_text))
    size = len(kept.body)
    rest = [(name, value) for name, value in headers if name.lower() not in ("content-length", "content-range")]
    try:
        found = cache_rules.byte_range(wanted, size)
    except ValueError:
        return Response.from_wire(HttpResponse(416, [*rest, ("content-range", f"bytes */{size}")], None))
    if found is None:
        return Response.from_wire(HttpResponse(kept.status, headers, kept.body, kept.status_text))
    begin, end = found
    rest += [("content-range", f"bytes {begin}-{end - 1}/{size}"), ("content-length", str(end - begin))]
    return Response.from_wire(HttpResponse(206, rest, kept.body[begin:end]))
