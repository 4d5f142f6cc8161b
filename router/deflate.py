"""permessage-deflate (RFC 7692) without context take-over: each message is compressed for itself, an idle socket keeps no window.

What always holds: what a message inflates to is bounded before it is held.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

COMPRESS_BYTES_MIN = 512
"""Shorter messages leave as they are."""
_LEVEL = 3
_TAIL = b"\x00\x00\xff\xff"
_NAME = "permessage-deflate"


class BombError(Exception):
    """A message inflates to more than the limit."""


class BrokenError(Exception):
    """A message is no deflate stream."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """What a client and we have agreed on."""

    window_bits: int
    """Of what we compress, 9 to 15."""
    extension: str
    """Of the response: Sec-WebSocket-Extensions."""


def agree(offers: str) -> Agreed | None:
    """The first offer of the client's Sec-WebSocket-Extensions that can be taken; None: no compression."""
    for offer in offers.split(","):
        name, *parameters = (part.strip() for part in offer.split(";"))
        if name.lower() != _NAME:
            continue
        window_bits = _acceptable(parameters)
        if window_bits is not None:
            given = f"; server_max_window_bits={window_bits}" if window_bits < 15 else ""
            return Agreed(window_bits, f"{_NAME}; server_no_context_takeover; client_no_context_takeover{given}")
    return None


def _acceptable(parameters: list[str]) -> int | None:
    """The window of what we compress; None: the offer has what we do not know, or not twice."""
    window_bits, seen = 15, set[str]()
    for parameter in parameters:
        key, equals, value = parameter.partition("=")
        key, value = key.strip().lower(), value.strip().strip('"')
        if key in seen:
            return None
        seen.add(key)
        if key in ("server_no_context_takeover", "client_no_context_takeover"):
            if equals:
                return None
        elif key == "client_max_window_bits":
            if equals and not _is_window(value):
                return None
        elif key == "server_max_window_bits":
            if not _is_window(value) or int(value) == 8:  # zlib writes no raw stream with a window of 8 bits
                return None
            window_bits = int(value)
        else:
            return None
    return window_bits


def _is_window(value: str) -> bool:
    return value.isascii() and value.isdigit() and not value.startswith("0") and 8 <= int(value) <= 15


def deflate(data: bytes, window_bits: int) -> bytes:
    """A message's payload."""
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -window_bits)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def inflate(data: bytes, bytes_max: int) -> bytes:
    """The message of a payload. Raises BombError, BrokenError."""
    reader = zlib.decompressobj(-15)
    try:
        out = reader.decompress(data + _TAIL, bytes_max + 1)
    except zlib.error as error:
        raise BrokenError(f"a compressed message cannot be read: {error}") from error
    if len(out) > bytes_max:
        raise BombError(f"a message inflates to more than {bytes_max} bytes")
    return out
