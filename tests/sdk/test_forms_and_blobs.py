"""Blob, File, FormData, URLSearchParams, URL (spec: sdk; fetch, FormData, Blob, File)."""

from __future__ import annotations

import asyncio
import http
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from perdure.sdk.blob import Blob, BlobEnding, File
from perdure.sdk.form_data import FormData, parse, write_multipart
from perdure.sdk.request import Request
from perdure.sdk.response import Response
from perdure.sdk.urls import URL, URLSearchParams, normalise


def read(coroutine):
    return asyncio.run(coroutine)


def test_a_blob_of_one_part_or_several() -> None:
    blob = Blob(["ab", b"cd", memoryview(b"ef"), bytearray(b"g"), Blob("h")], content_type="Text/Plain")
    assert (blob.size, blob.content_type, blob.type, blob.js_object) == (8, "text/plain", "text/plain", blob)
    assert read(blob.text()) == "abcdefgh"
    assert read(blob.bytes()) == b"abcdefgh"
    assert read(blob.arrayBuffer()).byteLength == 8
    assert read(Blob("ü").bytes()) == "ü".encode()
    assert Blob().size == Blob(None).size == 0
    inherited = Blob(blob)
    assert (inherited.content_type, Blob([blob]).content_type) == ("text/plain", "")
    assert Blob(blob, content_type="other/type").content_type == "other/type"
    for bad in (5, [object()], [5]):
        with pytest.raises(TypeError, match="a Blob is made of"):
            Blob(bad)


def test_slices_streams_and_endings() -> None:
    blob = Blob("hello", content_type="text/plain")
    assert read(blob.slice(1, 3).text()) == "el"
    assert read(blob.slice(-3).text()) == "llo"
    assert read(blob.slice(3, 1).text()) == ""
    assert read(blob.slice(0, 99, "a/b").text()) == "hello"
    assert (blob.slice(0, 1).content_type, blob.slice(0, 1, "a/b").content_type) == ("", "a/b")

    async def chunks():
        return [chunk async for chunk in blob.stream()]

    assert read(chunks()) == [b"hello"]
    assert read(Blob("a\r\nb\rc", endings=BlobEnding.NATIVE).text()) == "a\nb\nc"
    assert read(Blob("a\r\nb", endings="transparent").text()) == "a\r\nb"
    with pytest.raises(ValueError, match="loud"):
        Blob("a", endings="loud")


def test_a_file_has_a_name_and_a_time() -> None:
    file = File("my file", filename="test.txt", content_type="text/plain", last_modified=5)
    assert (file.name, file.content_type, file.last_modified, file.lastModified) == ("test.txt", "text/plain", 5, 5)
    with mock.patch("time.time", return_value=12.5):
        assert File([b"x"], "a").last_modified == 12_500
    made = File.new(["a", b"b"], "n", {"type": "a/b", "lastModified": 7})
    assert (made.name, made.type, made.last_modified, read(made.text())) == ("n", "a/b", 7, "ab")
    assert Blob.new(["x"], type="a/b").type == "a/b"


def test_form_data_is_a_mapping_with_repeated_names() -> None:
    form = FormData({"key": "foobar", "number": 123, "flag": True})
    assert (form["key"], form["number"], form["flag"]) == ("foobar", "123", "true")
    assert form["missing"] is None
    assert form.get("missing", "x") == "x"
    form.append("key", "another")
    assert form["key"] == "foobar"
    assert form.get_all("key") == form.getAll("key") == ["foobar", "another"]
    assert list(form.keys()) == ["key", "number", "flag", "key"]
    assert list(form.values()) == ["foobar", "123", "true", "another"]
    assert ("key", "another") in set(form.items())
    assert iter(form.keys()) is not form.keys()
    assert (len(form), "key" in form, "other" in form, form.has("flag")) == (4, True, False, True)
    with pytest.raises(TypeError, match=r"Expected single item in arguments to FormData\.__setitem__"):
        form["key"] = ["a", "b"]
    form["key"] = "one"
    assert list(form.items()) == [("key", "one"), ("number", "123"), ("flag", "true")]
    form.delete("number")
    del form["flag"]
    assert FormData(form) == FormData({"key": "one"})
    assert FormData(None) == FormData()
    with pytest.raises(TypeError, match="FormData takes"):
        FormData(5)


def test_files_in_a_form() -> None:
    form = FormData()
    form["blob.py"] = Blob("print(42)", content_type="text/python")
    form.append("metadata", Blob("{}", content_type="text/python"), filename="metadata.json")
    form["file"] = File("x", "f.bin", "a/b", last_modified=3)
    assert isinstance(form["blob.py"], Blob)
    assert (form["blob.py"].content_type, form["blob.py"].name) == ("text/python", "blob")
    assert (form["metadata"].name, form["file"].name, form["file"].last_modified) == ("metadata.json", "f.bin", 3)
    back = read(Response(form).form_data())
    assert [(name, read(value.text()), value.name, value.content_type) for name, value in back.items()] == [
        ("blob.py", "print(42)", "blob", "text/python"),
        ("metadata", "{}", "metadata.json", "text/python"),
        ("file", "x", "f.bin", "a/b"),
    ]


