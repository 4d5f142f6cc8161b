"""KV namespaces: what programs see of them in `env`, and the kind that binds them.

What always holds: a key's bucket follows from the key alone; what was acknowledged is durable and is what every later read
gives, a list too; an operation may be made twice without harm, so it is made again while a shard restarts.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Generator, Mapping
from typing import Any, Final, cast

from ..engine.durable import DurableObject
from ..engine.errors import BindingError, InvalidArgument, Overloaded, PerdureError
from ..engine.stubs import Namespace, Stub
from ..engine.values import Buffer, JsDict, JsList
from ..sdk.config import Config
from ..sdk.readable_stream import ReadableStream
from . import kv_rules, sections
from .arguments import Answer, Repeat, begin, from_json
from .kv_bucket import PIECE_BYTES, KvBucket
from .kv_listing import Entry, KvKeys, merge
from .surroundings import Surroundings

BUCKETS: Final = 16
"""Of each namespace, for good: another number would look for keys where they are not."""
_READS_MAX = 3
"""Of a value that is replaced while its pieces are read."""
Found = dict[str, Any]


class KvNamespace:
    """`env.NAME`: get, getWithMetadata, put, delete, list."""

    def __init__(self, buckets: Namespace, ident: str) -> None:
        """`buckets`: the objects of the system class; `ident`: of the namespace, the same for all who share it."""
        self._stubs: list[Stub] = [
            buckets.getByName(f"{ident}/{number}")._with_retry(Repeat())  # pyright: ignore[reportPrivateUsage]
            for number in range(BUCKETS)
        ]

    def _bucket(self, key: bytes) -> Stub:
        return self._stubs[int.from_bytes(hashlib.blake2b(key, digest_size=2).digest()) % BUCKETS]

    # ------------------------------------------------------------------ reading
    def _read(self, key: object) -> tuple[bytes, _Heard]:
        """Ask for a key: its bytes, and what the bucket will answer. Raises what `check_key` raises."""
        raw = kv_rules.check_key(key, "GET")
        return raw, _Heard("GET", self._bucket(raw).read(raw))

    def get(self, key: object, options: object = None, **more: object) -> Awaitable[object]:
        """The value, None when there is none: text, or by `type` "json", "arrayBuffer", "stream". Of a list of keys a dict."""
        kind = kv_rules.read_get(options, more)
        if isinstance(key, list | tuple):
            return self._read_many(list(cast("list[object]", key)), kind, with_metadata=False)
        raw, sent = self._read(key)

        async def work() -> object:
            return (await self._value(raw, sent, kind))[0]

        return Answer(work)

    def getWithMetadata(self, key: object, options: object = None, **more: object) -> Awaitable[object]:
        """`{value, metadata, cacheStatus}`; both None for a key that does not exist."""
        kind = kv_rules.read_get(options, more)
        if isinstance(key, list | tuple):
            return self._read_many(list(cast("list[object]", key)), kind, with_metadata=True)
        raw, sent = self._read(key)

        async def work() -> JsDict:
            value, metadata = await self._value(raw, sent, kind)
            return JsDict(value=value, metadata=metadata, cacheStatus=None)

        return Answer(work)

    def _read_many(self, keys: list[object], kind: str, *, with_metadata: bool) -> Awaitable[object]:
        names = [str(key) for key in keys]
        raws = kv_rules.check_bulk(keys, kind)
        sent = {raw: _Heard("GET_BULK", self._bucket(raw).read(raw)) for raw in raws}

        async def work() -> JsDict:
            found = dict(zip(sent, await asyncio.gather(*(self._whole(raw, sent[raw]) for raw in sent)), strict=True))
            kv_rules.check_bulk_size(sum(0 if each is None else len(each["value"]) for each in found.values()))
            return JsDict(
                (name, _of_many(found[raw], kind, with_metadata)) for name, raw in zip(names, raws, strict=True)
            )

        return Answer(work)

    async def _value(self, key: bytes, sent: Awaitable[object], kind: str) -> tuple[object, object]:
        """The value as `kind`, and its metadata."""
        if kind == "stream":
            found = cast("Found | None", await sent)
            if found is None:
                return None, None
            stream = ReadableStream.of_iterator(self._stream(key, found))
            stream.expected_length = found["size"]
            return stream, _metadata(found)
        found = await self._whole(key, sent)
        if found is None:
            return None, None
        return _as(found["value"], kind), _metadata(found)

    async def _whole(self, key: bytes, sent: Awaitable[object]) -> Found | None:
        """What a bucket says of the key, with all of the value."""
        for _ in range(_READS_MAX):
            found = cast("Found | None", await sent)
            if found is None or (found["pieces"] == 1 and found["value"] is not None):
                return found
            bucket = self._bucket(key)
            rest = [_Heard("GET", bucket.piece(found["version"], number)) for number in range(1, found["pieces"])]
            pieces = [found["value"], *await asyncio.gather(*rest)]
            if None not in pieces:
                return {**found, "value": b"".join(cast("list[bytes]", pieces))}
            sent = _Heard("GET", bucket.read(key))
        raise BindingError("KV GET failed: 503 the value was replaced again and again while it was read")

    async def _stream(self, key: bytes, found: Found) -> AsyncIterator[object]:
        """The pieces of a value, each asked for when the one before is read."""
        bucket = self._bucket(key)
        yield found["value"]
        for number in range(1, found["pieces"]):
            piece = await _Heard("GET", bucket.piece(found["version"], number))
            if piece is None:
                raise BindingError("KV GET failed: 503 the value was replaced while it was read")
            yield piece

    def list(self, options: object = None, **more: object) -> Awaitable[KvKeys]:
        """Keys in the order of their UTF-8 bytes: `{keys: [{name, expiration, metadata}], list_complete, cursor}`."""
        listing = kv_rules.read_list(options, more)
        return begin(self._list(listing), "kv list")

    async def _list(self, listing: kv_rules.Listing) -> KvKeys:
        async def page(bucket: int, after: bytes, limit: int) -> list[Entry]:
            return cast("list[Entry]", await _Heard("GET", self._stubs[bucket].page(listing.prefix, after, limit)))

        found, complete = await merge(page, BUCKETS, listing.after, listing.limit)
        keys = JsList(_listed(entry) for entry in found)
        if complete:
            return KvKeys(keys=keys, list_complete=True, cacheStatus=None)
        return KvKeys(keys=keys, list_complete=False, cursor=found[-1][0].hex(), cacheStatus=None)

    # ------------------------------------------------------------------ writing
    def put(self, key: object, value: object, options: object = None, **more: object) -> Awaitable[None]:
        """Store text, bytes or a stream under a key; `expiration`, `expirationTtl` (seconds, 60 at least), `metadata`."""
        raw = kv_rules.check_key(key, "PUT")
        asked = kv_rules.read_put(options, more, time.time())
        data = kv_rules.to_bytes(value)
        if data is None:
            return begin(self._upload(raw, cast("AsyncIterator[object]", value), asked), "kv put")
        if len(data) > PIECE_BYTES:
            return begin(self._upload(raw, _parts(data), asked), "kv put")
        sent = _Heard("PUT", self._bucket(raw).write(raw, data, asked.expiration_s, asked.metadata))
        return Answer(lambda: _nothing(sent))

    async def _upload(self, key: bytes, chunks: AsyncIterator[object], asked: kv_rules.Put) -> None:
        """Piece by piece, each stored before the next is read; then the key gets them all at once."""
        bucket, version = self._bucket(key), random.getrandbits(62)
        held, size, number = bytearray(), 0, 0
        async for chunk in chunks:
            if not isinstance(chunk, bytes | bytearray | memoryview):
                raise InvalidArgument(f"a stream for KV gives bytes, this one gave {type(chunk).__name__}")
            held += chunk
            size += len(chunk)
            kv_rules.check_size(size)
            while len(held) >= PIECE_BYTES:
                await _Heard("PUT", bucket.add_piece(version, number, bytes(held[:PIECE_BYTES])))
                del held[:PIECE_BYTES]
                number += 1
        if number == 0:
            await _Heard("PUT", bucket.write(key, bytes(held), asked.expiration_s, asked.metadata))
            return
        if held:
            await _Heard("PUT", bucket.add_piece(version, number, bytes(held)))
        done = await _Heard("PUT", bucket.finish(key, version, size, asked.expiration_s, asked.metadata))
        if not done:
            raise BindingError("KV PUT failed: 503 the upload took so long that its beginning was given up")

    def delete(self, key: object) -> Awaitable[None]:
        """Remove a key; nothing happens when there is none."""
        raw = kv_rules.check_key(key, "DELETE")
        sent = _Heard("DELETE", self._bucket(raw).erase(raw))
        return Answer(lambda: _nothing(sent))

    get_with_metadata = getWithMetadata

    def __repr__(self) -> str:
        return "<KvNamespace>"


class _Heard(Awaitable[object]):
    """The answer of a bucket. Awaiting it raises BindingError, in the product's words, when there are too many calls."""

    __slots__ = ("_operation", "_sent")

    def __init__(self, operation: str, sent: Awaitable[object]) -> None:
        self._operation, self._sent = operation, sent

    def __await__(self) -> Generator[Any, Any, object]:
        try:
            return (yield from self._sent.__await__())
        except Overloaded as error:
            raise BindingError(
                f"KV {self._operation} failed: 429 Too Many Requests", overloaded=True, hint=error.hint
            ) from error


