"""The Cache API: each row of docs/bindings.md."""

from __future__ import annotations

import asyncio
import functools

import pytest
from perdure.sdk import cache_rules
from perdure.sdk.cache_store import CacheStore, Kept
from perdure.sdk.caches import caches, install
from perdure.sdk.request import Request
from perdure.sdk.response import Response
from perdure.testing import World
from perdure.testing.virtual import run

URL = "https://example.com/a?b=1"
KEEP = {"cache-control": "max-age=60"}


def on_a_loop(test):
    """An asynchronous test, on a loop of its own."""

    @functools.wraps(test)
    def run_it(*arguments, **named):
        asyncio.run(test(*arguments, **named))

    return run_it


@pytest.fixture(autouse=True)
def store():
    made = CacheStore()
    undo = install(made)
    yield made
    undo()


async def kept(response: Response, request: object = URL) -> bool:
    await caches.default.put(request, response)
    return await caches.default.match(request) is not None


@on_a_loop
async def test_put_match_delete(store):
    cache = caches.default
    assert await cache.match(URL) is None
    await cache.put(URL, Response("hello", headers={**KEEP, "x-own": "1"}, status=201))
    found = await cache.match(Request(URL))
    assert (found.status, await found.text(), found.headers.get("x-own")) == (201, "hello", "1")
    assert found.headers.get("cf-cache-status") == "HIT"
    assert await (await cache.match(URL)).text() == "hello"  # as often as one likes
    assert await cache.match("https://example.com/a?b=2") is None
    assert await cache.delete(URL) is True
    assert await cache.delete(URL) is False
    assert await cache.match(URL) is None
    assert store.bytes_held == 0


@on_a_loop
async def test_a_put_replaces_and_takes_effect_unawaited():
    caches.default.put(URL, Response("one", headers=KEEP))
    caches.default.put(URL, Response("two", headers=KEEP))
    assert await (await caches.default.match(URL)).text() == "two"


@on_a_loop
async def test_the_body_is_used_up_and_may_be_a_stream():
    async def chunks():
        yield b"a"
        yield b"b"

    response = Response(chunks(), headers=KEEP)
    await caches.default.put(URL, response)
    assert response.body_used
    assert await (await caches.default.match(URL)).text() == "ab"
    original = Response("x", headers=KEEP)
    await caches.default.put(URL, original.clone())
    assert await original.text() == "x"


@on_a_loop
async def test_named_caches_are_apart():
    one = await caches.open("one")
    await one.put(URL, Response("x", headers=KEEP))
    assert await (await (await caches.open("one")).match(URL)).text() == "x"
    assert await caches.default.match(URL) is None
    assert await (await caches.open("two")).match(URL) is None
    with pytest.raises(TypeError):
        await caches.open(None)


@on_a_loop
async def test_methods():
    posted = Request(URL, method="POST")
    with pytest.raises(TypeError, match="Cannot cache response to non-GET request."):
        await caches.default.put(posted, Response("x", headers=KEEP))
    assert await kept(Response("x", headers=KEEP))
    assert await caches.default.match(posted) is None
    assert await caches.default.match(posted, {"ignoreMethod": True}) is not None
    assert await caches.default.match(posted, ignoreMethod=True) is not None
    assert await caches.default.delete(posted) is False
    assert await caches.default.delete(posted, ignore_method=True) is True


REFUSED = {
    "206": (lambda: Response("x", status=206), r"Cannot cache response to a range request \(206 Partial Content\)."),
    "Vary: *": (lambda: Response("x", headers={"vary": "*"}), r"Cannot cache response with 'Vary: \*' header."),
    "no response": (lambda: "x", "takes a Response"),
}


@pytest.mark.parametrize("row", REFUSED)
@on_a_loop
async def test_what_is_refused(row):
    make, phrase = REFUSED[row]
    with pytest.raises(TypeError, match=phrase):
        await caches.default.put(URL, make())
    with pytest.raises(TypeError, match="Cache API keys must be fully-qualified, valid URLs."):
        await caches.default.match("/relative")


KEPT = {
    "max-age": ({"cache-control": "max-age=60"}, 200, True),
    "s-maxage over max-age": ({"cache-control": "max-age=0, s-maxage=60"}, 200, True),
    "s-maxage=0": ({"cache-control": "max-age=60, s-maxage=0"}, 200, False),
    "max-age=0": ({"cache-control": "max-age=0"}, 200, False),
    "no-store": ({"cache-control": "no-store, max-age=60"}, 200, False),
    "no-cache": ({"cache-control": "no-cache"}, 200, False),
    "private": ({"cache-control": "private, max-age=60"}, 200, False),
    "Expires later": ({"expires": "Fri, 01 Jan 2100 00:00:00 GMT"}, 200, True),
    "Expires before": ({"expires": "Thu, 01 Jan 1970 00:00:00 GMT"}, 200, False),
    "Expires that is no date": ({"expires": "0"}, 200, False),
    "nothing said, 200": ({}, 200, True),
    "nothing said, 404": ({}, 404, True),
    "nothing said, 500": ({}, 500, False),
    "a 500 with max-age": ({"cache-control": "max-age=60"}, 500, True),
    "Set-Cookie": ({"cache-control": "max-age=60", "set-cookie": "a=b"}, 200, False),
    "Set-Cookie that is private": ({"cache-control": "max-age=60, private=Set-Cookie", "set-cookie": "a=b"}, 200, True),
    "304": ({"cache-control": "max-age=60"}, 304, False),
}


