"""R2 buckets: each row of docs/bindings.md, in a world."""

from __future__ import annotations

import datetime
import hashlib
from email.utils import format_datetime
from types import SimpleNamespace

import pytest
from perdure.bindings.r2_index import PIECE_BYTES, READERS_S
from perdure.engine.errors import BindingError, ConfigError, InvalidArgument, PerdureError
from perdure.sdk.blob import Blob
from perdure.sdk.headers import Headers
from perdure.sdk.readable_stream import ReadableStream
from perdure.testing import World
from perdure.testing.virtual import run

from .programs import WITH_OBJECT, folder

R2 = {"r2_buckets": [{"binding": "FILES", "bucket_name": "files"}, {"binding": "OWN"}]}
SOURCE = """
from workers import DurableObject, Response, WorkerEntrypoint


class Room(DurableObject):
    async def keep(self, key, value):
        await self.ctx.storage.put(key, value)
        await self.env.FILES.put(key, value)
        found = await self.env.FILES.get(key)
        return [await found.text(), found.etag]

    async def length(self, key):
        found = await self.env.FILES.get(key)
        return sum([len(chunk) async for chunk in found.body])


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        key = request.url.rsplit("/", 1)[1]
        if request.method == "PUT":
            found = await self.env.FILES.put(key, request.body, httpMetadata=request.headers)
            return Response(None, headers={"etag": found.httpEtag})
        found = await self.env.FILES.get(key, {"range": request.headers, "onlyIf": request.headers})
        if found is None:
            return Response("Object Not Found", status=404)
        headers = {"etag": found.httpEtag}
        found.writeHttpMetadata(headers)
        if not hasattr(found, "body"):
            return Response(None, status=304, headers=headers)
        return Response(found.body, headers=headers)
"""
MD5 = hashlib.md5(b"text").hexdigest()


@pytest.fixture
def program(tmp_path):
    return folder(tmp_path / "app", SOURCE, **R2, **WITH_OBJECT)


@pytest.fixture
def r2_world(program):
    """Runs a test's coroutine function on a world of two shards and `env.FILES`."""

    def with_world(test):
        async def inside():
            async with World(program, shards=2) as world:
                await test(world, world.env.FILES)

        run(inside())

    return with_world


def test_put_get_head_delete(r2_world):
    async def test(world, r2):
        assert await r2.get("a") is None
        assert await r2.head("a") is None
        put = await r2.put("a", "text")
        for found in (put, await r2.head("a"), await r2.get("a")):
            assert (found.key, found.size, found.etag, found.httpEtag) == ("a", 4, MD5, f'"{MD5}"')
            assert found.version == put.version
            assert found.uploaded == datetime.datetime.fromtimestamp(world.now.timestamp())
            assert (found.httpMetadata, found.customMetadata, found.storageClass) == ({}, {}, "Standard")
            assert found.checksums.md5.hex() == MD5
            assert found.checksums.sha1 is None
            assert found.checksums.toJSON() == {"md5": MD5}
        assert (put.range, (await r2.get("a")).range) == (None, {"offset": 0, "length": 4})
        again = await r2.put("a", "other")
        assert again.version != put.version
        assert await (await r2.get("a")).text() == "other"
        await r2.delete("a")
        await r2.delete("a")
        assert await r2.get("a") is None
        assert await world.env.OWN.get("a") is None

    r2_world(test)


def test_values_and_bodies(r2_world):
    async def test(world, r2):
        async def stream():
            yield b"ab"
            yield b"cd"

        values = [
            "äö",
            b"\0\xff",
            bytearray(b"b"),
            Blob(["x"], "text/plain"),
            ReadableStream.of_bytes(b"s"),
            stream(),
            None,
        ]
        wanted = ["äö".encode(), b"\0\xff", b"b", b"x", b"s", b"abcd", b""]
        for value, expected in zip(values, wanted, strict=True):
            await r2.put("k", value)
            found = await r2.get("k")
            assert await found.bytes() == expected
            assert found.bodyUsed
        for value in ({}, 1, [1]):
            with pytest.raises(InvalidArgument, match="a value is a text, bytes"):
                r2.put("k", value)
        await r2.put("k", '{"a": [1]}', {"httpMetadata": {"contentType": "application/json"}})
        assert (await (await r2.get("k")).json()).a == [1]
        assert await (await r2.get("k")).arrayBuffer() == b'{"a": [1]}'
        assert (await (await r2.get("k")).blob()).content_type == "application/json"
        found = await r2.get("k")
        assert b"".join([chunk async for chunk in found.body]) == b'{"a": [1]}'
        with pytest.raises(TypeError, match="Body has already been used"):
            await found.text()
        await r2.put("k", "{")
        with pytest.raises(PerdureError, match="no valid JSON"):
            await (await r2.get("k")).json()

    r2_world(test)


