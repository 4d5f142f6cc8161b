"""Bodies, headers and properties of Request and Response (spec: sdk; Request, Response; edge cases 45, 46)."""

from __future__ import annotations

import asyncio
import io
import tarfile
import zipfile
from http import HTTPMethod, HTTPStatus

import pytest
from perdure.engine.http import HttpRequest, HttpResponse
from perdure.sdk.blob import Blob
from perdure.sdk.headers import Headers
from perdure.sdk.request import Request
from perdure.sdk.response import Response
from perdure.sdk.streams import FixedLengthStream, ReadableStream
from perdure.sdk.urls import URLSearchParams


def read(coroutine):
    return asyncio.run(coroutine)


async def pieces(*chunks: bytes):
    for chunk in chunks:
        yield chunk


@pytest.mark.parametrize(
    ("body", "content", "kind"),
    [
        ("ü", "ü".encode(), "text/plain;charset=UTF-8"),
        (b"b", b"b", None),
        (bytearray(b"b"), b"b", None),
        (memoryview(b"b"), b"b", None),
        (Blob("x", content_type="a/b"), b"x", "a/b"),
        (Blob("x"), b"x", None),
        (URLSearchParams("a=1"), b"a=1", "application/x-www-form-urlencoded;charset=UTF-8"),
        (None, b"", None),
    ],
    ids=["str", "bytes", "bytearray", "memoryview", "Blob with a type", "Blob", "URLSearchParams", "None"],
)
def test_what_a_body_may_be(body: object, content: bytes, kind: str | None) -> None:
    response = Response(body)
    assert response.headers.get("content-type") == kind
    assert read(response.bytes()) == content
    assert (response.body is None) is (body is None)
    request = Request("http://a", method="POST", body=body)
    assert request.headers.get("content-type") == kind
    assert read(request.bytes()) == content
    assert Response(body, headers={"Content-type": "own"}).headers["content-type"] == "own"


def test_streams_and_iterators_as_bodies() -> None:
    async def work():
        assert await Response(ReadableStream.from_([b"a", "b", bytearray(b"c")])).text() == "abc"
        assert await Response(pieces(b"a", b"b")).bytes() == b"ab"
        stream = ReadableStream.from_([b"a", b"b"])
        assert [chunk async for chunk in Response(stream).body] == [b"a", b"b"]
        with pytest.raises(TypeError, match="disturbed"):
            Response(stream)
        stream = ReadableStream.from_([b"a"])
        stream.getReader()
        with pytest.raises(TypeError, match="disturbed"):
            Response(stream)
        with pytest.raises(TypeError, match="must be bytes, not object"):
            await Response(ReadableStream.from_([object()])).bytes()

    read(work())


def test_unsupported_types_name_themselves() -> None:
    class Test:
        pass

    with pytest.raises(TypeError, match="^Unsupported type in Response: Test$"):
        Response(Test())
    for wrong in (5, {"a": 1}, Test()):
        with pytest.raises(TypeError, match=f"^Unsupported type in body: {type(wrong).__name__}$"):
            Request("http://a", method="POST", body=wrong)
    for data in (Test(), {1, 2}):
        with pytest.raises(TypeError, match=f"^Object of type {type(data).__name__} is not JSON serializable$"):
            Response.json(data)


def test_a_response_of_a_response_is_the_same_one() -> None:
    first = Response("x", status=201, status_text="Made", headers={"a": "b"})
    second = Response(first)
    assert (second.status, second.status_text, second.headers["a"]) == (201, "Made", "b")
    assert read(second.text()) == "x"
    assert first.body_used
    with pytest.raises(ValueError, match="Expected no options when constructing Response"):
        Response(Response("x"), status=201)


def test_every_way_to_read_a_body() -> None:
    def made() -> Response:
        return Response('\ufeff{"a": 1}', headers={"content-type": "application/json"})

    assert read(made().text()) == read(made().string()) == '{"a": 1}'
    assert read(made().json()) == {"a": 1}
    assert read(made().json(object_pairs_hook=list)) == [("a", 1)]
    assert read(made().bytes())[:3] == b"\xef\xbb\xbf"
    assert read(made().buffer()).to_bytes()[3:] == read(made().arrayBuffer())[3:] == b'{"a": 1}'
    assert read(made().memoryview()).nbytes == 11
    assert read(made().blob()).content_type == "application/json"
    assert read(Request("http://a", method="POST", body="[1]").json()) == [1]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("method", ["text", "json", "bytes", "buffer", "blob", "form_data", "clone", "to_wire"])
