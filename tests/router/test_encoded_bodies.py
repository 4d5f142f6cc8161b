"""Responses whose body is not what their Content-Encoding says leave in a form that decodes to it."""

from __future__ import annotations

import asyncio
import gzip
import zlib

import pytest
from perdure.engine.durable import DurableObject
from perdure.engine.http import HttpResponse
from perdure.router.encoded_bodies import as_encoded
from perdure.sdk.entrypoints import WorkerEntrypoint
from perdure.sdk.fetching import fetch
from perdure.sdk.response import Response
from perdure.testing import World
from perdure.testing.virtual import run

PLAIN = b"hello, world"


async def cut(data: bytes):
    for index in range(0, len(data), 1):
        yield data[index : index + 1]


async def whole(body) -> bytes:
    return body if isinstance(body, bytes) else b"".join([chunk async for chunk in body])


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("coding", "data", "kept"),
    [
        ("gzip", gzip.compress(PLAIN, mtime=0), True),
        ("gzip", PLAIN, False),
        ("GZIP ", PLAIN, False),
        ("gzip", b"\x1f", False),
        ("gzip", b"", False),
        ("deflate", zlib.compress(PLAIN), True),
        ("deflate", PLAIN, False),
        ("br", PLAIN, True),
        ("identity", PLAIN, True),
    ],
)
def test_the_header_goes_when_it_is_not_true(streamed: bool, coding: str, data: bytes, kept: bool) -> None:
    async def work():
        headers = [("Content-Encoding", coding), ("Content-Length", "5"), ("X", "1")]
        found = await as_encoded(HttpResponse(200, headers, cut(data) if streamed else data, "OK"))
        assert found.headers == (headers if kept else [("X", "1")])
        assert (await whole(found.body), found.status, found.status_text) == (data, 200, "OK")

    asyncio.run(work())


def test_a_response_without_a_body_is_left_alone() -> None:
    headers = [("Content-Encoding", "gzip"), ("Content-Length", "5")]
    assert asyncio.run(as_encoded(HttpResponse(200, headers))).headers == headers


def test_the_rest_is_closed_with_the_body() -> None:
    async def work():
        source = cut(PLAIN)
        found = await as_encoded(HttpResponse(200, [("Content-Encoding", "gzip")], source))
        assert await anext(found.body) == PLAIN[:2]
        await found.body.aclose()
        assert source.ag_frame is None

    asyncio.run(work())


class Nothing(DurableObject):
    pass


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        answer = await fetch("https://api.test/")
        if request.url.endswith("/changed"):
            return Response((await answer.text()).upper(), headers=answer.headers)
        if request.url.endswith("/length"):
            return Response(b"12345", headers={"Content-Length": "2", "X-Text": "Füße €"})
        return answer


def test_what_fetch_has_decoded_is_passed_on_by_a_worker() -> None:
    async def work():
        async with World([Nothing, Default]) as world:
            headers = {"Content-Encoding": "gzip", "Content-Length": "7", "X": "1"}
            world.on_fetch("https://api.test", lambda request: Response(PLAIN, headers=headers))
            for path, content in (("/", PLAIN), ("/changed", PLAIN.upper())):
                response = await world.fetch(path)
                assert (await response.bytes(), response.headers["x"]) == (content, "1")
                assert "content-encoding" not in response.headers
                assert response.headers["content-length"] == str(len(PLAIN))
            response = await world.fetch("/length")
            assert response.headers["content-length"] == "5"
            assert response.headers["x-text"].encode("latin-1").decode() == "Füße €"

    run(work())
