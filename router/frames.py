"""WebSocket frames (RFC 6455) as a server reads and writes them: bytes in, messages out; no socket, no clock.

What always holds: a message is handed out whole and checked (UTF-8, size, masks, reserved bits, order of fragments), and all that
came before a violation is handed out before it; what is unfinished can be taken out as plain values and put into another reader.
"""

from __future__ import annotations

import codecs
from functools import cache
from typing import cast

from .deflate import BombError, BrokenError, inflate

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
VIOLATION = 16
"""Not an opcode: the peer broke the protocol. Nothing is read after it."""
CONTROL_BYTES_MAX = 125
SMALL_BYTES_MAX = 4096
"""A frame that is not longer is waited for; of longer ones each piece is taken as it comes."""

PROTOCOL_ERROR, INVALID_TEXT, TOO_BIG = 1002, 1007, 1009
NO_CODE = 1005
"""A Close frame came without a code."""

Event = tuple[int, object]
"""(TEXT, str), (BINARY | PING | PONG, bytes), (CLOSE, (code, reason)), (VIOLATION, (code, text))."""
_Decoder = codecs.getincrementaldecoder("utf-8")


@cache
def _tables() -> list[bytes]:
    return [bytes(one ^ mask for one in range(256)) for mask in range(256)]


def unmasked(data: bytes, mask: bytes) -> bytes:
    """`data` xor the mask, repeated."""
    length = len(data)
    if length < 1024:
        key = (mask * ((length >> 2) + 1))[:length]
        return (int.from_bytes(data, "little") ^ int.from_bytes(key, "little")).to_bytes(length, "little")
    out, tables = bytearray(data), _tables()
    for index in range(4):
        out[index::4] = out[index::4].translate(tables[mask[index]])
    return bytes(out)


def is_close_code(code: int) -> bool:
    """Whether a Close frame may carry it (RFC 6455 §7.4, with the registered 1012 to 1014)."""
    return 3000 <= code < 5000 or (1000 <= code <= 1014 and code not in (1004, 1005, 1006))