def test_a_second_read_is_an_error(streamed: bool, method: str) -> None:
    async def work():
        for made in (
            Response(pieces(b"[1]") if streamed else "[1]"),
            Request("http://a", method="POST", body=pieces(b"[1]") if streamed else "[1]"),
        ):
            assert made.body_used is made.bodyUsed is False
            await made.json()
            assert made.body_used is made.bodyUsed is True
            with pytest.raises(OSError, match="Body already used") as caught:
                result = getattr(made, method)()
                if hasattr(result, "__await__"):
                    await result
            assert type(caught.value) is OSError

    read(work())


def test_a_body_that_somebody_reads_is_used() -> None:
    async def work():
        response = Response(pieces(b"a", b"b"))
        reader = response.body.getReader()
        with pytest.raises(OSError, match="Body already used"):
            await response.text()
        assert not response.body_used
        await reader.read()
        assert response.body_used
        whole = Response("a")
        await whole.text()
        assert whole.body.locked
        assert [name for name in ("a", "b") if Response("x").body.locked] == []

    read(work())


def test_clones_of_streams_are_read_on_their_own_and_nothing_before_it_is_asked_for() -> None:
    async def work():
        made = []

        async def body():
            for chunk in (b"a", b"b", b"c"):
                made.append(chunk)
                yield chunk

        response = Response.from_wire(HttpResponse(200, [("x", "1")], body()))
        other = response.clone()
        assert made == []
        assert await other.text() == "abc"
        assert await response.text() == "abc"
        assert (other.headers["x"], made) == ("1", [b"a", b"b", b"c"])
        request = Request("http://a", method="PUT", body=body(), headers={"x": "1"}, redirect="manual")
        again = request.clone()
        assert (await again.text(), await request.text(), again.redirect) == ("abc", "abc", "manual")

    read(work())


def test_a_body_that_is_passed_on_travels_as_it_came() -> None:
    async def work():
        body = pieces(b"a")
        assert Response.from_wire(HttpResponse(200, [], body)).to_wire().body is body
        passed = Response(Response.from_wire(HttpResponse(200, [], body)).body, status=201)
        assert passed.to_wire().body is body
        request = Request.from_wire(HttpRequest("POST", "http://a/", [("content-length", "1")], body))
        sent = Request("http://b/", method="POST", body=request.body).to_wire()
        assert (sent.body, sent.headers) == (body, [("content-length", "1")])
        assert (
            Request(Request.from_wire(HttpRequest("POST", "http://a/", [], body)), method="PUT").to_wire().body is body
        )

    read(work())


def test_lengths_that_are_known_are_said_and_others_are_not_believed() -> None:
    async def work():
        fixed = FixedLengthStream(3)
        assert ("content-length", "3") in Response(fixed.readable).to_wire().headers
        request = Request("http://a", method="PUT", body=pieces(b"ab"), headers={"Content-Length": "7"})
        assert request.to_wire().headers == []

    read(work())


def test_header_rules() -> None:
    request = Request(
        "http://example.com",
        headers=[
            ("Accept-encoding", "deflate"),
            ("accept-encoding", "gzip"),
            ("Set-Cookie", "a=1"),
            ("Set-Cookie", "b=2"),
            ("X-Comma", "a, b"),
            ("X-Space", "  padded \t"),
            ("X-Number", 123),
            ("X-Flag", True),
            ("X-Float", 1.0),
        ],
    )
    headers = request.headers
    assert headers.get_all("Accept-encoding") == ["deflate, gzip"]
    assert headers.get_all("set-cookie") == headers.getSetCookie() == ["a=1", "b=2"]
    assert (headers.get_all("x-comma"), headers["x-space"]) == (["a, b"], "padded")
    assert (headers["x-number"], headers["x-flag"], headers["x-float"]) == ("123", "true", "1")
    assert "ACCEPT-ENCODING" in headers
    assert dict(headers.items())["X-Number"] == "123"
    assert Response("x", headers=[("a", "modified"), ("a", "another")]).headers.get("a") == "modified, another"
    copied = Response("x", headers=Headers({"foo": "bar"}))
    assert copied.headers["foo"] == "bar"
    copied.headers["foo"] = 5
    assert ("foo", "5") in copied.to_wire().headers
    arrived = Request.from_wire(HttpRequest("GET", "http://a/", [("a", " 1"), ("A", "2 ")]))
    assert arrived.headers.get_all("a") == ["1, 2"]


@pytest.mark.parametrize("bad", [{"a b": "x"}, {"": "x"}, {"a": "x\r\ny: z"}, {"ü": "x"}])
def test_headers_that_cannot_be(bad: dict[str, str]) -> None:
    with pytest.raises(TypeError, match="Invalid header"):
        Response("x", headers=bad)
    with pytest.raises(TypeError, match="Invalid header"):
        for name, value in bad.items():
            Headers().append(name, value)


