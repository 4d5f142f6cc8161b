"""What R2 buckets take and refuse: keys, options, conditions, ranges, in the words and numbers that programs look for.

What always holds: nothing here knows where objects lie; times are whole milliseconds since the epoch, etags carry no quotes.
"""

from __future__ import annotations

import datetime
import email.utils
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from ..engine.errors import BindingError, InvalidArgument
from ..engine.values import StandIn, key_text, milliseconds
from .arguments import read_options, to_json

KEY_BYTES_MAX = 1_024
METADATA_BYTES_MAX = 8_192
OBJECT_BYTES_MAX = 5_000_000_000_000
PUT_BYTES_MAX = 5_000_000_000 - 5_000_000
PART_BYTES_MIN = 5 << 20
PARTS_MAX = 10_000
LIST_MAX = 1_000
DELETE_MAX = 1_000
HTTP_FIELDS = {
    "contentType": "content-type",
    "contentLanguage": "content-language",
    "contentDisposition": "content-disposition",
    "contentEncoding": "content-encoding",
    "cacheControl": "cache-control",
    "cacheExpiry": "expires",
}
"""Of `httpMetadata`, and the header of each."""
DIGESTS = {"md5": 16, "sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}
"""Checksums and their bytes."""
_SAID = {"md5": "MD5", "sha1": "SHA-1", "sha256": "SHA-256", "sha384": "SHA-384", "sha512": "SHA-512"}
STORAGE_CLASSES = ("Standard", "InfrequentAccess")
_ERRORS = {
    10001: "We encountered an internal error. Please try again.",
    10007: "The specified key does not exist.",
    10011: "Your proposed upload is smaller than the minimum allowed object size.",
    10012: "Your metadata headers exceed the maximum allowed metadata size.",
    10020: "The specified object name is not valid.",
    10022: "MaxKeys params must be positive integer <= 1000.",
    10024: "The specified multipart upload does not exist.",
    10025: "One or more of the specified parts could not be found.",
    10039: "The requested range is not satisfiable",
    10048: "There was a problem with the multipart upload.",
    100100: "Your proposed upload exceeds the maximum allowed object size.",
}


def refuse(operation: str, number: int, why: str = "") -> BindingError:
    """The error of an operation: `put: The specified object name is not valid. (10020)`."""
    return BindingError(f"{operation}: {why or _ERRORS[number]} ({number})")


def check_key(operation: str, key: object) -> str:
    """An object's key. Raises BindingError, InvalidArgument."""
    if not isinstance(key, str | int | float):
        raise InvalidArgument(f"a key of R2 is a text, got {type(key).__name__}")
    text = key_text(key)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise refuse(operation, 10020) from None
    if not 0 < size <= KEY_BYTES_MAX:
        raise refuse(operation, 10020)
    return text


# ---------------------------------------------------------------------- put
@dataclass(frozen=True, slots=True)
class Put:
    """Options of a `put`, or of an upload."""

    about: dict[str, object]
    """`http`: field → text (cacheExpiry: ms); `custom`: name → text; `class`: the storage class."""
    condition: dict[str, object] | None = None
    digests: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    """What the content must have."""


def read_put(operation: str, given: object, more: dict[str, object]) -> Put:
    """Raises InvalidArgument, BindingError."""
    options = read_options(
        given, more, ("httpMetadata", "customMetadata", "onlyIf", "storageClass", "ssecKey", *DIGESTS)
    )
    if "ssecKey" in options:
        raise InvalidArgument("ssecKey is not supported: encrypt what you put, or the disk that it lies on")
    storage_class = options.get("storageClass", STORAGE_CLASSES[0])
    if storage_class not in STORAGE_CLASSES:
        raise refuse(operation, 10062, "The storage class specified is not valid.")
    custom = _texts("customMetadata", options.get("customMetadata"))
    if sum(len(name.encode()) + len(value.encode()) for name, value in custom.items()) > METADATA_BYTES_MAX:
        raise refuse(operation, 10012)
    digests = {name: _digest(name, options[name]) for name in DIGESTS if name in options}
    if len(digests) > 1:
        raise InvalidArgument("You cannot specify multiple hashing algorithms.")
    about: dict[str, object] = {
        "http": read_http_metadata(options.get("httpMetadata")),
        "custom": custom,
        "class": storage_class,
    }
    return Put(about, read_condition(options.get("onlyIf")), digests)


def read_http_metadata(given: object) -> dict[str, object]:
    """From an object with the fields, or from Headers. Raises InvalidArgument."""
    if given is None:
        return {}
    headers = headers_of(given)
    if headers is not None:
        found = {name: headers(header) for name, header in HTTP_FIELDS.items()}
        taken: dict[str, object] = {name: value for name, value in found.items() if value is not None}
        if "cacheExpiry" in taken:
            taken["cacheExpiry"] = _http_date(cast("str", taken["cacheExpiry"]))
        return taken
    fields = read_options(given, {}, HTTP_FIELDS)
    return {name: moment(value) if name == "cacheExpiry" else str(value) for name, value in fields.items()}


def _texts(what: str, given: object) -> dict[str, str]:
    if given is None:
        return {}
    if isinstance(given, StandIn):
        given = given.plain()
    if not isinstance(given, dict):
        given = getattr(given, "__dict__", None)
    if not isinstance(given, dict):
        raise InvalidArgument(f"{what} must be an object of texts")
    return {str(name): _text(value) for name, value in cast("dict[object, object]", given).items()}


def _text(value: object) -> str:
    return value if isinstance(value, str) else key_text(value) if isinstance(value, int | float) else to_json(value)


def _digest(name: str, value: object) -> bytes:
    if isinstance(value, str):
        try:
            found = bytes.fromhex(value)
        except ValueError:
            raise InvalidArgument(f"Provided {_SAID[name]} wasn't a valid hex string") from None
    else:
        found = bytes(cast("bytes", value.plain() if isinstance(value, StandIn) else value))
    if len(found) != DIGESTS[name]:
        raise InvalidArgument(f"{_SAID[name]} is {DIGESTS[name]} bytes, not {len(found)}")
    return found


class Digesting:
    """Digests of content that comes in pieces: MD5, and what was asked for."""

    def __init__(self, asked: Mapping[str, bytes]) -> None:
        self._asked = asked
        self._running: dict[str, Any] = {name: hashlib.new(name, usedforsecurity=False) for name in {"md5", *asked}}

    def update(self, data: bytes) -> None:
        for each in self._running.values():
            each.update(data)

    def finish(self, operation: str) -> dict[str, bytes]:
        """By name. Raises BindingError when the content is not what was announced."""
        found = {name: cast("bytes", each.digest()) for name, each in self._running.items()}
        for name, wanted in self._asked.items():
            if found[name] != wanted:
                why = f"The {_SAID[name]} checksum you specified did not match what we received."
                raise refuse(operation, 10037, why)
        return found


# ---------------------------------------------------------------------- conditions
def headers_of(value: object) -> Callable[[str], str | None] | None:
    """Reads a header of what are headers: the SDK's, http.client's; None for anything else."""
    if isinstance(value, dict) or not (hasattr(value, "get_all") or hasattr(value, "getSetCookie")):
        return None
    return cast("Callable[[str], str | None]", cast("Any", value).get)


def read_condition(given: object) -> dict[str, object] | None:
    """`onlyIf`: etagMatches, etagDoesNotMatch as lists, uploadedBefore, uploadedAfter in ms, seconds. Raises InvalidArgument."""
    if given is None:
        return None
    headers = headers_of(given)
    if headers is not None:
        dates = {"uploadedBefore": headers("if-unmodified-since"), "uploadedAfter": headers("if-modified-since")}
        etags = {"etagMatches": headers("if-match"), "etagDoesNotMatch": headers("if-none-match")}
        found: dict[str, object] = {name: _etags(value) for name, value in etags.items() if value is not None}
        found |= {name: _http_date(value) for name, value in dates.items() if value is not None}
        return {**found, "seconds": True}
    names = ("etagMatches", "etagDoesNotMatch", "uploadedBefore", "uploadedAfter", "secondsGranularity")
    options = read_options(given, {}, names)
    found = {name: _etags(str(options[name])) for name in names[:2] if name in options}
    found |= {name: moment(options[name]) for name in names[2:4] if name in options}
    return {**found, "seconds": bool(options.get("secondsGranularity"))}


def _etags(text: str) -> list[str]:
    return [each.strip().removeprefix("W/").strip('"') for each in text.split(",")]


def holds(condition: Mapping[str, object] | None, etag: str | None, uploaded_ms: int) -> bool:
    """Whether a condition holds for an object; `etag` None: there is none."""
    if condition is None:
        return True
    matches = cast("list[str] | None", condition.get("etagMatches"))
    unlike = cast("list[str] | None", condition.get("etagDoesNotMatch"))
    before, after = (
        cast("int | None", condition.get("uploadedBefore")),
        cast("int | None", condition.get("uploadedAfter")),
    )
    if etag is None:
        return matches is None and after is None
    if condition.get("seconds"):
        uploaded_ms = uploaded_ms // 1000 * 1000
    if_match = matches is None or "*" in matches or etag in matches
    if_unlike = unlike is None or not ("*" in unlike or etag in unlike)
    if_after = after is None or after < uploaded_ms or (unlike is not None and if_unlike)
    if_before = before is None or uploaded_ms < before or (matches is not None and if_match)
    return if_match and if_unlike and if_after and if_before


def moment(value: object) -> int:
    """Milliseconds since the epoch of a datetime, a Date, a number of ms. Raises InvalidArgument."""
    if isinstance(value, StandIn):
        value = value.plain()
    if isinstance(value, datetime.datetime):
        return milliseconds(value)
    if isinstance(value, int | float):
        return int(value)
    raise InvalidArgument(f"a moment is a datetime or a number of milliseconds, got {type(value).__name__}")


def _http_date(text: str) -> int:
    try:
        return int(email.utils.parsedate_to_datetime(text).timestamp() * 1000)
    except ValueError:
        raise InvalidArgument(f"{text!r} is no date of HTTP") from None


# ---------------------------------------------------------------------- get
@dataclass(frozen=True, slots=True)
class Range:
    """What of an object is wanted: from `offset` on, `length` bytes (None: all that follow), or the last `suffix`."""

    offset: int | None = None
    length: int | None = None
    suffix: int | None = None

    def of(self, size: int) -> tuple[int, int]:
        """(offset, length) within an object of that size. Raises BindingError."""
        if self.suffix is not None:
            length = min(self.suffix, size)
            if length <= 0:
                raise refuse("get", 10039)
            return size - length, length
        offset = self.offset or 0
        if offset >= size > 0 or offset < 0 or (self.length is not None and self.length <= 0):
            raise refuse("get", 10039)
        return offset, size - offset if self.length is None else min(self.length, size - offset)


def read_get(given: object, more: dict[str, object]) -> tuple[dict[str, object] | None, Range | None]:
    """The condition and the range of a `get`. Raises InvalidArgument."""
    options = read_options(given, more, ("onlyIf", "range", "ssecKey"))
    if "ssecKey" in options:
        raise InvalidArgument("ssecKey is not supported: encrypt what you put, or the disk that it lies on")
    return read_condition(options.get("onlyIf")), _read_range(options.get("range"))


def _read_range(given: object) -> Range | None:
    if given is None:
        return None
    headers = headers_of(given)
    if headers is None:
        options = read_options(given, {}, ("offset", "length", "suffix"))
        values = {name: int(cast("float", value)) for name, value in options.items()}
        if "suffix" in values and len(values) > 1:
            raise InvalidArgument("Suffix is incompatible with offset or length.")
        return Range(**values)
    found = re.fullmatch(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", headers("range") or "")
    if found is None or found.groups() == ("", ""):
        return None  # as for HTTP: what is no single range is not there
    first, last = found.groups()
    if not first:
        return Range(suffix=int(last))
    if last and int(last) < int(first):
        return None
    return Range(offset=int(first), length=int(last) - int(first) + 1 if last else None)


# ---------------------------------------------------------------------- list
@dataclass(frozen=True, slots=True)
class Listing:
    """`after`: only keys beyond it. `include`: which metadata come with the objects."""

    prefix: str
    after: str
    delimiter: str
    limit: int
    include: frozenset[str]


def read_list(given: object, more: dict[str, object]) -> Listing:
    """Raises InvalidArgument, BindingError."""
    options = read_options(given, more, ("prefix", "cursor", "delimiter", "limit", "startAfter", "include"))
    limit = options.get("limit", LIST_MAX)
    if not isinstance(limit, int | float) or isinstance(limit, bool) or not 1 <= limit <= LIST_MAX:
        raise refuse("list", 10022)
    after = str(options.get("startAfter", ""))
    if "cursor" in options:
        try:
            after = max(after, bytes.fromhex(str(options["cursor"])).decode())
        except ValueError:
            raise refuse("list", 10001, "The cursor is not one that a list has given.") from None
    include = options.get("include") or []
    if isinstance(include, StandIn):
        include = include.plain()
    names = frozenset(str(each) for each in cast("Iterable[object]", include))
    if names - {"httpMetadata", "customMetadata"}:
        raise InvalidArgument(f"Unsupported include value: {', '.join(sorted(names))}")
    return Listing(str(options.get("prefix", "")), after, str(options.get("delimiter", "")), int(limit), names)


def read_keys(keys: object) -> list[str]:
    """What `delete` is given: a key, or up to 1,000. Raises InvalidArgument, BindingError."""
    if isinstance(keys, StandIn):
        keys = keys.plain()
    if not isinstance(keys, list | tuple):
        return [check_key("delete", keys)]
    listed = cast("list[object]", keys)
    if len(listed) > DELETE_MAX:
        raise refuse("delete", 10022, f"{len(listed)} keys, of at most {DELETE_MAX}.")
    return [check_key("delete", key) for key in listed]
