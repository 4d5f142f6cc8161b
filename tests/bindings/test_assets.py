"""Files beside a Worker: which path means which file, what is said of it, who is asked first (spec: config, assets)."""

from __future__ import annotations

import asyncio
import json
import os

import pytest
from perdure.bindings.asset_paths import File, Moved, find, find_fallback
from perdure.bindings.assets import AssetFiles, content_type
from perdure.engine.http import HttpRequest, HttpResponse
from perdure.sdk.asset_settings import Assets
from perdure.testing import World

SITE = {
    "/index.html",
    "/about.html",
    "/docs/index.html",
    "/both.html",
    "/both/index.html",
    "/logo.svg",
    "/docs/404.html",
    "/404.html",
}


@pytest.mark.parametrize(
    ("mode", "path", "expected"),
    [
        ("auto-trailing-slash", "/", File("/index.html")),
        ("auto-trailing-slash", "/index.html", Moved("/")),
        ("auto-trailing-slash", "/index", Moved("/")),
        ("auto-trailing-slash", "/about", File("/about.html")),
        ("auto-trailing-slash", "/about.html", Moved("/about")),
        ("auto-trailing-slash", "/about/", Moved("/about")),
        ("auto-trailing-slash", "/docs/", File("/docs/index.html")),
        ("auto-trailing-slash", "/docs", Moved("/docs/")),
        ("auto-trailing-slash", "/docs/index.html", Moved("/docs/")),
        ("auto-trailing-slash", "/docs/index", Moved("/docs/")),
        ("auto-trailing-slash", "/both", File("/both.html")),
        ("auto-trailing-slash", "/both/", File("/both/index.html")),
        ("auto-trailing-slash", "/logo.svg", File("/logo.svg")),
        ("auto-trailing-slash", "/nothing", None),
        ("force-trailing-slash", "/", File("/index.html")),
        ("force-trailing-slash", "/about", Moved("/about/")),
        ("force-trailing-slash", "/about/", File("/about.html")),
        ("force-trailing-slash", "/about.html", Moved("/about/")),
        ("force-trailing-slash", "/docs", Moved("/docs/")),
        ("force-trailing-slash", "/docs/index.html", Moved("/docs/")),
        ("force-trailing-slash", "/docs/", File("/docs/index.html")),
        ("drop-trailing-slash", "/", File("/index.html")),
        ("drop-trailing-slash", "/index.html", Moved("/")),
        ("drop-trailing-slash", "/about", File("/about.html")),
        ("drop-trailing-slash", "/about/", Moved("/about")),
        ("drop-trailing-slash", "/about.html", Moved("/about")),
        ("drop-trailing-slash", "/docs", File("/docs/index.html")),
        ("drop-trailing-slash", "/docs/", Moved("/docs")),
        ("drop-trailing-slash", "/docs/index.html", Moved("/docs")),
        ("none", "/", None),
        ("none", "/index.html", File("/index.html")),
        ("none", "/about", None),
        ("none", "/docs/index.html", File("/docs/index.html")),
    ],
)
def test_html_handling(mode: str, path: str, expected: object) -> None:
    assert find(path, mode, SITE.__contains__) == expected


@pytest.mark.parametrize("mode", ["auto-trailing-slash", "force-trailing-slash", "drop-trailing-slash"])
def test_no_redirect_leads_to_another(mode: str) -> None:
    for path in [*SITE, *(path.removesuffix(".html") for path in SITE), "/about/", "/docs", "/docs/", "/both/"]:
        found = find(path, mode, SITE.__contains__)
        if isinstance(found, Moved):
            assert isinstance(find(found.path, mode, SITE.__contains__), File), path


@pytest.mark.parametrize(
    ("mode", "path", "expected"),
    [
        ("none", "/x", None),
        ("single-page-application", "/deep/x", ("/index.html", 200)),
        ("404-page", "/docs/a/b", ("/docs/404.html", 404)),
        ("404-page", "/elsewhere/a", ("/404.html", 404)),
    ],
)
def test_not_found_handling(mode: str, path: str, expected: object) -> None:
    assert find_fallback(path, mode, SITE.__contains__) == expected
    assert find_fallback(path, mode, set().__contains__) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("index.html", "text/html; charset=utf-8"),
        ("logo.svg", "image/svg+xml"),
        ("favicon.ico", "image/vnd.microsoft.icon"),
        ("app.js", "text/javascript; charset=utf-8"),
        ("style.css", "text/css; charset=utf-8"),
        ("data.json", "application/json"),
        ("font.woff2", "font/woff2"),
        ("program.wasm", "application/wasm"),
        ("what.unknown", "application/octet-stream"),
    ],
)
def test_content_types(name: str, expected: str) -> None:
    assert content_type(f"/{name}") == expected


class Site:
    """A folder with files."""

    def __init__(self, folder, files: dict[str, str], **settings: object) -> None:
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        self.files = AssetFiles(Assets(os.path.realpath(folder), **settings))  # type: ignore[arg-type]

    def get(self, path: str, method: str = "GET", **headers: str) -> HttpResponse:
        pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
        return asyncio.run(self.files.answer(HttpRequest(method, f"http://host{path}", pairs)))

    def status(self, path: str) -> int:
        return self.get(path).status