def test_metadata(r2_world):
    expires = datetime.datetime(2027, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    http = {
        "contentType": "text/html",
        "contentLanguage": "de",
        "contentDisposition": "inline",
        "contentEncoding": "gzip",
        "cacheControl": "no-store",
        "cacheExpiry": expires,
    }

    async def test(world, r2):
        await r2.put("a", "x", http_metadata=http, custom_metadata={"n": "1"}, storageClass="InfrequentAccess")
        found = await r2.head("a")
        assert {**found.httpMetadata, "cacheExpiry": expires} == http
        assert found.httpMetadata.cacheExpiry.timestamp() == expires.timestamp()
        assert (found.customMetadata.n, found.storageClass) == ("1", "InfrequentAccess")
        headers = Headers()
        found.writeHttpMetadata(headers)
        assert (headers.get("Content-Type"), headers.get("expires")) == (
            "text/html",
            format_datetime(expires, usegmt=True),
        )
        await r2.put("b", "x", httpMetadata=Headers({"content-type": "image/png", "cache-control": "a", "other": "c"}))
        assert (await r2.head("b")).http_metadata == {"contentType": "image/png", "cacheControl": "a"}
        with pytest.raises(BindingError, match=r"put: Your metadata headers exceed .* \(10012\)"):
            r2.put("a", "x", customMetadata={"n": "1" * 8192})
        for ask in (lambda **more: r2.put("a", "x", **more), lambda **more: r2.get("a", **more)):
            with pytest.raises(InvalidArgument, match="ssecKey is not supported"):
                ask(ssecKey="00" * 32)

    r2_world(test)


def test_ranges(r2_world):
    async def test(world, r2):
        await r2.put("a", "0123456789")

        async def read(wanted):
            found = await r2.get("a", range=wanted)
            return await found.text(), found.range.offset, found.range.length

        assert await read({"offset": 2, "length": 3}) == ("234", 2, 3)
        assert await read({"offset": 8}) == ("89", 8, 2)
        assert await read({"length": 2}) == ("01", 0, 2)
        assert await read({"suffix": 3}) == ("789", 7, 3)
        assert await read({"suffix": 30}) == ("0123456789", 0, 10)
        assert await read({"offset": 5, "length": 50}) == ("56789", 5, 5)
        assert await read(Headers({"range": "bytes=1-2"})) == ("12", 1, 2)
        assert await read(Headers({"range": "bytes=-2"})) == ("89", 8, 2)
        assert await read(Headers({})) == ("0123456789", 0, 10)
        for wanted in ({"offset": 10}, {"suffix": 0}, {"offset": 1, "length": 0}):
            with pytest.raises(BindingError, match=r"get: The requested range is not satisfiable \(10039\)"):
                await r2.get("a", range=wanted)
        with pytest.raises(InvalidArgument, match="Suffix is incompatible"):
            r2.get("a", range={"offset": 1, "suffix": 1})

    r2_world(test)


def test_conditions(r2_world):
    async def test(world, r2):
        put = await r2.put("a", "text")
        now = put.uploaded
        later, sooner = now + datetime.timedelta(hours=1), now - datetime.timedelta(hours=1)
        for condition, holds in [
            ({"etagMatches": MD5}, True),
            ({"etagMatches": "no"}, False),
            ({"etagMatches": "*"}, True),
            ({"etagDoesNotMatch": MD5}, False),
            ({"etagDoesNotMatch": "no"}, True),
            ({"uploadedBefore": later}, True),
            ({"uploadedBefore": sooner}, False),
            ({"uploadedBefore": sooner, "etagMatches": MD5}, True),
            ({"uploadedAfter": sooner}, True),
            ({"uploadedAfter": later}, False),
            ({"uploadedAfter": later, "etagDoesNotMatch": "no"}, True),
            (Headers({"if-none-match": f'"{MD5}", "x"'}), False),
            (Headers({"if-match": f'"{MD5}"'}), True),
            (Headers({"if-modified-since": format_datetime(later.astimezone(datetime.UTC), usegmt=True)}), False),
            (SimpleNamespace(etagMatches="no"), False),
        ]:
            found = await r2.get("a", onlyIf=condition)
            assert hasattr(found, "body") == holds, condition
            assert found.etag == MD5
        assert await r2.put("a", "new", onlyIf={"etagMatches": "no"}) is None
        assert await (await r2.get("a")).text() == "text"
        assert await r2.put("b", "new", onlyIf={"etagMatches": "*"}) is None
        assert (await r2.put("b", "new", onlyIf={"etagDoesNotMatch": "*"})).key == "b"
        assert await r2.put("b", "newer", onlyIf={"etagDoesNotMatch": "*"}) is None
        assert (await r2.put("a", "new", {"onlyIf": {"etagMatches": MD5}})).size == 3

    r2_world(test)


def test_checksums(r2_world):
    async def test(world, r2):
        for name in ("md5", "sha1", "sha256", "sha384", "sha512"):
            digest = hashlib.new(name, b"text").digest()
            put = await r2.put(name, "text", {name: digest})
            assert getattr(put.checksums, name) == digest
            assert (await r2.put(name, "text", {name: digest.hex()})).checksums.toJSON()[name] == digest.hex()
        with pytest.raises(BindingError, match=r"put: The SHA-256 checksum you specified did not match .* \(10037\)"):
            await r2.put("a", "other", sha256=hashlib.sha256(b"text").digest())
        assert await r2.get("a") is None
        with pytest.raises(InvalidArgument, match="SHA-1 is 20 bytes, not 1"):
            r2.put("a", "x", sha1=b"1")
        with pytest.raises(InvalidArgument, match="multiple hashing algorithms"):
            r2.put("a", "x", sha1=b"1" * 20, md5=b"1" * 16)

    r2_world(test)


def test_lists(r2_world):
    async def test(world, r2):
        for key in ("a/1", "a/2", "b", "c/x/1", "c/y", "d", "ä"):
            await r2.put(key, key, httpMetadata={"contentType": "t"}, customMetadata={"k": key})
        page = await r2.list()
        assert [each.key for each in page.objects] == ["a/1", "a/2", "b", "c/x/1", "c/y", "d", "ä"]
        assert (page.truncated, page.delimitedPrefixes, "cursor" in page) == (False, [], False)
        assert page.objects[0].httpMetadata is None
        page = await r2.list(include=["httpMetadata", "customMetadata"], prefix="a/")
        assert [(each.key, each.httpMetadata.contentType, each.customMetadata.k) for each in page.objects] == [
            ("a/1", "t", "a/1"), ("a/2", "t", "a/2")
        ]  # fmt: skip
        page = await r2.list(delimiter="/")
        assert ([each.key for each in page.objects], page.delimitedPrefixes) == (["b", "d", "ä"], ["a/", "c/"])
        page = await r2.list(delimiter="/", prefix="c/")
        assert ([each.key for each in page.objects], page.delimitedPrefixes) == (["c/y"], ["c/x/"])
        assert [each.key for each in (await r2.list(startAfter="c/y")).objects] == ["d", "ä"]
        for options in ({}, {"delimiter": "/"}):
            whole = await r2.list(options)
            keys, prefixes, cursor = [], [], {}
            while True:
                page = await r2.list({**options, **cursor, "limit": 2})
                keys += [each.key for each in page.objects]
                prefixes += page.delimitedPrefixes
                assert len(page.objects) + len(page.delimitedPrefixes) <= 2
                if not page.truncated:
                    break
                cursor = {"cursor": page.cursor}
            assert (keys, prefixes) == ([each.key for each in whole.objects], whole.delimitedPrefixes)
        assert (await r2.list(prefix="nothing")).objects == []
        for limit in (0, 1_001):
            with pytest.raises(BindingError, match=r"list: MaxKeys params must be positive integer <= 1000. \(10022\)"):
                r2.list(limit=limit)
        await r2.delete(["a/1", "a/2", "none"])
        assert (await r2.list(prefix="a/")).objects == []
        with pytest.raises(BindingError, match="1001 keys"):
            r2.delete(["k"] * 1_001)

    r2_world(test)


def test_keys_that_are_refused(r2_world):
    async def test(world, r2):
        for key in ("", "k" * 1_025, "\ud800"):
            for ask in (r2.get, r2.head, r2.delete, r2.createMultipartUpload):
                with pytest.raises(BindingError, match=r": The specified object name is not valid. \(10020\)"):
                    ask(key)
        await r2.put("k" * 1_024, "x")
        assert (await r2.head("k" * 1_024)).size == 1

    r2_world(test)


def test_large_objects(r2_world):
    large = bytes(range(256)) * ((PIECE_BYTES * 2 + 5_120) // 256)

    async def test(world, r2):
        async def chunks():
            for start in range(0, len(large), 1 << 20):
                yield large[start : start + (1 << 20)]

        put = await r2.put("large", chunks())
        assert (put.size, put.etag) == (len(large), hashlib.md5(large).hexdigest())
        assert await (await r2.get("large")).bytes() == large
        found = await r2.get("large", range={"offset": PIECE_BYTES - 2, "length": 4})
        assert await found.bytes() == large[PIECE_BYTES - 2 : PIECE_BYTES + 2]
        assert await world.namespace("Room").getByName("a").length("large") == len(large)
        store = r2._store
        assert len(store.blobs) == 3
        reading = (await r2.get("large")).body.getReader()
        await reading.read()
        await r2.put("large", "small")
        assert len((await reading.read()).value) == PIECE_BYTES  # who reads it goes on
        await world.advance(seconds=READERS_S + 120)
        assert len(store.blobs) == 1

    r2_world(test)


def test_a_stream_that_breaks_stores_nothing(r2_world):
    async def test(world, r2):
        async def broken():
            yield b"a" * PIECE_BYTES
            raise ValueError("no more")

        await r2.put("a", "before")
        with pytest.raises(ValueError, match="no more"):
            await r2.put("a", broken())
        assert await (await r2.get("a")).text() == "before"
        assert len(r2._store.blobs) == 2
        await world.advance(seconds=3_700)
        assert len(r2._store.blobs) == 1

    r2_world(test)


def test_multipart_uploads(r2_world):
    part = b"p" * (5 << 20)

    async def test(world, r2):
        upload = await r2.createMultipartUpload("m", httpMetadata={"contentType": "t"}, customMetadata={"a": "b"})
        assert upload.key == "m"
        second = await upload.uploadPart(2, b"end")
        await r2.resumeMultipartUpload("m", upload.uploadId).uploadPart(1, b"replaced" * 1_000_000)
        first = await upload.uploadPart(1, part)
        assert (first.partNumber, first.etag) == (1, hashlib.md5(part).hexdigest())
        assert await r2.get("m") is None
        with pytest.raises(BindingError, match=r"One or more of the specified parts could not be found. \(10025\)"):
            await upload.complete([first, {"partNumber": 2, "etag": "aa"}])
        done = await upload.complete([second, {"partNumber": 1, "etag": first.etag}])
        digests = hashlib.md5(part).digest() + hashlib.md5(b"end").digest()
        assert (done.size, done.etag) == (len(part) + 3, hashlib.md5(digests).hexdigest() + "-2")
        found = await r2.get("m", range={"offset": len(part) - 1, "length": 3})
        assert (await found.text(), found.httpMetadata.contentType, found.customMetadata.a) == ("pen", "t", "b")
        assert found.checksums.toJSON() == {}
        await world.advance(seconds=READERS_S + 120)
        assert len(r2._store.blobs) == 2

        aborted = await r2.createMultipartUpload("n")
        await aborted.uploadPart(1, b"x")
        await aborted.abort()
        for work in (aborted.uploadPart(1, b"x"), aborted.complete([{"partNumber": 1, "etag": "aa"}]), aborted.abort()):
            with pytest.raises(BindingError, match=r"The specified multipart upload does not exist. \(10024\)"):
                await work
        small = await r2.createMultipartUpload("s")
        parts = [await small.uploadPart(number, b"x") for number in (1, 2)]
        with pytest.raises(BindingError, match=r"smaller than the minimum allowed object size. \(10011\)"):
            await small.complete(parts)
        with pytest.raises(InvalidArgument, match="Part number must be between 1 and 10000"):
            small.uploadPart(0, b"x")
        await world.advance(seconds=8 * 86_400)
        assert len(r2._store.blobs) == 2

    r2_world(test)


def test_inside_an_object_and_over_http(r2_world):
    async def test(world, r2):
        room = world.namespace("Room").getByName("a")
        assert await room.keep("a", "text") == ["text", MD5]
        put = await world.fetch("/b", method="PUT", body="0123456789", headers={"content-type": "text/x"})
        found = await world.fetch("/b", headers={"range": "bytes=2-4"})
        assert (await found.text(), found.headers["content-type"]) == ("234", "text/x")
        again = await world.fetch("/b", headers={"if-none-match": put.headers["etag"]})
        assert again.status == 304
        assert (await world.fetch("/none")).status == 404

    r2_world(test)


def test_configuration_mistakes(tmp_path):
    for section, message in [([{"bucket_name": "a"}], "r2_buckets: 'binding' is missing"), ("a", "must be a list")]:
        program = folder(tmp_path / str(len(message)), SOURCE, r2_buckets=section, **WITH_OBJECT)
        with pytest.raises(ConfigError, match=message), World(program):
            pass