@pytest.mark.parametrize("row", KEPT)
@on_a_loop
async def test_what_is_kept(row):
    headers, status, expected = KEPT[row]
    assert await kept(Response(None if status == 304 else "x", status=status, headers=headers)) is expected
    if "private=" in headers.get("cache-control", ""):
        assert (await caches.default.match(URL)).headers.get("set-cookie") is None


@on_a_loop
async def test_vary():
    english, german = (Request(URL, headers={"accept-language": each}) for each in ("en", "de"))
    for request, text in ((english, "hello"), (german, "hallo")):
        await caches.default.put(request, Response(text, headers={**KEEP, "vary": "Accept-Language"}))
    assert await (await caches.default.match(english)).text() == "hello"
    assert await (await caches.default.match(german)).text() == "hallo"
    assert await caches.default.match(URL) is None
    assert await caches.default.delete(URL) is True
    assert await caches.default.match(german) is None


CONDITIONS = {
    "If-None-Match, the same": ({"if-none-match": '"v1"'}, 304),
    "If-None-Match, one of several": ({"if-none-match": '"v0", W/"v1"'}, 304),
    "If-None-Match, any": ({"if-none-match": "*"}, 304),
    "If-None-Match, another": ({"if-none-match": '"v2"'}, 200),
    "If-Modified-Since, later": ({"if-modified-since": "Fri, 02 Jan 2026 00:00:00 GMT"}, 304),
    "If-Modified-Since, before": ({"if-modified-since": "Wed, 31 Dec 2025 00:00:00 GMT"}, 200),
    "If-None-Match goes first": (
        {"if-none-match": '"v2"', "if-modified-since": "Fri, 02 Jan 2026 00:00:00 GMT"},
        200,
    ),
}


@pytest.mark.parametrize("row", CONDITIONS)
@on_a_loop
async def test_conditions(row):
    headers, status = CONDITIONS[row]
    own = {**KEEP, "etag": '"v1"', "last-modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
    await caches.default.put(URL, Response("x", headers=own))
    found = await caches.default.match(Request(URL, headers=headers))
    assert (found.status, await found.text()) == (status, "x" if status == 200 else "")
    assert found.headers.get("etag") == '"v1"'


RANGES = {
    "bytes=0-1": (206, "ab", "bytes 0-1/6"),
    "bytes=2-": (206, "cdef", "bytes 2-5/6"),
    "bytes=-2": (206, "ef", "bytes 4-5/6"),
    "bytes=4-99": (206, "ef", "bytes 4-5/6"),
    "bytes=6-": (416, "", "bytes */6"),
    "bytes=0-1,3-4": (200, "abcdef", None),
    "bytes=3-1": (200, "abcdef", None),
    "lines=1-2": (200, "abcdef", None),
}


@pytest.mark.parametrize("row", RANGES)
@on_a_loop
async def test_ranges(row):
    status, text, content_range = RANGES[row]
    await caches.default.put(URL, Response("abcdef", headers=KEEP))
    found = await caches.default.match(Request(URL, headers={"range": row}))
    assert (found.status, await found.text(), found.headers.get("content-range")) == (status, text, content_range)


def test_times_pass_and_worlds_have_caches_of_their_own():
    async def inside():
        async with World(_program()) as world:
            assert [await (await world.fetch("/")).text() for _ in range(2)] == ["miss", "hit"]
            await world.advance(seconds=59)
            response = await world.fetch("/")
            assert (await response.text(), response.headers.get("age")) == ("hit", "59")
            await world.advance(seconds=1)
            assert await (await world.fetch("/")).text() == "miss"
        async with World(_program()) as world:
            assert await (await world.fetch("/")).text() == "miss"

    run(inside())


def _program():
    from perdure.engine.durable import DurableObject
    from perdure.sdk.entrypoints import WorkerEntrypoint

    class Room(DurableObject):
        pass

    class Default(WorkerEntrypoint):
        async def fetch(self, request):
            found = await caches.default.match(request)
            if found is not None:
                return found
            await caches.default.put(request, Response("hit", headers=KEEP))
            return Response("miss")

    return [Room, Default]


# ---------------------------------------------------------------------- the store
def _entry(size: int) -> Kept:
    return Kept(200, "", [], bytes(size), 0.0, 1e12, {})


def test_the_store_is_bounded_and_the_least_recently_used_goes():
    store = CacheStore(bytes_max=100_000)
    for name in ("a", "b", "c"):
        assert store.keep(("", name), _entry(24_000))
    assert store.find(("", "a"), [], 0.0) is not None
    assert store.keep(("", "d"), _entry(24_000))
    assert store.keep(("", "e"), _entry(24_000))
    assert [name for name in "abcde" if store.find(("", name), [], 0.0)] == ["a", "c", "d", "e"]
    assert store.bytes_held <= 100_000
    assert store.keep(("", "f"), _entry(100_000)) is False


def test_variants_of_one_url_are_bounded():
    store = CacheStore()
    for number in range(40):
        store.keep(("", "a"), Kept(200, "", [], b"x", 0.0, 1e12, {"accept": str(number)}))
    assert store.find(("", "a"), [("Accept", "39")], 0.0) is not None
    assert store.find(("", "a"), [("Accept", "1")], 0.0) is None


def test_directives():
    found = cache_rules.directives(
        [("Cache-Control", 'private="Set-Cookie, X", Max-Age=5'), ("cache-control", "no-store")]
    )
    assert found == {"private": "Set-Cookie, X", "max-age": "5", "no-store": ""}