def header(response: HttpResponse, name: str) -> str | None:
    return dict(response.headers).get(name)


def test_a_file_its_headers_and_who_has_it_already(tmp_path) -> None:
    site = Site(tmp_path, {"a.txt": "text", "with space.txt": "space"})
    response = site.get("/a.txt")
    assert (response.status, response.body) == (200, b"text")
    assert header(response, "cache-control") == "public, max-age=0, must-revalidate"
    etag = header(response, "etag") or ""
    assert etag.startswith('"')
    again = site.get("/a.txt", if_none_match=f'"x", W/{etag}')
    assert (again.status, again.body, header(again, "etag")) == (304, None, etag)
    head = site.get("/a.txt", "HEAD")
    assert (head.status, head.body, header(head, "content-length")) == (200, None, "4")
    assert site.get("/a.txt", "POST").status == 405
    assert site.get("/with%20space.txt").body == b"space"
    (tmp_path / "a.txt").write_text("other text")
    assert header(site.get("/a.txt"), "etag") != etag
    assert site.get("/a.txt", if_none_match=etag).body == b"other text"


@pytest.mark.parametrize(
    ("asked", "status", "body", "content_range"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-2", 206, b"89", "bytes 8-9/10"),
        ("bytes=8-100", 206, b"89", "bytes 8-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
        ("bytes=5-2", 200, b"0123456789", None),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("lines=0-1", 200, b"0123456789", None),
    ],
)
def test_ranges(tmp_path, asked: str, status: int, body: bytes | None, content_range: str | None) -> None:
    response = Site(tmp_path, {"a.txt": "0123456789"}).get("/a.txt", range=asked)
    assert (response.status, response.body, header(response, "content-range")) == (status, body, content_range)
    assert header(response, "accept-ranges") == "bytes"
    if body is not None:
        assert header(response, "content-length") == str(len(body))


def test_a_range_is_of_the_file_that_the_client_knows(tmp_path) -> None:
    site = Site(tmp_path, {"a.txt": "0123456789", "404.html": "nothing"}, not_found_handling="404-page")
    etag = header(site.get("/a.txt"), "etag") or ""
    assert site.get("/a.txt", range="bytes=0-3", if_range=etag).body == b"0123"
    for other in ('"other"', f"W/{etag}", "Tue, 24 Nov 2026 00:00:00 GMT"):
        assert site.get("/a.txt", range="bytes=0-3", if_range=other).status == 200, other
    assert site.get("/a.txt", range="bytes=0-3", if_none_match=etag).status == 304
    assert site.get("/a.txt", "HEAD", range="bytes=0-3").status == 200
    assert site.get("/none", range="bytes=0-3").status == 404


def test_a_range_of_a_large_file_is_streamed(tmp_path) -> None:
    text = "".join(f"{number:07d}\n" for number in range(100_000))
    site = Site(tmp_path, {"a.txt": text})

    async def read() -> bytes:
        response = await site.files.answer(HttpRequest("GET", "http://host/a.txt", [("Range", "bytes=100-700099")]))
        assert (response.status, header(response, "content-length")) == (206, "700000")
        return b"".join([piece async for piece in response.body])  # type: ignore[union-attr]

    assert asyncio.run(read()) == text[100:700_100].encode()


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/a/../../secret.txt",
        "/%2e%2e%2fsecret.txt",
        "//secret.txt",
        "/link.txt",
        "/linked/secret.txt",
        "/a.txt%00.html",
        "/.dev.vars",
        "/.env.local",
        "/.git/config",
        "/.assetsignore",
        "/_headers",
        "/_redirects",
        "/node_modules/x.js",
        "/draft.md",
        "/private/deep/x.txt",
    ],
)
def test_nothing_else_is_served(tmp_path, path: str) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    ignored = [
        "a.txt",
        ".dev.vars",
        ".env.local",
        ".git/config",
        "_headers",
        "_redirects",
        "node_modules/x.js",
        "draft.md",
    ]
    files = {name: "x" for name in [*ignored, "private/deep/x.txt"]}
    folder = tmp_path / "public"
    folder.mkdir()
    site = Site(folder, {**files, ".assetsignore": "*.md\n/private\n"})
    os.symlink(tmp_path / "secret.txt", folder / "link.txt")
    os.symlink(tmp_path, folder / "linked")
    assert site.status(path) == 404
    assert site.status("/a.txt") == 200


def test_rules_of_redirects(tmp_path) -> None:
    rules = """
# comment
/old /new 301
/news/* /blog/:splat
/users/:id/profile https://example.com/:id?x=1 308
/app/* /index.html 200
/bad
bad /x
/loop /loop
"""
    site = Site(tmp_path, {"_redirects": rules, "index.html": "home", "old": "a file", "loop": "loop"})
    for path, status, target in (
        ("/old", 301, "/new"),
        ("/news/a/b?q=1", 302, "/blog/a/b?q=1"),
        ("/users/7/profile", 308, "https://example.com/7?x=1"),
    ):
        found = site.get(path)
        assert (found.status, header(found, "location")) == (status, target)
    assert site.get("/app/x").body == b"home"
    assert site.status("/loop") == 200
    assert site.status("/bad") == 404