async def _nothing(sent: Awaitable[object]) -> None:
    await sent


async def _parts(data: bytes) -> AsyncIterator[object]:
    for start in range(0, len(data), PIECE_BYTES):
        yield data[start : start + PIECE_BYTES]


def _as(value: bytes, kind: str) -> object:
    if kind == "arrayBuffer":
        return Buffer(value)
    text = value.decode("utf-8", "replace")
    return from_json(text) if kind == "json" else text


def _metadata(found: Found) -> object:
    return None if found["metadata"] is None else from_json(found["metadata"])


def _of_many(found: Found | None, kind: str, with_metadata: bool) -> object:
    if found is None:
        return None
    try:
        value = _as(found["value"], kind)
    except PerdureError as error:
        raise BindingError(
            f"KV GET_BULK failed: 400 At least one of the requested keys corresponds to a non-{kind} value"
        ) from error
    return JsDict(value=value, metadata=_metadata(found)) if with_metadata else value


def _listed(entry: Entry) -> JsDict:
    key, expires_s, metadata = entry
    found = JsDict(name=key.decode())
    if expires_s is not None:
        found["expiration"] = expires_s
    if metadata is not None:
        found["metadata"] = from_json(metadata)
    return found


class KvNamespaces:
    """The kind: `kv_namespaces` [{binding, id}]. Programs whose bindings have one `id` share a namespace."""

    section = "kv_namespaces"
    classes: Mapping[str, type[DurableObject]] = {"kv": KvBucket}

    def check(self, config: Config) -> None:
        """Raises ConfigError."""
        for item in sections.items(config, self.section):
            sections.text(config, self.section, item, "binding")
            sections.identity(config, self.section, item, "id")

    def bind(self, config: Config, around: Surroundings) -> dict[str, object]:
        """Name → KvNamespace. Raises ConfigError."""
        buckets = around.namespace("kv")
        return {
            sections.text(config, self.section, item, "binding"): KvNamespace(
                buckets, sections.identity(config, self.section, item, "id")
            )
            for item in sections.items(config, self.section)
        }
