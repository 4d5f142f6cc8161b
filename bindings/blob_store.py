"""Where the bytes of R2 objects lie: a folder, an S3-compatible store, or memory (a world's). Over obstore.

What always holds: a name is written once and never changed; when `write` returns the bytes are there whatever dies; nobody reads
a name before it was written whole.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import quote

from ..engine.errors import BindingError, ConfigError

if TYPE_CHECKING:
    from obstore.store import LocalStore, S3Store

KEYS = ("bucket", "endpoint", "region", "prefix", "virtual_hosted_style_request", "allow_http")
"""Of a `[r2.<bucket>]` table. Credentials come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY."""


class BlobStore(Protocol):
    """One bucket's."""

    async def write(self, name: str, data: bytes) -> None:
        """Store bytes under a new name. Raises BindingError."""
        ...

    async def read(self, name: str, start: int, end: int) -> bytes:
        """Bytes from `start` up to `end`. Raises BindingError: it is not there (any more)."""
        ...

    async def remove(self, names: Sequence[str]) -> None:
        """Remove names; those that are not there are no error. Raises BindingError."""
        ...


class ObjectStore:
    """Over obstore. `folder`: of a local one, whose files are synced before they count."""

    def __init__(self, store: LocalStore | S3Store, folder: str | None = None) -> None:
        self._store = store
        self._folder = folder

    async def write(self, name: str, data: bytes) -> None:
        import obstore  # costs what a process without buckets should not pay

        try:
            await obstore.put_async(self._store, name, data, use_multipart=False)
            if self._folder is not None:
                await asyncio.to_thread(_sync, self._folder, name)
        except Exception as error:
            raise BindingError(f"R2: the store refused to write: {error}", retryable=True) from error

    async def read(self, name: str, start: int, end: int) -> bytes:
        import obstore

        if start >= end:
            return b""
        try:
            return bytes(await obstore.get_range_async(self._store, name, start=start, end=end))
        except FileNotFoundError:
            raise BindingError("R2: the object was replaced or removed while it was read") from None
        except Exception as error:
            raise BindingError(f"R2: the store cannot be read: {error}", retryable=True) from error

    async def remove(self, names: Sequence[str]) -> None:
        import obstore

        for name in names:
            try:
                await obstore.delete_async(self._store, name)
            except FileNotFoundError:
                continue
            except Exception as error:
                raise BindingError(f"R2: the store refused to remove: {error}", retryable=True) from error


def _sync(folder: str, name: str) -> None:
    """The file, and the folders that have come with it."""
    path = os.path.join(folder, name)
    while True:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if path == folder:
            return
        path = os.path.dirname(path)


class MemoryStore:
    """In this process: what a world has."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    async def write(self, name: str, data: bytes) -> None:
        self.blobs[name] = bytes(data)

    async def read(self, name: str, start: int, end: int) -> bytes:
        found = self.blobs.get(name)
        if found is None:
            raise BindingError("R2: the object was replaced or removed while it was read")
        return found[start:end]

    async def remove(self, names: Sequence[str]) -> None:
        for name in names:
            self.blobs.pop(name, None)


class MemoryStores:
    """The buckets of a world."""

    def __init__(self) -> None:
        self.buckets: dict[str, MemoryStore] = {}

    def open(self, bucket: str) -> MemoryStore:
        return self.buckets.setdefault(bucket, MemoryStore())


_installed: list[MemoryStores] = []


def install(stores: MemoryStores) -> Callable[[], None]:
    """Buckets lie in memory from now on; call what it gives to end that."""
    _installed.append(stores)
    return lambda: _installed.remove(stores)


def open_store(bucket: str, data: str, settings: Mapping[str, object]) -> BlobStore:
    """The store of a bucket: as `[r2.<bucket>]` says, else a folder of the data folder. Raises ConfigError."""
    if _installed:
        return _installed[-1].open(bucket)
    tables = check_settings(settings)
    if bucket in tables:
        return _s3(bucket, tables[bucket])
    if not data:
        raise ConfigError(f"the bucket '{bucket}' has no place: this process has no data folder")
    from obstore.store import LocalStore

    folder = os.path.join(data, "r2", quote(bucket, safe=""))
    os.makedirs(folder, exist_ok=True)
    return ObjectStore(LocalStore(folder), folder)


def check_settings(settings: Mapping[str, object]) -> dict[str, Mapping[str, object]]:
    """The tables `[r2.<bucket>]` of perdure.toml, by bucket. Raises ConfigError."""
    found = settings.get("r2") or {}
    if not isinstance(found, dict):
        raise ConfigError("r2 must be a table of tables, one a bucket", hint="[r2.NAME], then endpoint = …")
    tables: dict[str, Mapping[str, object]] = {}
    for bucket, given in cast("dict[str, object]", found).items():
        if not isinstance(given, dict):
            raise ConfigError(f"r2.{bucket} must be a table", hint=f"keys: {', '.join(KEYS)}")
        table = cast("dict[str, object]", given)
        for key, value in table.items():
            wanted = bool if key in KEYS[-2:] else str
            if key not in KEYS:
                hint = f"known: {', '.join(KEYS)}; credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                raise ConfigError(f"r2.{bucket}: unknown key '{key}'", hint=hint)
            if not isinstance(value, wanted):
                raise ConfigError(f"r2.{bucket}: {key} must be {'true or false' if wanted is bool else 'text'}")
        tables[bucket] = table
    return tables


def _s3(bucket: str, table: Mapping[str, object]) -> ObjectStore:
    from obstore.store import S3Store

    endpoint = cast("str", table.get("endpoint") or "")
    options: dict[str, Any] = {"prefix": table.get("prefix"), "region": table.get("region") or "auto"}
    if endpoint:
        options["endpoint"] = endpoint
    options["virtual_hosted_style_request"] = table.get("virtual_hosted_style_request", False)
    options["client_options"] = {"allow_http": table.get("allow_http", endpoint.startswith("http://"))}
    try:
        store = S3Store(cast("str", table.get("bucket") or bucket), **options)
    except Exception as error:
        raise ConfigError(f"r2.{bucket}: {error}") from error
    return ObjectStore(store)