def test_headers_of_an_unknown_type() -> None:
    with pytest.raises(TypeError, match="^Received unexpected type for headers argument: int$"):
        Request("http://a", headers=5)


def test_properties_of_a_request() -> None:
    request = Request("https://test.com", method=HTTPMethod.POST, cf={"cacheTtl": 5}, redirect="manual", signal=None)
    assert (request.method, request.url, request.cf.cacheTtl, request.redirect) == (
        HTTPMethod.POST,
        "https://test.com/",
        5,
        "manual",
    )
    assert (request.body, request.body_used, request.signal, request.js_object.url) == (None, False, None, request.url)
    assert (request.cache, request.credentials, request.destination, request.integrity) == (None, "same-origin", "", "")
    assert (request.keepalive, request.mode, request.referrer, request.referrer_policy) == (
        False,
        "cors",
        "about:client",
        "",
    )
    assert request.is_history_navigation is False
    assert Request("http://a").cf is None
    assert Request(Request("http://a", cf={"a": 1}), method="PUT").cf.a == 1
    assert Request("http://a", colour="red").url == "http://a/"
    for bad in ({"redirect": "sometimes"}, {"method": "TRACE"}, {"method": "GET", "body": "x"}):
        with pytest.raises(TypeError):
            Request("http://a", **bad)


def test_properties_of_a_response() -> None:
    response = Response("x", status=HTTPStatus.NOT_FOUND)
    assert (response.status, response.status_text, response.statusText, response.ok) == (
        404,
        "Not Found",
        "Not Found",
        False,
    )
    assert (response.url, response.type, response.redirected) == ("", "default", False)
    assert response.js_object.status == response.js_response.status == 404
    assert Response("x", status_text="Fine").status_text == "Fine"
    assert "url='http://a/'" in repr(_of("http://a/"))
    with pytest.raises(OSError, match="^404 Client Error: Not Found for url: $"):
        response.raise_for_status()
    with pytest.raises(OSError, match="^503 Server Error"):
        Response(None, status=503).raise_for_status()
    Response("x").raise_for_status()
    for status in (199, 600, 101):
        with pytest.raises(ValueError, match="200 to 599"):
            Response("x", status=status)
    with pytest.raises(TypeError, match="null body status"):
        Response("x", status=204)
    with pytest.raises(TypeError, match="statusText"):
        Response("x", status_text="a\r\nb")


def _of(url: str) -> Response:
    response = Response("x")
    response.url = url
    return response


def test_replace_body_keeps_status_and_headers() -> None:
    made = Response("test", status=201, status_text="Created", headers={"a": "b"}).replace_body("other")
    assert (made.status, made.status_text, made.headers["a"], read(made.text())) == (201, "Created", "b", "other")


def test_edge_45_json_and_redirect() -> None:
    assert read(Response.json("test").text()) == '"test"'
    assert Response.json("test", headers={"Content-Type": "42"}).headers["content-type"] == "42"
    assert Response(None, status=204).body is None
    made = Response.json({"obj": {"field": 123}}, status=HTTPStatus.NOT_FOUND, headers=[("x", "y")])
    assert (made.status, made.headers["content-type"], made.headers["x"]) == (404, "application/json", "y")
    assert read(made.text()) == '{"obj": {"field": 123}}'
    for url, status in (("", 502), ("", 302), ("http://a", 502), ("http://a", 200)):
        with pytest.raises(ValueError):
            Response.redirect(url, status)
    moved = Response.redirect("https://example.com/sub", status=HTTPStatus.MOVED_PERMANENTLY)
    assert (moved.status, moved.headers["location"]) == (301, "https://example.com/sub")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives_are_unpacked_into_their_folder_only(tmp_path, kind: str) -> None:
    data = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(data, "w") as archive:
            archive.writestr("a/b.txt", "hello")
    else:
        with tarfile.open(fileobj=data, mode="w:gz") as archive:
            entry = tarfile.TarInfo("a/b.txt")
            entry.size = 5
            archive.addfile(entry, io.BytesIO(b"hello"))
    response = Response(data.getvalue())
    response.url = f"http://x/y.{'zip' if kind == 'zip' else 'tar.gz'}?v=1"
    read(response.unpack_archive(extract_dir=str(tmp_path)))
    assert (tmp_path / "a" / "b.txt").read_text() == "hello"
    with pytest.raises(Exception, match="Unknown|unknown"):
        read(Response(b"x").unpack_archive(extract_dir=str(tmp_path)))
    if kind == "tar":
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("../outside"))
        with pytest.raises(tarfile.OutsideDestinationError):
            read(Response(data.getvalue()).unpack_archive(extract_dir=str(tmp_path / "a"), format="tar"))