class _Violated(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class FrameReader:
    """Reads what one client sends. `deflates`: permessage-deflate was agreed on, without context take-over by the client."""

    __slots__ = (
        "_begun",
        "_compressed",
        "_dead",
        "_decoder",
        "_final",
        "_left",
        "_mask",
        "_opcode",
        "_rest",
        "_size",
        "deflates",
        "message_bytes_max",
    )

    def __init__(self, message_bytes_max: int, *, deflates: bool = False) -> None:
        self.message_bytes_max = message_bytes_max
        self.deflates = deflates
        self._rest = b""
        """Of a frame that is not whole: its head, and all of it when it is small."""
        self._opcode = 0
        """TEXT or BINARY while a message has begun, else 0."""
        self._compressed = False
        self._final = False
        """The frame that is being read in pieces is its message's last."""
        self._left = 0
        """Bytes of that frame that are still to come."""
        self._mask = b""
        self._begun = bytearray()
        """The payload, as far as it is there: one buffer, so that a message of tiny fragments costs what it has."""
        self._size = 0
        """Payload bytes of the message that has begun, with those announced."""
        self._decoder: codecs.IncrementalDecoder | None = None
        self._dead = False

    def feed(self, data: bytes) -> list[Event]:
        """What is whole now, in order. Nothing after a violation or a Close frame."""
        events: list[Event] = []
        if self._dead:
            return events
        if self._rest:
            data = self._rest + data
            self._rest = b""
        position, end = 0, len(data)
        try:
            while position < end and not self._dead:
                if self._left:
                    piece = data[position : position + self._left]
                    position += len(piece)
                    self._take_piece(piece, events)
                    continue
                after = self._frame(data, position, end, events)
                if not after:
                    self._rest = data[position:] if position else data
                    break
                position = after
        except _Violated as violation:
            self._dead = True
            self._begun, self._rest = bytearray(), b""
            events.append((VIOLATION, (violation.code, violation.text)))
        return events

    def _frame(self, data: bytes, start: int, end: int, events: list[Event]) -> int:
        """Read a frame, or the head of a long one; where the next begins, 0: it is not there yet."""
        if end - start < 2:
            return 0
        first, second = data[start], data[start + 1]
        opcode, length = first & 15, second & 127
        self._check_head(first, second, opcode, length)
        position = start + 6
        if length >= 126:
            width = 2 if length == 126 else 8
            position += width
            if end < start + 2 + width:
                return 0
            length = int.from_bytes(data[start + 2 : start + 2 + width], "big")
            if length < 126 or (width == 8 and (length < 65536 or length >> 63)):
                raise _Violated(PROTOCOL_ERROR, "a frame's length is not in its shortest form")
        if opcode < 8 and self._size + length > self.message_bytes_max:
            raise _Violated(TOO_BIG, f"a message is longer than {self.message_bytes_max} bytes")
        if end < position:
            return 0
        after = position + length
        if after <= end:
            payload = data[position:after]
            if length:
                payload = unmasked(payload, data[position - 4 : position])
            if opcode >= 8:
                self._control(opcode, payload, events)
            elif first >= 128 and opcode and first < 192:  # the usual: one frame, not compressed
                events.append((opcode, _text(payload) if opcode == TEXT else payload))
            else:
                self._begin(opcode, first)
                self._size += length
                self._add(payload, events)
            return after
        if opcode >= 8 or length <= SMALL_BYTES_MAX:
            return 0
        self._begin(opcode, first)
        self._size += length
        self._left, self._mask = length, data[position - 4 : position]
        return position

    def _check_head(self, first: int, second: int, opcode: int, length: int) -> None:
        if second < 128:
            raise _Violated(PROTOCOL_ERROR, "a client's frame is not masked")
        if first & 0x30 or (first & 0x40 and not (self.deflates and opcode in (TEXT, BINARY))):
            raise _Violated(PROTOCOL_ERROR, "a reserved bit is set")
        if opcode >= 8:
            if opcode > PONG:
                raise _Violated(PROTOCOL_ERROR, f"opcode {opcode} is reserved")
            if first < 128 or length > CONTROL_BYTES_MAX:
                raise _Violated(PROTOCOL_ERROR, "a control frame is fragmented or too long")
        elif opcode > BINARY:
            raise _Violated(PROTOCOL_ERROR, f"opcode {opcode} is reserved")
        elif (opcode == CONTINUATION) != (self._opcode != 0):
            raise _Violated(PROTOCOL_ERROR, "a fragment without a beginning, or a message within another")

    # ------------------------------------------------------------------ messages of many pieces
    def _begin(self, opcode: int, first: int) -> None:
        self._final = first >= 128
        if opcode:
            self._opcode = opcode
            self._compressed = bool(first & 0x40)
            self._size = 0
            if opcode == TEXT and not self._compressed:
                self._decoder = _Decoder("strict")

    def _take_piece(self, piece: bytes, events: list[Event]) -> None:
        """A piece of a long frame."""
        length = len(piece)
        self._left -= length
        piece = unmasked(piece, self._mask)
        turn = length & 3
        self._mask = self._mask[turn:] + self._mask[:turn]
        self._add(piece, events, whole=not self._left)

    def _add(self, payload: bytes, events: list[Event], *, whole: bool = True) -> None:
        """`whole`: the frame ends with it."""
        final = self._final and whole
        if self._decoder is not None:  # what is no UTF-8 is refused when it comes, not when 32 MiB of it have
            try:
                self._decoder.decode(payload, final)
            except UnicodeDecodeError:
                raise _Violated(INVALID_TEXT, "a text message is not UTF-8") from None
        self._begun += payload
        if not final:
            return
        opcode, data = self._opcode, bytes(self._begun)
        self._opcode, self._size, self._begun, self._decoder = 0, 0, bytearray(), None
        if self._compressed:
            try:
                data = inflate(data, self.message_bytes_max)
            except BombError as error:
                raise _Violated(TOO_BIG, str(error)) from None
            except BrokenError as error:
                raise _Violated(INVALID_TEXT, str(error)) from None
        events.append((opcode, _text(data) if opcode == TEXT else data))

    def _control(self, opcode: int, payload: bytes, events: list[Event]) -> None:
        if opcode != CLOSE:
            events.append((opcode, payload))
            return
        if not payload:
            code, reason = NO_CODE, ""
        else:
            code = int.from_bytes(payload[:2], "big")
            if len(payload) == 1 or not is_close_code(code):
                raise _Violated(PROTOCOL_ERROR, "a Close frame carries a code that it must not")
            reason = _text(payload[2:])
        self._dead = True
        events.append((CLOSE, (code, reason)))

    # ------------------------------------------------------------------ from process to process
    def state(self) -> list[object]:
        """What is unfinished, in values that msgpack has."""
        decoder = self._decoder
        return [
            self._rest,
            self._opcode,
            self._compressed,
            self._final,
            self._left,
            self._mask,
            bytes(self._begun),
            self._size,
            decoder.getstate()[0] if decoder is not None else None,
            self._dead,
        ]

    def resume(self, state: list[object]) -> None:
        """Go on where another reader stopped."""
        rest, opcode, compressed, final, left, mask, begun, size, undecoded, dead = state
        self._rest = cast("bytes", rest)
        self._opcode, self._left, self._size = cast("int", opcode), cast("int", left), cast("int", size)
        self._compressed, self._final, self._dead = bool(compressed), bool(final), bool(dead)
        self._mask = cast("bytes", mask)
        self._begun = bytearray(cast("bytes", begun))
        if undecoded is not None:
            self._decoder = _Decoder("strict")
            self._decoder.setstate((cast("bytes", undecoded), 0))

    @property
    def between(self) -> bool:
        """Nothing is unfinished."""
        return not (self._rest or self._opcode or self._dead)


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise _Violated(INVALID_TEXT, "a text message is not UTF-8") from None


def frame(opcode: int, payload: bytes, *, compressed: bool = False) -> bytes:
    """A server's frame: whole and not masked."""
    first = 0xC0 | opcode if compressed else 0x80 | opcode
    length = len(payload)
    if length < 126:
        return bytes((first, length)) + payload
    if length < 65536:
        return bytes((first, 126)) + length.to_bytes(2, "big") + payload
    return bytes((first, 127)) + length.to_bytes(8, "big") + payload


def close_frame(code: int | None, reason: str) -> bytes:
    """`code` None: without one."""
    return frame(CLOSE, b"" if code is None or code == NO_CODE else code.to_bytes(2, "big") + reason.encode())
