"""Frames as a server reads them: RFC 6455 and 7692, case by case, however the bytes are cut."""

from __future__ import annotations

import os
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perdure.router import deflate
from perdure.router.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    VIOLATION,
    Event,
    FrameReader,
    close_frame,
    frame,
    unmasked,
)

MIB = 1 << 20


def sent(opcode: int, payload: bytes, *, fin: bool = True, rsv: int = 0, mask: bytes = b"\x01\x80\xfe\x37") -> bytes:
    """A client's frame."""
    head = bytes(((0x80 if fin else 0) | rsv << 4 | opcode,))
    length = len(payload)
    if length < 126:
        head += bytes((0x80 | length,))
    elif length < 65536:
        head += bytes((0x80 | 126,)) + length.to_bytes(2, "big")
    else:
        head += bytes((0x80 | 127,)) + length.to_bytes(8, "big")
    return head + mask + unmasked(payload, mask)


def read(data: bytes, *, deflates: bool = False, limit: int = 32 * MIB, cut: int = 0) -> list[Event]:
    reader = FrameReader(limit, deflates=deflates)
    if not cut:
        return reader.feed(data)
    return [event for start in range(0, len(data), cut) for event in reader.feed(data[start : start + cut])]


def violation(events: list[Event]) -> int:
    assert events[-1][0] == VIOLATION
    return events[-1][1][0]  # pyright: ignore


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 128, 1023, 1024, 4096, 4097, 65535, 65536, 200_000])
@pytest.mark.parametrize("cut", [0, 997])
def test_a_message_of_each_length_in_text_and_binary(length: int, cut: int) -> None:
    data = os.urandom(length)
    text = ("ä€😀x" * length)[:length]
    stream = sent(BINARY, data) + sent(TEXT, text.encode()) + sent(PING, b"p")
    assert read(stream, cut=cut) == [(BINARY, data), (TEXT, text), (PING, b"p")]


def test_byte_by_byte_it_is_the_same() -> None:
    stream = sent(TEXT, "Hellö".encode()) + sent(BINARY, b"") + sent(BINARY, bytes(300)) + sent(CLOSE, b"\x03\xe8bye")
    assert read(stream, cut=1) == [(TEXT, "Hellö"), (BINARY, b""), (BINARY, bytes(300)), (CLOSE, (1000, "bye"))]


def test_fragments_with_control_frames_between() -> None:
    parts = [
        sent(TEXT, "ä".encode()[:1], fin=False),
        sent(PING, b"1"),
        sent(CONTINUATION, "ä".encode()[1:], fin=False),
        sent(CONTINUATION, b"", fin=False),
        sent(PONG, b""),
        sent(CONTINUATION, b"z"),
    ]
    assert read(b"".join(parts)) == [(PING, b"1"), (PONG, b""), (TEXT, "äz")]
    assert read(b"".join(parts), cut=1) == [(PING, b"1"), (PONG, b""), (TEXT, "äz")]


