"""What a KV namespace takes and refuses: keys, options, values, in the words that programs look for.

What always holds: nothing here knows where values are stored; sizes are bytes of UTF-8, times are whole seconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..engine.errors import BindingError, InvalidArgument
from ..engine.values import StandIn, key_text
from .arguments import read_options, to_json

KEY_BYTES_MAX = 512
VALUE_BYTES_MAX = 25 << 20
METADATA_BYTES_MAX = 1_024
EXPIRATION_S_MIN = 60
CACHE_TTL_S_MIN = 30
LIST_KEYS_MAX = 1_000
BULK_KEYS_MAX = 100
BULK_BYTES_MAX = 25 << 20
TYPES = ("text", "json", "arrayBuffer", "stream")
BULK_TYPES = ("text", "json")

_VALUES = "KV put() accepts only strings, ArrayBuffers, ArrayBufferViews, and ReadableStreams as values."


def _refuse(operation: str, status: int, why: str) -> BindingError:
    return BindingError(f"KV {operation} failed: {status} {why}")


def check_key(key: object, operation: str) -> bytes:
    """The key as it is stored. Raises InvalidArgument, BindingError."""
    if not isinstance(key, str | int | float):
        raise InvalidArgument(f"a KV key is a text, got {type(key).__name__}")
    try:
        raw = key_text(key).encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"the key is no valid text: {error.reason}") from None
    if not raw:
        raise InvalidArgument("Key name cannot be empty.")
    if raw in (b".", b".."):
        raise InvalidArgument(f'"{raw.decode()}" is not allowed as a key name.')
    if len(raw) > KEY_BYTES_MAX:
        raise _refuse(
            operation, 414, f"UTF-8 encoded length of {len(raw)} exceeds key length limit of {KEY_BYTES_MAX}."
        )
    return raw


def check_bulk(keys: list[object], kind: str) -> list[bytes]:
    """The keys of one `get` of several. Raises InvalidArgument, BindingError."""
    if not keys:
        raise _refuse("GET_BULK", 400, "You must request at least 1 key")
    if len(keys) > BULK_KEYS_MAX:
        raise _refuse("GET_BULK", 400, f"You can request a maximum of {BULK_KEYS_MAX} keys")
    if kind not in BULK_TYPES:
        raise _refuse("GET_BULK", 400, f'"{kind}" is not a valid type. Use "json" or "text"')
    return [check_key(key, "GET_BULK") for key in keys]


def read_get(given: object, more: dict[str, object]) -> str:
    """The type that a `get` asks for: a text, or an option. Raises InvalidArgument, BindingError."""
    if isinstance(given, str):
        given, more = None, {"type": given, **more}
    options = read_options(given, more, ("type", "cacheTtl"))
    kind = options.get("type", "text")
    if kind not in TYPES:
        raise InvalidArgument('Unknown response type. Possible types are "text", "arrayBuffer", "json", and "stream".')
    ttl = _whole(options.get("cacheTtl", CACHE_TTL_S_MIN))
    if ttl is None or ttl < CACHE_TTL_S_MIN:
        why = f"Invalid cache_ttl of {options['cacheTtl']}. Cache TTL must be at least {CACHE_TTL_S_MIN}."
        raise _refuse("GET", 400, why)
    return str(kind)


@dataclass(frozen=True, slots=True)
class Put:
    """Options of a `put`. `expiration_s`: the second from which the key is gone; None: never. `metadata`: JSON, or None."""

    expiration_s: int | None
    metadata: str | None


def read_put(given: object, more: dict[str, object], now_s: float) -> Put:
    """What a `put` asks for. Raises InvalidArgument, BindingError."""
    options = read_options(given, more, ("expiration", "expirationTtl", "metadata"))
    expiration: int | None = None
    if "expirationTtl" in options:
        ttl = _whole(options["expirationTtl"])
        if ttl is None or ttl <= 0:
            why = f"Invalid expiration_ttl of {options['expirationTtl']}. Please specify integer greater than 0."
            raise _refuse("PUT", 400, why)
        if ttl < EXPIRATION_S_MIN:
            why = f"Invalid expiration_ttl of {ttl}. Expiration TTL must be at least {EXPIRATION_S_MIN}."
            raise _refuse("PUT", 400, why)
        expiration = int(now_s) + ttl
    elif "expiration" in options:
        expiration = _whole(options["expiration"])
        if expiration is None or expiration <= now_s:
            why = "Please specify integer greater than the current number of seconds since the UNIX epoch."
            raise _refuse("PUT", 400, f"Invalid expiration of {options['expiration']}. {why}")
        if expiration < int(now_s) + EXPIRATION_S_MIN:
            why = f"Expiration times must be at least {EXPIRATION_S_MIN} seconds in the future."
            raise _refuse("PUT", 400, f"Invalid expiration of {expiration}. {why}")
    metadata = None
    if "metadata" in options:
        metadata = to_json(options["metadata"])
        size = len(metadata.encode())
        if size > METADATA_BYTES_MAX:
            raise _refuse("PUT", 413, f"Metadata length of {size} exceeds limit of {METADATA_BYTES_MAX}.")
    return Put(expiration, metadata)


def _whole(value: object) -> int | None:
    """A number of seconds, its fraction dropped; None: it is none."""
    if isinstance(value, str) and value.strip().lstrip("-").isdigit():
        return int(value)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return int(value) if abs(value) < 1 << 53 else None


def to_bytes(value: object) -> bytes | None:
    """A value as it is stored; None: it is a stream. Raises InvalidArgument, BindingError."""
    if isinstance(value, StandIn):
        value = value.plain()
    if isinstance(value, str):
        raw = value.encode("utf-8", "replace")
    elif isinstance(value, bool):
        raw = b"true" if value else b"false"
    elif isinstance(value, int | float):
        raw = key_text(value).encode()
    elif hasattr(value, "__aiter__"):
        return None
    else:
        try:
            raw = bytes(memoryview(value))  # pyright: ignore[reportArgumentType] - whatever has a buffer
        except TypeError:
            raise InvalidArgument(_VALUES, hint="write a dict or list with json.dumps()") from None
    check_size(len(raw))
    return raw


def check_size(size: int) -> None:
    """Raises BindingError."""
    if size > VALUE_BYTES_MAX:
        raise _refuse("PUT", 413, f"Value length of {size} exceeds limit of {VALUE_BYTES_MAX}.")


def check_bulk_size(size: int) -> None:
    """Raises BindingError."""
    if size > BULK_BYTES_MAX:
        raise _refuse("GET_BULK", 413, "Total size of request exceeds the limit of 25MB")


@dataclass(frozen=True, slots=True)
class Listing:
    """Options of a `list`. `after`: the last key that was given already, empty: from the beginning."""

    prefix: bytes
    limit: int
    after: bytes


def read_list(given: object, more: dict[str, object]) -> Listing:
    """What a `list` asks for. Raises InvalidArgument, BindingError."""
    options = read_options(given, more, ("prefix", "limit", "cursor"))
    prefix = key_text(options.get("prefix", "")).encode("utf-8", "replace")
    if len(prefix) > KEY_BYTES_MAX:
        why = f"UTF-8 encoded length of {len(prefix)} exceeds key length limit of {KEY_BYTES_MAX}."
        raise _refuse("GET", 414, why)
    limit = _whole(options.get("limit", LIST_KEYS_MAX))
    if limit is None or limit < 1:
        raise _refuse(
            "GET", 400, f"Invalid key_count_limit of {options['limit']}. Please specify an integer greater than 0."
        )
    if limit > LIST_KEYS_MAX:
        why = f"Please specify an integer less than {LIST_KEYS_MAX}."
        raise _refuse("GET", 400, f"Invalid key_count_limit of {limit}. {why}")
    cursor = str(options.get("cursor", ""))
    try:
        after = bytes.fromhex(cursor)
    except ValueError:
        raise _refuse("GET", 400, f"Invalid cursor: {cursor[:80]}") from None
    return Listing(prefix, limit, after)
