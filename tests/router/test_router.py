"""Slots and wire format: pure parts."""

from __future__ import annotations

import collections
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perdure.engine.errors import ProtocolError
from perdure.engine.http import HttpRequest, HttpResponse
from perdure.router.slots import GROUPS, ShardPlace, SlotMap, deal, group_of, slot_of
from perdure.router.wire import (
    decode,
    decode_request,
    decode_response,
    encode,
    encode_request,
    encode_response,
)


@given(st.binary(min_size=32, max_size=32))
def test_slots_are_the_first_12_bits_in_groups_of_64(object_id: bytes) -> None:
    slot = int.from_bytes(object_id[:2], "big") >> 4
    assert slot_of(object_id) == slot
    assert group_of(object_id) == slot // 64


@given(st.integers(1, 64))
def test_groups_are_dealt_evenly(shards: int) -> None:
    counts = collections.Counter(deal(shards))
    assert len(counts) == shards
    assert max(counts.values()) - min(counts.values()) <= 1


def test_maps_survive_the_wire_and_malformed_ones_do_not() -> None:
    found = SlotMap(3, tuple(deal(2)), {0: ShardPlace("s0", "ipc://a"), 1: ShardPlace("s1", None)})
    assert SlotMap.from_wire(found.to_wire()) == found
    assert found.shard_of(bytes(32)) == 0
    assert len(found.groups_of(1)) == GROUPS // 2
    for bad in (None, {}, {"epoch": 1, "groups": [0], "shards": {}}, {**found.to_wire(), "shards": {}}):
        with pytest.raises(ProtocolError):
            SlotMap.from_wire(bad)


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_raise_protocol_errors(data: bytes) -> None:
    for message in (data, b"\x01" + data):
        try:
            decode(message)
        except ProtocolError:
            continue
        assert message[:1] == b"\x01"


def test_frames_requests_and_responses_survive() -> None:
    frames = [[3, 1, b"x", None], [5, 2, b"", False]]
    assert decode(encode(frames)) == frames
    request = HttpRequest("POST", "http://x/y?z", [("a", "1"), ("a", "2")], os.urandom(10))
    assert decode_request(encode_request(request)) == request
    response = HttpResponse(404, [("x-y", "z")], None, "Nope")
    assert decode_response(encode_response(response)) == response
    for bad in (b"", b"\x90", b"\xc1", b"\x94\x01\x02\x03\x04"):
        with pytest.raises(ProtocolError):
            decode_request(bad)