def test_rules_of_headers(tmp_path) -> None:
    rules = """
/*
  X-All: one
  Cache-Control: no-store
/docs/*
  X-All: two
  X-Path: :splat
  ! ETag
no rule
"""
    site = Site(tmp_path, {"_headers": rules, "a.txt": "a", "docs/b.txt": "b"})
    first, second = site.get("/a.txt"), site.get("/docs/b.txt")
    assert (header(first, "x-all"), header(first, "cache-control")) == ("one", "no-store")
    assert (header(second, "x-all"), header(second, "x-path"), header(second, "etag")) == ("one, two", "b.txt", None)


@pytest.mark.parametrize(
    ("first", "path", "expected"),
    [
        (True, "/anything", True),
        (False, "/anything", False),
        (("/api/*", "!/api/docs/*"), "/api/x", True),
        (("/api/*", "!/api/docs/*"), "/api/docs/x", False),
        (("/api/*", "!/api/docs/*"), "/logo.svg", False),
        (("/exact",), "/exact", True),
        (("/exact",), "/exact/not", False),
    ],
)
def test_run_worker_first(tmp_path, first, path: str, expected: bool) -> None:
    site = Site(tmp_path, {}, run_worker_first=first)
    assert site.files.worker_first(f"http://h{path}?q=1") is expected


def test_a_large_file_comes_in_pieces(tmp_path) -> None:
    site = Site(tmp_path, {"big.bin": "0123456789" * 100_000})

    async def read() -> list[int]:
        response = await site.files.answer(HttpRequest("GET", "http://h/big.bin", []))
        assert response.body is not None
        assert not isinstance(response.body, bytes)
        return [len(piece) async for piece in response.body]

    sizes = asyncio.run(read())
    assert sum(sizes) == 1_000_000
    assert len(sizes) == 4


WORKER = """
from workers import DurableObject, Response, WorkerEntrypoint

class Room(DurableObject):
    async def page(self):
        await self.ctx.storage.put("a", 1)
        return await (await self.env.ASSETS.fetch("http://any/hello.txt")).text()

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        path = request.url.split("/", 3)[3]
        if path == "through":
            response = await self.env.ASSETS.fetch("http://any/hello.txt")
            return Response(await response.text() + " through the Worker", headers={"x-type": response.headers["content-type"]})
        if path == "lost":
            return await self.env.ASSETS.fetch(request)
        return Response(f"Worker {path}")
"""


def written(folder, worker: str | None = WORKER, **assets: object) -> str:
    (folder / "public").mkdir()
    (folder / "public" / "index.html").write_text("<h1>home</h1>")
    (folder / "public" / "hello.txt").write_text("hello")
    (folder / "public" / "404.html").write_text("lost")
    found: dict[str, object] = {"name": "w", "assets": {"directory": "public", "binding": "ASSETS", **assets}}
    if worker is not None:
        (folder / "entry.py").write_text(worker)
        bindings = {"bindings": [{"name": "ROOM", "class_name": "Room"}]}
        found |= {"main": "entry.py", "durable_objects": bindings}
    (folder / "wrangler.json").write_text(json.dumps(found))
    return str(folder)


def test_a_file_is_served_before_the_worker_and_the_worker_asks_for_files(tmp_path) -> None:
    with World(written(tmp_path)) as world:
        response = world.fetch("/")
        assert (world.run(response.text()), response.headers["content-type"]) == (
            "<h1>home</h1>",
            "text/html; charset=utf-8",
        )
        assert world.run(world.fetch("/hello.txt").text()) == "hello"
        assert world.run(world.fetch("/other").text()) == "Worker other"
        through = world.fetch("/through")
        assert world.run(through.text()) == "hello through the Worker"
        assert through.headers["x-type"] == "text/plain; charset=utf-8"
        assert world.fetch("/lost").status == 404
        assert world.namespace("Room").getByName("a").page() == "hello"


def test_the_worker_first(tmp_path) -> None:
    with World(written(tmp_path, run_worker_first=["/hello*"])) as world:
        assert world.run(world.fetch("/hello.txt").text()) == "Worker hello.txt"
        assert world.run(world.fetch("/").text()) == "<h1>home</h1>"


def test_a_page_that_a_browser_opens_is_the_application(tmp_path) -> None:
    with World(written(tmp_path, not_found_handling="single-page-application")) as world:
        browser = {"sec-fetch-mode": "navigate"}
        assert world.run(world.fetch("/deep/link", headers=browser).text()) == "<h1>home</h1>"
        assert world.run(world.fetch("/deep/link").text()) == "Worker deep/link"
        assert world.run(world.fetch("/lost").text()) == "<h1>home</h1>"


def test_a_program_of_assets_only(tmp_path) -> None:
    with World(written(tmp_path, None, not_found_handling="404-page")) as world:
        assert world.run(world.fetch("/").text()) == "<h1>home</h1>"
        lost = world.fetch("/nothing")
        assert (lost.status, world.run(lost.text())) == (404, "lost")
