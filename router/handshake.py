"""The opening handshake of a WebSocket, as a server answers it (RFC 6455 §4.2). Pure.

What always holds: what is no proper request for one is refused before any code of the program runs.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from ..engine.http import Headers
from .deflate import Agreed, agree

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_FORBIDDEN = re.compile("[\x00-\x08\x0a-\x1f\x7f]")
_OURS = frozenset(
    (
        "connection",
        "upgrade",
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "content-length",
        "transfer-encoding",
    )
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not taken: its status, and headers beside."""

    status: int
    text: str
    headers: Headers


@dataclass(frozen=True, slots=True)
class Offer:
    """What a client has asked for."""

    key: str
    agreed: Agreed | None
    """Compression."""

    def accept(self, headers: Headers) -> bytes:
        """The head of the 101, with what the program's response has in its headers. Raises ValueError for what is no header."""
        digest = hashlib.sha1(self.key.encode() + _GUID, usedforsecurity=False).digest()
        lines = [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}",
        ]
        if self.agreed is not None:
            lines.append(f"Sec-WebSocket-Extensions: {self.agreed.extension}")
        for name, value in headers:
            if name.lower() in _OURS:
                continue
            if not _TOKEN.match(name) or _FORBIDDEN.search(value):
                raise ValueError(f"{name!r} is no header, or its value has control characters")
            lines.append(f"{name}: {value}")
        return "\r\n".join(lines).encode("utf-8" if not "".join(lines).isascii() else "latin-1") + b"\r\n\r\n"


def offer(method: str, headers: Headers) -> Offer | Refusal:
    """What the request asks for. It has `Upgrade: websocket` and `Connection: Upgrade`."""
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name.lower(), []).append(value.strip())
    if method != "GET":
        return Refusal(405, "a WebSocket is asked for with GET\n", [("allow", "GET")])
    versions = found.get("sec-websocket-version", [])
    if versions != ["13"]:
        return Refusal(426, "the version of the protocol is 13\n", [("sec-websocket-version", "13")])
    keys = found.get("sec-websocket-key", [])
    if len(keys) != 1 or not _is_key(keys[0]):
        return Refusal(400, "Sec-WebSocket-Key is missing or malformed\n", [])
    if len(found.get("host", [])) != 1:
        return Refusal(400, "a request has one Host\n", [])
    return Offer(keys[0], agree(", ".join(found.get("sec-websocket-extensions", []))))


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False
