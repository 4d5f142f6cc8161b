"""What R2 gives: an object's description, an object with its body, an upload in parts.

What always holds: a description is of one version and does not change; a body is read once.
"""

from __future__ import annotations

import datetime
import email.utils
from collections.abc import Awaitable, Callable
from typing import Protocol, cast

from ..engine.values import Buffer, JsDict
from ..sdk.blob import Blob
from ..sdk.readable_stream import ReadableStream
from .arguments import from_json, read_options
from .r2_index import Found
from .r2_rules import DIGESTS, HTTP_FIELDS


class R2Checksums:
    """`md5`, `sha1`, `sha256`, `sha384`, `sha512`: buffers, None where there is none."""

    def __init__(self, digests: dict[str, bytes]) -> None:
        self._digests = digests

    def __getattr__(self, name: str) -> Buffer | None:
        if name not in DIGESTS:
            raise AttributeError(name)
        found = self._digests.get(name)
        return None if found is None else Buffer(found)

    def toJSON(self) -> JsDict:
        """In hexadecimal digits, those that there are."""
        return JsDict((name, self._digests[name].hex()) for name in DIGESTS if name in self._digests)


class R2Object:
    """Its attributes are those of the reference, in camelCase and in snake_case."""

    def __init__(
        self, found: Found, wanted: tuple[int, int] | None = None, *, http: bool = True, custom: bool = True
    ) -> None:
        """`wanted`: (offset, length) that was read. `http`, `custom`: whether these metadata were asked for."""
        about = cast("dict[str, object]", found["about"])
        self.key = cast("str", found["key"])
        self.version = cast("str", found["version"])
        self.size = cast("int", found["size"])
        self.etag = cast("str", found["etag"])
        self.httpEtag = f'"{self.etag}"'
        self.uploaded = _time(cast("int", found["uploaded_ms"]))
        fields = JsDict(cast("dict[str, object]", about["http"]))
        if "cacheExpiry" in fields:
            fields["cacheExpiry"] = _time(cast("int", fields["cacheExpiry"]))
        self.httpMetadata = fields if http else None
        self.customMetadata = JsDict(cast("dict[str, object]", about["custom"])) if custom else None
        self.storageClass = cast("str", about["class"])
        self.checksums = R2Checksums(cast("dict[str, bytes]", about.get("digests") or {}))
        self.range = None if wanted is None else JsDict(offset=wanted[0], length=wanted[1])

    def writeHttpMetadata(self, headers: object) -> None:
        """Set the headers of `httpMetadata`, of a response that is being made."""
        put = cast("Callable[[str, str], None] | None", getattr(headers, "set", None))
        for name, value in (self.httpMetadata or {}).items():
            header = HTTP_FIELDS[name]
            text = _http_date(value) if isinstance(value, datetime.datetime) else str(value)
            if put is not None:
                put(header, text)
                continue
            fields = cast("dict[str, str]", headers)
            if not isinstance(headers, dict):
                del fields[header]  # http.client's message adds where others replace
            fields[header] = text

    http_etag = property(lambda self: cast("R2Object", self).httpEtag)
    http_metadata = property(lambda self: cast("R2Object", self).httpMetadata)
    custom_metadata = property(lambda self: cast("R2Object", self).customMetadata)
    storage_class = property(lambda self: cast("R2Object", self).storageClass)
    write_http_metadata = writeHttpMetadata

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.key!r} of {self.size} bytes>"


def _time(ms: int) -> datetime.datetime:
    """The naive local time, as dates arrive everywhere else."""
    return datetime.datetime.fromtimestamp(ms / 1000)


def _http_date(when: datetime.datetime) -> str:
    return email.utils.format_datetime(when.astimezone(datetime.UTC), usegmt=True)


class R2ObjectBody(R2Object):
    """And its bytes: `body`, or all of them by `text`, `json`, `arrayBuffer`, `bytes`, `blob`."""

    def __init__(self, found: Found, wanted: tuple[int, int] | None, body: ReadableStream) -> None:
        super().__init__(found, wanted)
        self.body = body

    @property
    def bodyUsed(self) -> bool:
        return self.body.disturbed

    async def _read(self) -> bytes:
        if self.body.locked or self.body.disturbed:
            raise TypeError(
                "Body has already been used. It can only be used once. Use tee() first if you need to read it twice."
            )
        return b"".join([cast("bytes", chunk) async for chunk in self.body])

    async def arrayBuffer(self) -> Buffer:
        return Buffer(await self._read())

    async def bytes(self) -> Buffer:
        return Buffer(await self._read())

    async def text(self) -> str:
        return (await self._read()).decode("utf-8", "replace").removeprefix("\ufeff")

    async def json(self) -> object:
        """Raises PerdureError, a SyntaxError by name."""
        return from_json(await self._read())

    async def blob(self) -> Blob:
        """With the content type of `httpMetadata`."""
        kind = cast("str", (self.httpMetadata or {}).get("contentType") or "")
        return Blob(await self._read(), content_type=kind)

    array_buffer = arrayBuffer
    body_used = bodyUsed


class Uploads(Protocol):
    """What an upload asks of its bucket."""

    def upload_part(self, key: str, upload: str, number: object, value: object) -> Awaitable[JsDict]: ...

    def complete_upload(self, key: str, upload: str, parts: object) -> Awaitable[R2Object]: ...

    def abort_upload(self, key: str, upload: str) -> Awaitable[None]: ...


class R2MultipartUpload:
    """`key`, `uploadId`."""

    def __init__(self, bucket: Uploads, key: str, upload: str) -> None:
        self._bucket = bucket
        self.key = key
        self.uploadId = upload

    def uploadPart(
        self, partNumber: object, value: object, options: object = None, **more: object
    ) -> Awaitable[JsDict]:
        """Gives `{partNumber, etag}`, which `complete` wants."""
        read_options(options, more, ())
        return self._bucket.upload_part(self.key, self.uploadId, partNumber, value)

    def complete(self, uploadedParts: object) -> Awaitable[R2Object]:
        """The object of these parts, in the order of their numbers."""
        return self._bucket.complete_upload(self.key, self.uploadId, uploadedParts)

    def abort(self) -> Awaitable[None]:
        """Give it up; its parts are removed."""
        return self._bucket.abort_upload(self.key, self.uploadId)

    upload_id = property(lambda self: cast("R2MultipartUpload", self).uploadId)
    upload_part = uploadPart

    def __repr__(self) -> str:
        return f"<R2MultipartUpload {self.uploadId} of {self.key!r}>"
