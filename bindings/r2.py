"""R2 buckets: what programs see of them in `env`, and the kind that binds them.

What always holds: bytes are in the store before the bucket's index speaks of them, and what the index says is durable; inside an
object everything leaves past the output gate and comes back by the input gate.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import cast
from urllib.parse import quote

from ..engine.durable import DurableObject
from ..engine.errors import InvalidArgument
from ..engine.outgoing import send_out
from ..engine.stubs import Stub
from ..engine.values import JsDict, JsList, StandIn
from ..sdk.blob import Blob
from ..sdk.body import Content, extract
from ..sdk.config import Config
from ..sdk.readable_stream import ReadableStream
from . import r2_rules, sections
from .arguments import Repeat, begin, is_missing, read_options
from .blob_store import BlobStore, check_settings, open_store
from .r2_index import PIECE_BYTES, Found, R2Index, Segment, piece_name
from .r2_objects import R2MultipartUpload, R2Object, R2ObjectBody
from .r2_rules import Digesting, refuse
from .surroundings import Surroundings

_LATE = "The upload took so long that its beginning was given up."
_DIGESTED_INLINE_BYTES_MAX = 256 << 10
"""Of content: digests of more would stop the process for milliseconds, so a thread makes them."""
_OF_UPLOADS = {"upload": 10024, "part": 10025, "small": 10011, "uneven": 10048}


class R2Bucket:
    """`env.NAME`: get, head, put, delete, list, createMultipartUpload, resumeMultipartUpload."""

    def __init__(self, index: Stub, store: BlobStore) -> None:
        self._index = index._with_retry(Repeat())  # pyright: ignore[reportPrivateUsage]
        self._store = store

    # ------------------------------------------------------------------ reading
    def head(self, key: object) -> Awaitable[R2Object | None]:
        """The description, None when there is no such object."""
        checked = r2_rules.check_key("head", key)
        return begin(self._head(checked), "r2 head")

    async def _head(self, key: str) -> R2Object | None:
        found = cast("Found | None", await self._index.find(key))
        return None if found is None else R2Object(found)

    def get(self, key: object, options: object = None, **more: object) -> Awaitable[R2Object | None]:
        """The object with its body, None when there is none; `onlyIf`: without a body when it does not hold; `range`."""
        checked = r2_rules.check_key("get", key)
        condition, wanted = r2_rules.read_get(options, more)
        return begin(self._get(checked, condition, wanted), "r2 get")

    async def _get(
        self, key: str, condition: dict[str, object] | None, wanted: r2_rules.Range | None
    ) -> R2Object | None:
        found = cast("Found | None", await self._index.find(key))
        if found is None:
            return None
        if not r2_rules.holds(condition, cast("str", found["etag"]), cast("int", found["uploaded_ms"])):
            return R2Object(found)
        size = cast("int", found["size"])
        offset, length = (0, size) if wanted is None else wanted.of(size)
        body = ReadableStream.of_iterator(self._read(cast("list[Segment]", found["segments"]), offset, length))
        body.expected_length = length
        return R2ObjectBody(found, (offset, length), body)

    async def _read(self, segments: list[Segment], offset: int, length: int) -> AsyncIterator[object]:
        """Bytes of an object, each piece asked for when the one before is read."""
        end, at = offset + length, 0
        for version, size in segments:
            for number, start in enumerate(range(0, size, PIECE_BYTES)):
                first = at + start
                last = at + min(start + PIECE_BYTES, size)
                if first < end and last > offset:
                    name, low, high = piece_name(version, number), max(offset, first) - first, min(end, last) - first
                    yield await send_out(lambda name=name, low=low, high=high: self._store.read(name, low, high))
            at += size

    def list(self, options: object = None, **more: object) -> Awaitable[JsDict]:
        """`{objects, truncated, cursor, delimitedPrefixes}`: in the order of the keys' UTF-8."""
        listing = r2_rules.read_list(options, more)
        return begin(self._list(listing), "r2 list")

    async def _list(self, listing: r2_rules.Listing) -> JsDict:
        page = await self._index.page(listing.prefix, listing.after, listing.delimiter, listing.limit)
        found = cast("dict[str, object]", page)
        http, custom = "httpMetadata" in listing.include, "customMetadata" in listing.include
        objects = [R2Object(each, http=http, custom=custom) for each in cast("list[Found]", found["objects"])]
        last = cast("str | None", found["last"])
        listed = JsDict(objects=JsList(objects), truncated=last is not None, delimitedPrefixes=found["prefixes"])
        if last is not None:
            listed["cursor"] = last.encode().hex()
        return listed

    # ------------------------------------------------------------------ writing
    def put(self, key: object, value: object, options: object = None, **more: object) -> Awaitable[R2Object | None]:
        """Store text, bytes, a Blob or a stream. None: `onlyIf` did not hold. Raises BindingError, InvalidArgument."""
        checked = r2_rules.check_key("put", key)
        asked = r2_rules.read_put("put", options, more)
        return begin(self._put(checked, _chunks("put", value), asked), "r2 put")

    async def _put(self, key: str, content: AsyncIterator[bytes], asked: r2_rules.Put) -> R2Object | None:
        version, digesting = uuid.uuid4().hex, Digesting(asked.digests)
        size = await self._write("put", version, content, digesting)
        digests = digesting.finish("put")
        about = {**asked.about, "digests": digests}
        found = await self._index.commit(key, version, size, digests["md5"].hex(), about, asked.condition)
        if found == "condition":
            return None
        if found == "late":
            raise refuse("put", 10001, _LATE)
        return R2Object(cast("Found", found))

    async def _write(self, operation: str, version: str, content: AsyncIterator[bytes], digesting: Digesting) -> int:
        """Piece by piece, each announced to the index and stored before the next is read. Gives the bytes."""
        held, size, number = bytearray(), 0, 0

        async def store(data: bytes) -> None:
            if len(data) > _DIGESTED_INLINE_BYTES_MAX:
                await send_out(lambda: asyncio.to_thread(digesting.update, data))
            else:
                digesting.update(data)
            await self._index.reserve(version, number + 1)
            await send_out(lambda: self._store.write(piece_name(version, number), data))

        async for chunk in content:
            held += chunk
            size += len(chunk)
            if size > r2_rules.PUT_BYTES_MAX:
                raise refuse(operation, 100100)
            while len(held) >= PIECE_BYTES:
                await store(bytes(held[:PIECE_BYTES]))
                del held[:PIECE_BYTES]
                number += 1
        if held:
            await store(bytes(held))
        return size

    def delete(self, keys: object) -> Awaitable[None]:
        """Remove an object, or up to 1,000; nothing happens where there is none."""
        checked = r2_rules.read_keys(keys)
        return begin(self._delete(checked), "r2 delete")

    async def _delete(self, keys: list[str]) -> None:
        await self._index.erase(keys)

    # ------------------------------------------------------------------ multipart uploads
    def createMultipartUpload(
        self, key: object, options: object = None, **more: object
    ) -> Awaitable[R2MultipartUpload]:
        """Begin an upload in parts; `httpMetadata`, `customMetadata`, `storageClass` of the object."""
        checked = r2_rules.check_key("createMultipartUpload", key)
        asked = r2_rules.read_put("createMultipartUpload", options, more)
        return begin(self._create_upload(checked, asked), "r2 upload")

    async def _create_upload(self, key: str, asked: r2_rules.Put) -> R2MultipartUpload:
        upload = uuid.uuid4().hex + uuid.uuid4().hex
        await self._index.create_upload(upload, key, asked.about)
        return R2MultipartUpload(self, key, upload)

    def resumeMultipartUpload(self, key: object, uploadId: object) -> R2MultipartUpload:
        """An upload that was begun before; whether there is one, its operations say."""
        return R2MultipartUpload(self, r2_rules.check_key("resumeMultipartUpload", key), str(uploadId))

    def upload_part(self, key: str, upload: str, number: object, value: object) -> Awaitable[JsDict]:
        """What `uploadPart` does."""
        if not isinstance(number, int | float) or isinstance(number, bool) or not 1 <= number <= r2_rules.PARTS_MAX:
            raise InvalidArgument(f"Part number must be between 1 and {r2_rules.PARTS_MAX} (inclusive).")
        return begin(self._upload_part(key, upload, int(number), _chunks("uploadPart", value)), "r2 part")

    async def _upload_part(self, key: str, upload: str, number: int, content: AsyncIterator[bytes]) -> JsDict:
        version, digesting = uuid.uuid4().hex, Digesting({})
        size = await self._write("uploadPart", version, content, digesting)
        etag = digesting.finish("uploadPart")["md5"].hex()
        outcome = cast("str", await self._index.add_part(upload, key, number, version, size, etag))
        if outcome == "late":
            raise refuse("uploadPart", 10001, _LATE)
        if outcome != "ok":
            raise refuse("uploadPart", _OF_UPLOADS[outcome])
        return JsDict(partNumber=number, etag=etag)

    def complete_upload(self, key: str, upload: str, parts: object) -> Awaitable[R2Object]:
        """What `complete` does."""
        if isinstance(parts, StandIn):
            parts = parts.plain()
        if not isinstance(parts, list | tuple):
            raise InvalidArgument("complete() takes a list of parts, each {partNumber, etag}")
        given: dict[int, str] = {}
        for each in cast("list[object]", parts):
            options = read_options(each, {}, ("partNumber", "etag"))
            number = options.get("partNumber")
            if not isinstance(number, int | float) or int(number) in given:
                raise refuse("completeMultipartUpload", 10025)
            given[int(number)] = str(options.get("etag"))
        if not given:
            raise refuse("completeMultipartUpload", 10025)
        return begin(self._complete(key, upload, [[number, given[number]] for number in sorted(given)]), "r2 complete")

    async def _complete(self, key: str, upload: str, parts: list[list[object]]) -> R2Object:
        try:
            digests = b"".join(bytes.fromhex(cast("str", etag)) for _, etag in parts)
        except ValueError:
            raise refuse("completeMultipartUpload", 10025) from None
        etag = f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"
        found = await self._index.complete(upload, key, uuid.uuid4().hex, etag, parts)
        if isinstance(found, str):
            raise refuse("completeMultipartUpload", _OF_UPLOADS[found])
        return R2Object(cast("Found", found))

    def abort_upload(self, key: str, upload: str) -> Awaitable[None]:
        """What `abort` does."""
        return begin(self._abort(key, upload), "r2 abort")

    async def _abort(self, key: str, upload: str) -> None:
        if not await self._index.abort(upload, key):
            raise refuse("abortMultipartUpload", 10024)

    create_multipart_upload = createMultipartUpload
    resume_multipart_upload = resumeMultipartUpload

    def __repr__(self) -> str:
        return "<R2Bucket>"


