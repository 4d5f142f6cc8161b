"""Files that are served beside a program's Worker: by the gateway, and to programs as `env.ASSETS` (spec: config, assets).

What always holds: nothing outside of the folder is read, through whatever path or link; files that speak of the deployment
(`_headers`, `.assetsignore`, secrets) are no assets; a file is read on a thread, a piece at a time, as fast as its reader
takes it.
"""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import quote, unquote, urlsplit

from ..engine.http import HttpRequest, HttpResponse
from ..engine.outgoing import send_out
from ..sdk.adapter import fetch_through
from ..sdk.asset_settings import Assets
from ..sdk.cache_rules import byte_range
from .asset_paths import File, Moved, find, find_fallback
from .asset_rules import parse_headers, parse_redirects, redirected, with_headers

PIECE_BYTES = 256 << 10
_NO_ASSETS = (".assetsignore", "_headers", "_redirects", "/.git", "node_modules", ".dev.vars*", ".env*", ".wrangler")
_TEXT = ("application/javascript", "application/json", "application/xml", "application/manifest+json")
_TYPES = mimetypes.MimeTypes(filenames=())  # not those of the machine: the same everywhere
for _type, _ending in (
    *(("font/woff", ".woff"), ("font/woff2", ".woff2"), ("image/webp", ".webp"), ("image/avif", ".avif")),
    *(("application/wasm", ".wasm"), ("application/manifest+json", ".webmanifest"), ("text/markdown", ".md")),
    *(("text/javascript", ".js"), ("text/javascript", ".mjs"), ("application/json", ".map")),
):
    _TYPES.add_type(_type, _ending)


def content_type(path: str) -> str:
    """By the ending of the name; texts are UTF-8."""
    kind = _TYPES.guess_type(path, strict=True)[0] or "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") or kind in _TEXT[:1] else kind


class AssetFiles:
    """The folder of one program."""

    def __init__(self, settings: Assets, *, prefers_navigation: bool = True) -> None:
        """`prefers_navigation`: a browser that opens a page without a file gets the fallback, not the Worker."""
        self._settings = settings
        self._root = settings.folder
        self._prefers_navigation = prefers_navigation
        import pathspec  # a process that serves no files should not pay for it

        self._ignored = pathspec.GitIgnoreSpec.from_lines([*_NO_ASSETS, *self._lines(".assetsignore")])
        self._redirects = parse_redirects("\n".join(self._lines("_redirects")))
        self._headers = parse_headers("\n".join(self._lines("_headers")))
        first = settings.run_worker_first
        rules = first if isinstance(first, tuple) else ()
        self._worker_first = [_rule(rule) for rule in rules if not rule.startswith("!")]
        self._assets_first = [_rule(rule[1:]) for rule in rules if rule.startswith("!")]

    def _lines(self, name: str) -> list[str]:
        path = os.path.join(self._root, name)
        if not os.path.isfile(path):
            return []
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()

    def worker_first(self, url: str) -> bool:
        """Whether the Worker is asked before the files. A path that is excepted is not, whatever else matches."""
        first = self._settings.run_worker_first
        if isinstance(first, bool):
            return first
        path = _path_of(url)
        if any(rule.fullmatch(path) for rule in self._assets_first):
            return False
        return any(rule.fullmatch(path) for rule in self._worker_first)

    async def before_worker(self, request: HttpRequest) -> HttpResponse | None:
        """The answer where a file, or a rule of `_redirects`, matches; None: it is the Worker's."""
        found = await self._in_thread(self._match, request)
        if found is None and self._prefers_navigation and _navigates(request):
            return await self._in_thread(self._fall_back, request)
        return found

    async def answer(self, request: HttpRequest) -> HttpResponse:
        """The answer of the files alone: at last the fallback, or 404."""
        found = await self._in_thread(self._match, request) or await self._in_thread(self._fall_back, request)
        return found or HttpResponse(404, [("content-type", "text/plain; charset=utf-8")], b"Not Found\n")

    async def _in_thread(
        self, work: Callable[[HttpRequest], HttpResponse | None], request: HttpRequest
    ) -> HttpResponse | None:
        return await asyncio.get_running_loop().run_in_executor(None, work, request)

    def _match(self, request: HttpRequest) -> HttpResponse | None:
        path, query = _path_of(request.url), urlsplit(request.url).query
        rule = redirected(self._redirects, path)
        if rule is not None and rule[1] != 200:
            target = rule[0] if "?" in rule[0] or not query else f"{rule[0]}?{query}"
            return HttpResponse(rule[1], [("location", target)], None)
        meant = path if rule is None else rule[0]
        served = rule is not None and self._exists(meant)  # as it is named there, without another redirect
        found = File(meant) if served else find(meant, self._settings.html_handling, self._exists)
        if found is None:
            return None
        if request.method not in ("GET", "HEAD"):
            return HttpResponse(405, [("allow", "GET, HEAD")], None)
        if isinstance(found, Moved):
            return HttpResponse(307, [("location", quote(found.path) + (f"?{query}" if query else ""))], None)
        return self._file(request, found, 200, path)

    def _fall_back(self, request: HttpRequest) -> HttpResponse | None:
        path = _path_of(request.url)
        found = find_fallback(path, self._settings.not_found_handling, self._exists)
        if found is None or request.method not in ("GET", "HEAD"):
            return None
        return self._file(request, File(found[0]), found[1], path)

    def _exists(self, path: str) -> bool:
        return self._look(path) is not None

    def _look(self, path: str) -> str | None:
        """The file that a path names, if it is an asset."""
        inside = path.lstrip("/")
        if not inside or "\0" in path or "//" in path or path.endswith("/") or self._ignored.match_file(inside):
            return None
        real = os.path.realpath(os.path.join(self._root, inside))
        return real if real.startswith(self._root + os.sep) and os.path.isfile(real) else None

    def _file(self, request: HttpRequest, file: File, status: int, path: str) -> HttpResponse | None:
        real = self._look(file.path)
        if real is None:
            return None
        about = os.stat(real)
        mark = hashlib.sha256(f"{file.path}\0{about.st_mtime_ns}\0{about.st_size}".encode()).hexdigest()[:32]
        etag = f'"{mark}"'
        headers = [
            ("content-type", content_type(file.path)),
            ("etag", etag),
            ("cache-control", "public, max-age=0, must-revalidate"),
        ]
        headers = with_headers(self._headers, path, headers)
        if status == 200 and _matches(request, etag):
            return HttpResponse(304, [pair for pair in headers if pair[0] != "content-type"], None)
        begin, end = 0, about.st_size
        if status == 200:
            headers.append(("accept-ranges", "bytes"))
            try:
                wanted = _range(request, about.st_size, etag)
            except ValueError:
                return HttpResponse(416, [*headers, ("content-range", f"bytes */{end}")], None)
            if wanted is not None:
                headers.append(("content-range", f"bytes {wanted[0]}-{wanted[1] - 1}/{end}"))
                status, (begin, end) = 206, wanted
        headers.append(("content-length", str(end - begin)))
        if request.method == "HEAD":
            return HttpResponse(status, headers, None)
        if end - begin > PIECE_BYTES:
            return HttpResponse(status, headers, _pieces(real, begin, end))
        with open(real, "rb") as opened:
            opened.seek(begin)
            data = opened.read(end - begin)
        if status == 200:
            headers[-1] = ("content-length", str(len(data)))
        elif len(data) < end - begin:
            raise OSError(f"{real} became shorter while it was read")
        return HttpResponse(status, headers, data)


