"""Responses whose body is not what their Content-Encoding says: `fetch` decodes, and programs pass headers on.

What always holds: what leaves decodes to what the program answered. The reference compresses such a body; here it leaves as
it is, and the header goes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from ..engine.http import HttpResponse

_GONE = frozenset({"content-encoding", "content-length"})


def _is(coding: str, start: bytes) -> bool:
    if coding in ("gzip", "x-gzip"):
        return start[:2] == b"\x1f\x8b"
    if coding == "deflate":  # zlib's header: a method, and a check over two bytes
        return len(start) >= 2 and start[0] & 0x0F == 8 and (start[0] << 8 | start[1]) % 31 == 0
    return True  # nothing here decodes it: the program has encoded it itself


async def as_encoded(response: HttpResponse) -> HttpResponse:
    """The same response, without the header if its body is not so encoded. Of a stream the first chunk is read."""
    coding = next((value.strip().lower() for name, value in response.headers if name.lower() == "content-encoding"), "")
    body = response.body
    if body is None or coding not in ("gzip", "x-gzip", "deflate"):
        return response
    if isinstance(body, bytes):
        start, whole = body, True
    else:
        start, whole = await _start(body)
        body = start if whole else _Resumed(start, body)
    headers = response.headers
    if not _is(coding, start):
        headers = [pair for pair in headers if pair[0].lower() not in _GONE]
    return replace(response, headers=headers, body=body)


async def _start(body: AsyncIterator[bytes]) -> tuple[bytes, bool]:
    """The first bytes, two if there are as many; whether that is all."""
    start = b""
    while len(start) < 2:
        chunk = await anext(body, None)
        if chunk is None:
            return start, True
        start += chunk
    return start, False


class _Resumed(AsyncIterator[bytes]):
    """A body whose beginning has been read."""

    def __init__(self, start: bytes, rest: AsyncIterator[bytes]) -> None:
        self._start: bytes | None = start
        self._rest = rest

    async def __anext__(self) -> bytes:
        start, self._start = self._start, None
        return start if start is not None else await anext(self._rest)

    async def aclose(self) -> None:
        """The reader does not want the rest."""
        closer = getattr(self._rest, "aclose", None)
        if closer is not None:
            await closer()
