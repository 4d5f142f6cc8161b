"""`TextEncoder`, `TextDecoder`, `atob`, `btoa`, `structuredClone`, `performance`."""

from __future__ import annotations

import base64
import binascii
import codecs
import time
from typing import cast

from ...engine.errors import OutOfRange, PerdureError
from ...engine.values import pack, unpack
from .arrays import Array
from .buffers import ArrayBuffer, TypedArray, Uint8Array, as_bytes
from .collections import Map, Set
from .data_view import DataView
from .date import Date
from .objects import JsObject
from .proxies import JsProxy, jsnull, missing, options, to_text

_LABELS = {"utf8": "utf-8", "latin1": "windows-1252", "iso-8859-1": "windows-1252", "ascii": "windows-1252"}
_STARTED_S = time.time()


class TextEncoder(JsProxy):
    """Texts as UTF-8."""

    encoding = "utf-8"

    @classmethod
    def new(cls, *_label: object) -> TextEncoder:
        return cls()

    def encode(self, text: object = "") -> Uint8Array:
        """Half a surrogate pair becomes U+FFFD."""
        return Uint8Array(ArrayBuffer(_utf8("" if missing(text) else to_text(text))))

    def encodeInto(self, text: object, target: Uint8Array) -> JsObject:
        """As many whole characters as there is room for: `read` (UTF-16 units) and `written` (bytes)."""
        read = written = 0
        for character in to_text(text):
            data = _utf8(character)
            if written + len(data) > target.length:
                break
            target.set(data, written)
            written += len(data)
            read += 2 if ord(character) > 0xFFFF else 1
        return JsObject(read=read, written=written)


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


class TextDecoder(JsProxy):
    """Bytes as text: `TextDecoder.new(label, fatal=…, ignoreBOM=…)`. Raises OutOfRange (RangeError) for an unknown label."""

    def __init__(self, label: object = "utf-8", settings: object = None, /, **named: object) -> None:
        given = options(settings, named)
        name = "utf-8" if missing(label) else to_text(label).strip().lower()
        self.fatal, self.ignoreBOM = bool(given.get("fatal")), bool(given.get("ignoreBOM"))
        try:
            self.encoding = codecs.lookup(_LABELS.get(name, name)).name
        except LookupError:
            raise OutOfRange(f'"{name}" is not a valid encoding.') from None
        self.encoding = {"cp1252": "windows-1252"}.get(self.encoding, self.encoding)
        self._decoder: codecs.IncrementalDecoder | None = None

    @classmethod
    def new(cls, label: object = "utf-8", settings: object = None, /, **named: object) -> TextDecoder:
        return cls(label, settings, **named)

    def decode(self, data: object = None, settings: object = None, /, **named: object) -> str:
        """With `stream=True` a character may go on in the next piece. Raises PerdureError (TypeError) if `fatal`."""
        first = self._decoder is None
        if self._decoder is None:
            self._decoder = codecs.getincrementaldecoder(self.encoding)("strict" if self.fatal else "replace")
        final = not options(settings, named).get("stream")
        try:
            text = self._decoder.decode(b"" if missing(data) else as_bytes(data), final)
        except UnicodeDecodeError as error:
            self._decoder = None
            raise PerdureError(f"The encoded data was not valid: {error.reason}", name="TypeError") from None
        if final:
            self._decoder = None
        return text.removeprefix("\ufeff") if first and not self.ignoreBOM else text


def btoa(text: object) -> str:
    """Base64 of a text of which each character is a byte. Raises PerdureError (InvalidCharacterError)."""
    try:
        return base64.b64encode(to_text(text).encode("latin-1")).decode()
    except UnicodeEncodeError:
        raise PerdureError(
            "btoa() can only operate on characters in the Latin1 (ISO/IEC 8859-1) range.", name="InvalidCharacterError"
        ) from None


def atob(text: object) -> str:
    """The reverse. Raises PerdureError (InvalidCharacterError)."""
    given = "".join(to_text(text).split())
    if len(given) % 4 == 0:
        given = given.removesuffix("=").removesuffix("=")
    try:
        if len(given) % 4 == 1 or "=" in given:
            raise binascii.Error
        return base64.b64decode(given + "=" * (-len(given) % 4), validate=True).decode("latin-1")
    except (binascii.Error, ValueError):
        raise PerdureError("atob() called with invalid base64-encoded data.", name="InvalidCharacterError") from None


def structuredClone(value: object, *_options: object) -> object:
    """A copy that shares nothing. Raises DataCloneError, TypeError for what cannot be copied."""
    return _copy(value, {})


def _copy(value: object, known: dict[int, object]) -> object:
    found = known.get(id(value))
    if found is not None:
        return found
    if value is jsnull or isinstance(value, str | int | float | None):
        return value
    copied: object
    if isinstance(value, Map):
        copied = known[id(value)] = Map()
        copied.update({_copy(key, known): _copy(each, known) for key, each in value.items()})
        return copied
    if isinstance(value, dict):
        copied = known[id(value)] = JsObject()
        for key, each in cast("dict[object, object]", value).items():
            copied[to_text(key)] = _copy(each, known)
        return copied
    if isinstance(value, list):
        copied = known[id(value)] = Array()
        copied.extend(_copy(each, known) for each in cast("list[object]", value))
        return copied
    if isinstance(value, set):
        copied = known[id(value)] = Set(_copy(each, known) for each in cast("set[object]", value))
        return copied
    if isinstance(value, Date):
        return Date(value.ms)
    if isinstance(value, ArrayBuffer):
        copied = known[id(value)] = ArrayBuffer(value.to_bytes())
        return copied
    if isinstance(value, TypedArray):
        copied = known[id(value)] = type(value)(
            cast("ArrayBuffer", _copy(value.buffer, known)), value.byteOffset, len(value)
        )
        return copied
    if isinstance(value, DataView):
        return DataView(_copy(value.buffer, known), value.byteOffset, value.byteLength)
    return unpack(pack(value))


class Performance(JsProxy):
    """`performance.now()`: milliseconds since the process began."""

    timeOrigin = _STARTED_S * 1000

    def now(self) -> float:
        return (time.time() - _STARTED_S) * 1000

    def mark(self, *_: object) -> None:
        """Accepted; nothing is measured."""

    measure = clearMarks = clearMeasures = mark


performance = Performance()