class AssetsBinding:
    """`env.ASSETS`."""

    def __init__(self, files: AssetFiles) -> None:
        self._files = files

    def fetch(self, request: object, **init: object) -> Awaitable[object]:
        """The file for a URL (its host does not matter) or a Request; gives a Response."""
        return fetch_through(lambda wire: send_out(lambda: self._files.answer(wire)), request, init)


async def _pieces(path: str, begin: int, end: int) -> AsyncIterator[bytes]:
    """Those bytes of a large file. It ends where it was as long as its headers say."""
    loop = asyncio.get_running_loop()
    file = await loop.run_in_executor(None, open, path, "rb")
    try:
        file.seek(begin)
        left = end - begin
        while left and (piece := await loop.run_in_executor(None, file.read, min(PIECE_BYTES, left))):
            left -= len(piece)
            yield piece
        if left:
            raise OSError(f"{path} became shorter while it was sent")
    finally:
        file.close()


def _rule(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in pattern.split("*")))


def _path_of(url: str) -> str:
    """Decoded; no `.` and `..` are left in it."""
    path = unquote(urlsplit(url).path, errors="replace") or "/"
    if "/." not in path:
        return path
    kept: list[str] = []
    for part in path.split("/")[1:]:
        if part == "..":
            del kept[-1:]
        elif part != ".":
            kept.append(part)
    return "/" + "/".join(kept)


def _navigates(request: HttpRequest) -> bool:
    return any(name.lower() == "sec-fetch-mode" and value == "navigate" for name, value in request.headers)


def _header(request: HttpRequest, wanted: str) -> str | None:
    return next((value for name, value in request.headers if name.lower() == wanted), None)


def _matches(request: HttpRequest, etag: str) -> bool:
    """Whether the client has it already (If-None-Match, compared weakly)."""
    known = [each.strip().removeprefix("W/") for each in (_header(request, "if-none-match") or "").split(",")]
    return etag in known or "*" in known


def _range(request: HttpRequest, size: int, etag: str) -> tuple[int, int] | None:
    """The bytes that are asked for, if it is one range of the file that the client has the beginning of (If-Range).

    Raises ValueError when no byte of it is there.
    """
    text, condition = _header(request, "range"), _header(request, "if-range")
    if text is None or request.method != "GET" or (condition is not None and condition.strip() != etag):
        return None
    return byte_range(text, size)