def _chunks(operation: str, value: object) -> AsyncIterator[bytes]:
    """The bytes of what a program gives. Raises InvalidArgument."""
    if isinstance(value, dict | list | tuple | int | float):
        raise InvalidArgument(
            f"{operation}: a value is a text, bytes, a Blob, a stream or None, got {type(cast('object', value)).__name__}"
        )
    taken = None if is_missing(value) else value.data if isinstance(value, Blob) else value
    try:
        content: Content = extract(taken)[0]
    except TypeError as error:
        raise InvalidArgument(f"{operation}: {error}") from None
    return _of(content.take() if isinstance(content, ReadableStream) else content)


async def _of(content: bytes | AsyncIterator[bytes] | None) -> AsyncIterator[bytes]:
    if content is None:
        return
    if isinstance(content, bytes):
        yield content
        return
    async for chunk in content:
        yield chunk


class R2Buckets:
    """The kind: `r2_buckets` [{binding, bucket_name}]. Programs whose bindings have one name share a bucket."""

    section = "r2_buckets"
    classes: Mapping[str, type[DurableObject]] = {"r2": R2Index}

    def check(self, config: Config) -> None:
        """Raises ConfigError."""
        for item in sections.items(config, self.section):
            sections.text(config, self.section, item, "binding")
            sections.identity(config, self.section, item, "bucket_name")

    def bind(self, config: Config, around: Surroundings) -> dict[str, object]:
        """Name → R2Bucket. Raises ConfigError."""
        check_settings(around.settings)
        found: dict[str, object] = {}
        for item in sections.items(config, self.section):
            bucket = sections.identity(config, self.section, item, "bucket_name")
            index = around.namespace("r2").getByName(quote(bucket, safe=""))
            store = open_store(bucket, around.data, around.settings)
            found[sections.text(config, self.section, item, "binding")] = R2Bucket(index, store)
        return found