def test_forms_as_bodies_of_requests() -> None:
    request = Request("http://a", method="POST", body=FormData({"foobar": 123}))
    assert request.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert read(request.formData())["foobar"] == "123"
    request = Request("http://a", method="POST", body=URLSearchParams({"a": "b c", "d": "ü&"}))
    assert request.headers["content-type"] == "application/x-www-form-urlencoded;charset=UTF-8"
    assert list(read(request.clone().form_data()).items()) == [("a", "b c"), ("d", "ü&")]
    assert read(request.text()) == "a=b+c&d=%C3%BC%26"


def test_a_form_as_other_programs_write_it() -> None:
    body = (
        b'--xx\r\nContent-Disposition: form-data; name="a"\r\n\r\none\r\n'
        b'--xx\r\ncontent-disposition: form-data; name="f%22"; filename="n.txt"\r\nContent-Type: text/plain\r\n\r\nl1\r\nl2\r\n'
        b"--xx--\r\n"
    )
    form = parse(body, 'multipart/form-data; boundary="xx"')
    assert form["a"] == "one"
    assert read(form['f"'].text()) == "l1\r\nl2"
    assert len(parse(b"--xx--\r\n", "multipart/form-data; boundary=xx")) == 0


@pytest.mark.parametrize(
    ("body", "kind", "phrase"),
    [
        (b"a=1", "text/plain", "Unrecognized Content-Type"),
        (b"a=1", None, "Unrecognized Content-Type"),
        (b"--x", "multipart/form-data", "No boundary"),
        (b"nothing", "multipart/form-data; boundary=x", "Failed to parse"),
        (
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1',
            "multipart/form-data; boundary=x",
            "last boundary",
        ),
        (b"--x\r\nContent-Type: a\r\n\r\n1\r\n--x--\r\n", "multipart/form-data; boundary=x", "no name"),
    ],
)
def test_what_is_no_form(body: bytes, kind: str | None, phrase: str) -> None:
    with pytest.raises(TypeError, match=phrase):
        parse(body, kind)


_texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


@example([("\\", b"")])
@given(st.lists(st.tuples(_texts, _texts | st.binary(max_size=20)), max_size=5))
def test_a_form_that_is_written_is_read_back(fields: list[tuple[str, str | bytes]]) -> None:
    form = FormData()
    for name, value in fields:
        form.append(name, value if isinstance(value, str) else Blob(value))
    back = parse(*write_multipart(form))
    unified = [
        name.replace("\r\n", "\n")
        .replace("\r", "\n")
        .replace("\n", "\r\n")
        .replace("%0D", "\r")
        .replace("%0A", "\n")
        .replace("%22", '"')
        for name, _ in fields
    ]
    assert list(back.keys()) == unified
    for (_, value), found in zip(fields, back.values(), strict=True):
        if isinstance(value, str):
            assert found == value.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")
        else:
            assert read(found.bytes()) == value


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://test.com", "https://test.com/"),
        ("HTTP://TEST.com:80/a/../b c?x=ü#f", "http://test.com/b%20c?x=%C3%BC#f"),
        ("http://a:8787/x", "http://a:8787/x"),
    ],
)
def test_urls_are_normalised(url: str, expected: str) -> None:
    assert normalise(url) == Request(url).url == expected


def test_urls_and_their_parameters() -> None:
    url = URL("/c?x=1&x=2#h", "http://a.b")
    assert (url.origin, url.pathname, url.search, url.hash, url.host) == ("http://a.b", "/c", "?x=1&x=2", "#h", "a.b")
    url.searchParams.append("y", "ö ~")
    assert str(url) == "http://a.b/c?x=1&x=2&y=%C3%B6+%7E#h"
    url.search = "?q=2"
    assert list(url.searchParams) == [("q", "2")]
    url.pathname, url.port = "/zz y", "99999"
    assert url.href == "http://a.b/zz%20y?q=2#h"
    assert (URL.canParse("/x"), URL.parse("nonsense")) == (False, None)
    with pytest.raises(TypeError, match="Invalid URL"):
        URL("/x")
    params = URLSearchParams("?a=1&b=2&a=3")
    assert (params.get("a"), params.getAll("a"), params.get("c"), params.size) == ("1", ["1", "3"], None, 3)
    params.set("a", 9)
    params.delete("b")
    params.sort()
    assert str(params) == params.toString() == "a=9"
    assert (params.has("a"), params.has("a", "1"), "a" in params) == (True, False, True)
    assert Request(URL("http://a")).url == "http://a/"
    assert Request("http://a").method == http.HTTPMethod.GET