BROKEN = {
    "continuation without a beginning": (sent(CONTINUATION, b"x"), 1002),
    "a message within another": (sent(TEXT, b"x", fin=False) + sent(TEXT, b"y"), 1002),
    "not masked": (b"\x81\x01x", 1002),
    "rsv1 without compression": (sent(TEXT, b"x", rsv=4), 1002),
    "rsv2": (sent(TEXT, b"x", rsv=2), 1002),
    "rsv3": (sent(PING, b"x", rsv=1), 1002),
    "reserved opcode": (sent(3, b"x"), 1002),
    "reserved control opcode": (sent(11, b"x"), 1002),
    "long ping": (sent(PING, bytes(126)), 1002),
    "fragmented ping": (sent(PING, b"x", fin=False), 1002),
    "length not in its shortest form": (b"\x82\xfe\x00\x05" + b"mask" + bytes(5), 1002),
    "long length not in its shortest form": (b"\x82\xff" + (70).to_bytes(8, "big") + b"mask", 1002),
    "length with its highest bit": (b"\x82\xff" + (1 << 63).to_bytes(8, "big") + b"mask", 1002),
    "a gigabyte announced": (b"\x82\xff" + (1 << 30).to_bytes(8, "big"), 1009),
    "text is not UTF-8": (sent(TEXT, b"\xff"), 1007),
    "text ends within a character": (sent(TEXT, b"\xc3"), 1007),
    "a surrogate in text": (sent(TEXT, b"\xed\xa0\x80"), 1007),
    "close with one byte": (sent(CLOSE, b"\x03"), 1002),
    "close with a reason that is not UTF-8": (sent(CLOSE, b"\x03\xe8\xff"), 1007),
    **{
        f"close with {code}": (sent(CLOSE, code.to_bytes(2, "big")), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("cut", [0, 1])
def test_what_a_peer_must_not_send(case: str, cut: int) -> None:
    stream, code = BROKEN[case]
    events = read(sent(TEXT, b"before") + stream + sent(TEXT, b"after"), cut=cut)
    assert events[0] == (TEXT, "before"), "what came before a violation is delivered"
    assert violation(events) == code
    assert len(events) == 2, "nothing after it"


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999])
def test_close_codes_that_a_peer_may_send(code: int) -> None:
    assert read(sent(CLOSE, code.to_bytes(2, "big") + "ö".encode())) == [(CLOSE, (code, "ö"))]


def test_a_close_without_a_code() -> None:
    assert read(sent(CLOSE, b"") + sent(TEXT, b"after")) == [(CLOSE, (1005, ""))]


def test_text_is_refused_as_soon_as_it_is_not_utf8() -> None:
    reader = FrameReader(32 * MIB)
    whole = sent(TEXT, b"x" * 5000 + b"\xff" + b"x" * 20_000_000)
    assert reader.feed(whole[:4000]) == []
    assert violation(reader.feed(whole[4000:8000])) == 1007
    fragments = FrameReader(32 * MIB)
    assert violation(fragments.feed(sent(TEXT, b"\xce\xba\xff", fin=False))) == 1007


def test_the_bound_counts_all_fragments() -> None:
    stream = sent(BINARY, bytes(600), fin=False) + sent(CONTINUATION, bytes(424), fin=False)
    assert read(stream + sent(CONTINUATION, b""), limit=1024) == [(BINARY, bytes(1024))]
    assert violation(read(stream + sent(CONTINUATION, b"x"), limit=1024)) == 1009


@given(st.binary(max_size=300), st.integers(1, 50), st.integers(0, 600))
def test_another_reader_goes_on_where_one_stopped(data: bytes, cut: int, at: int) -> None:
    text = data.hex() + "ä€"
    half = len(text.encode()) // 2 + 1
    stream = (
        sent(TEXT, text.encode()[:half], fin=False)
        + sent(PING, data[:20])
        + sent(CONTINUATION, text.encode()[half:])
        + sent(BINARY, data * 40)
        + sent(CLOSE, b"")
    )
    first, second = FrameReader(MIB), FrameReader(MIB)
    at = min(at, len(stream))
    events = first.feed(stream[:at])
    second.resume(first.state())
    events += [event for start in range(at, len(stream), cut) for event in second.feed(stream[start : start + cut])]
    assert events == [(PING, data[:20]), (TEXT, text), (BINARY, data * 40), (CLOSE, (1005, ""))]


@given(st.binary(max_size=200), st.integers(1, 7))
def test_no_bytes_at_all_make_the_reader_fail(data: bytes, cut: int) -> None:
    read(data, deflates=True, cut=cut)


def test_what_we_send() -> None:
    assert frame(TEXT, b"Hello") == b"\x81\x05Hello"
    assert frame(BINARY, bytes(256))[:4] == b"\x82\x7e\x01\x00"
    assert frame(BINARY, bytes(65536))[:10] == b"\x82\x7f" + (65536).to_bytes(8, "big")
    assert frame(TEXT, b"x", compressed=True)[0] == 0xC1
    assert close_frame(1000, "bye") == b"\x88\x05\x03\xe8bye"
    assert close_frame(None, "") == close_frame(1005, "") == b"\x88\x00"


# ---------------------------------------------------------------------- compression
def test_compressed_messages_in_one_frame_and_in_fragments() -> None:
    text = "hello world " * 1000
    packed = deflate.deflate(text.encode(), 15)
    assert len(packed) < 200
    assert read(sent(TEXT, packed, rsv=4), deflates=True, cut=3) == [(TEXT, text)]
    stream = sent(TEXT, packed[:7], fin=False, rsv=4) + sent(PING, b"") + sent(CONTINUATION, packed[7:])
    assert read(stream, deflates=True) == [(PING, b""), (TEXT, text)]
    assert read(sent(BINARY, deflate.deflate(b"", 9), rsv=4), deflates=True) == [(BINARY, b"")]
    assert read(sent(TEXT, b"plain"), deflates=True) == [(TEXT, "plain")]


def test_a_compressed_continuation_is_refused() -> None:
    stream = sent(TEXT, b"x", fin=False) + sent(CONTINUATION, b"x", rsv=4)
    assert violation(read(stream, deflates=True)) == 1002


def test_a_bomb_is_refused_and_never_held() -> None:
    bomb = deflate.deflate(bytes(64 * MIB), 15)
    assert len(bomb) < 300_000
    assert violation(read(sent(BINARY, bomb, rsv=4), deflates=True, limit=MIB)) == 1009


def test_what_is_no_stream_or_no_text() -> None:
    assert violation(read(sent(BINARY, b"\xff\xff\xff", rsv=4), deflates=True)) == 1007
    assert violation(read(sent(TEXT, deflate.deflate(b"\xff" * 9, 15), rsv=4), deflates=True)) == 1007


def test_a_stream_with_a_final_block_is_read() -> None:
    """RFC 7692 §7.2.3.4."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(b"Hello") + packer.flush(zlib.Z_FINISH) + b"\x00"
    assert read(sent(TEXT, packed, rsv=4), deflates=True) == [(TEXT, "Hello")]


@pytest.mark.parametrize(
    ("offer", "window"),
    [
        ("permessage-deflate", 15),
        ("permessage-deflate; client_max_window_bits", 15),
        ("permessage-deflate; server_max_window_bits=10", 10),
        ("permessage-deflate; server_max_window_bits=8, permessage-deflate", 15),
        ('x-webkit-deflate-frame, permessage-deflate; client_max_window_bits="15"', 15),
        ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", 15),
        ("permessage-deflate; server_max_window_bits=8", None),
        ("permessage-deflate; server_max_window_bits", None),
        ("permessage-deflate; client_max_window_bits=16", None),
        ("permessage-deflate; server_no_context_takeover=1", None),
        ("permessage-deflate; unknown", None),
        ("permessage-deflate; client_max_window_bits; client_max_window_bits", None),
        ("", None),
        ("permessage-bzip2", None),
    ],
)
def test_which_offers_are_taken(offer: str, window: int | None) -> None:
    agreed = deflate.agree(offer)
    assert (agreed.window_bits if agreed else None) == window
    if agreed is not None:
        assert "server_no_context_takeover; client_no_context_takeover" in agreed.extension
        assert ("server_max_window_bits=10" in agreed.extension) == (window == 10)
        data = os.urandom(100) * 1000
        assert deflate.inflate(deflate.deflate(data, agreed.window_bits), MIB) == data


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("payload", [b"", b"x"])
def test_every_opcode_without_a_meaning_is_refused(opcode: int, payload: bytes) -> None:
    assert violation(read(sent(TEXT, b"before") + sent(opcode, payload))) == 1002


@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
@pytest.mark.parametrize("rsv", range(1, 8))
def test_every_reserved_bit_is_refused(opcode: int, rsv: int) -> None:
    assert violation(read(sent(opcode, b"", rsv=rsv))) == 1002


@pytest.mark.parametrize("length", [0, 1, 124, 125])
def test_pings_of_any_content(length: int) -> None:
    content = bytes(range(130, 130 + length)) if length < 126 else b""
    assert read(sent(PING, content) * 10, cut=1) == [(PING, content)] * 10


EDGES = "\x00 \x7f \x80 \u07ff \u0800 \ud7ff \ue000 \ufffd \ufffe \uffff \U00010000 \U0010ffff κόσμε"
NOT_UTF8 = [
    *(
        b"\x80",
        b"\xbf",
        b"\xc0",
        b"\xc0\xaf",
        b"\xc1\xbf",
        b"\xe0\x80\xaf",
        b"\xe0\x9f\xbf",
        b"\xf0\x80\x80\xaf",
        b"\xf0\x8f\xbf\xbf",
    ),
    *(
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xfc\x84\x80\x80\x80\x80",
    ),
    *(b"\xfe", b"\xff", b"\xe2\x82", b"\xf0\x9f\x98", b"\xc3("),
]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_text_at_the_edges_of_utf8_in_fragments_of_any_size(size: int) -> None:
    data = EDGES.encode()
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    last = len(parts) - 1
    frames = [sent(CONTINUATION if at else TEXT, part, fin=at == last) for at, part in enumerate(parts)]
    assert read(b"".join(frames)) == [(TEXT, EDGES)]
    assert read(b"".join(frames), cut=1) == [(TEXT, EDGES)]


@pytest.mark.parametrize("wrong", NOT_UTF8)
@pytest.mark.parametrize("cut", [0, 1])
def test_no_malformed_utf8_is_text(wrong: bytes, cut: int) -> None:
    data = "κόσμε".encode() + wrong + (b"" if wrong[-1] == 0x98 or wrong == b"\xe2\x82" else b"edited")
    assert violation(read(sent(TEXT, data), cut=cut)) == 1007
    assert violation(read(sent(TEXT, data[:3], fin=False) + sent(CONTINUATION, data[3:]), cut=cut)) == 1007
