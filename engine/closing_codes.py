"""What may be said when a WebSocket is closed, and what may be sent over one (spec: websockets, failures)."""

from __future__ import annotations

from .errors import InvalidArgument, ValueTooLarge
from .limits import VALUE_BYTES_MAX
from .values import UNDEFINED, StandIn, key_text

GOING_AWAY, NO_CODE, ABNORMAL, TRY_AGAIN_LATER = 1001, 1005, 1006, 1013
REASON_BYTES_MAX = 123
"""What fits into a Close frame beside the code."""
NOT_CLEAN = "disconnected without sending Close frame"
"""The reason of a close that is a lost connection."""
_RESERVED = frozenset({1004, NO_CODE, ABNORMAL, 1015})


def closing(code: object, reason: object, *, bounded: bool) -> tuple[int | None, str]:
    """The checked code and reason. `bounded`: the reason must fit into its frame; else it is cut off.

    Raises InvalidArgument with the names InvalidAccessError (code), SyntaxError (reason).
    """
    code = None if code is UNDEFINED else code
    text = "" if reason is None or reason is UNDEFINED else str(reason)
    if code is None:
        if reason is not None and reason is not UNDEFINED:
            raise InvalidArgument(
                "If you specify a WebSocket close reason, you must also specify a code.", name="InvalidAccessError"
            )
        return None, ""
    number = _number(code)
    if number < 1000 or number >= 5000 or number in _RESERVED:
        raise InvalidArgument(f"Invalid WebSocket close code: {number}.", name="InvalidAccessError")
    encoded = text.encode("utf-8", "replace")
    if len(encoded) > REASON_BYTES_MAX:
        if bounded:
            raise InvalidArgument(
                f"WebSocket close reason must not be longer than {REASON_BYTES_MAX} bytes, it has {len(encoded)}.",
                name="SyntaxError",
            )
        text = encoded[:REASON_BYTES_MAX].decode("utf-8", "ignore")
    return number, text


def _number(code: object) -> int:
    if isinstance(code, int | float) and code == code:
        return int(code)
    raise InvalidArgument(f"Invalid WebSocket close code: {code!r}.", name="InvalidAccessError")


def sendable(data: object) -> str | bytes:
    """What is sent for what a program gives: a text, or bytes of anything bytes-like.

    Raises InvalidArgument (TypeError) for other values, ValueTooLarge above 32 MiB.
    """
    made: str | bytes
    if isinstance(data, str):
        made = str(data)
        if not made.isascii():
            made = made.encode("utf-8", "replace").decode()  # half a surrogate pair cannot travel
    elif isinstance(data, bytes | bytearray | memoryview):
        made = bytes(data)
    elif isinstance(data, StandIn):
        return sendable(data.plain())
    elif callable(convert := getattr(data, "to_bytes", None)) and not isinstance(data, int):
        return sendable(convert())
    elif data is None or isinstance(data, bool | int | float):
        made = key_text(data)
    else:
        raise InvalidArgument(
            f"WebSocket send() takes a text or something bytes-like, not {type(data).__name__}",
            hint="encode it first: json.dumps(value)",
        )
    if len(made) > VALUE_BYTES_MAX:
        raise ValueTooLarge(f"a WebSocket message has at most {VALUE_BYTES_MAX} bytes, this one {len(made)}")
    return made
