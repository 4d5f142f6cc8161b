"""An object's side of resuming clients: what it answers, keeps and forgets."""

from __future__ import annotations

import json

import pytest
from perdure.engine.errors import InvalidArgument, ValueTooLarge
from perdure.sdk.resuming import stream as stream_module
from perdure.sdk.resuming.stream import Received, Stream

from .room import Context, Room, Wire


def hello(room: Room, log=None, cursor=None, client="ann", **more) -> dict:
    wire = room.open()
    text = json.dumps({"hello": 1, "client": client, "log": log, "cursor": cursor, **more})
    assert room.stream.receive(wire, text) is None
    (found,) = wire.heard()
    room.close(wire)
    return found


def test_a_new_client_gets_all_that_is_kept() -> None:
    room = Room()
    for number in range(3):
        room.publish(number)
    found = hello(room)
    log = found.pop("log")
    assert found == {"welcome": 1, "seen": 0, "reset": True, "cursor": 0, "last": 3, "entries": [0, 1, 2]}
    assert hello(room, log, 2) == {**found, "log": log, "reset": False, "cursor": 2, "entries": [2]}
    assert hello(room, log, 3)["entries"] == []
    assert hello(room, log, 4)["reset"]  # of a past that was undone
    assert hello(room, "another", 2)["reset"]


def test_a_snapshot_is_instead_of_the_past() -> None:
    room = Room(snapshot=lambda: {"all": room.published})
    room.publish("a")
    found = hello(room)
    assert (found["snapshot"], found["cursor"], found["entries"]) == ({"all": ["a"]}, 1, [])
    assert "snapshot" not in hello(room, found["log"], 0)


def test_what_is_long_past_is_not_kept() -> None:
    room = Room(keep=10)
    log = hello(room)["log"]
    for number in range(1, 129):
        room.publish(number)
    found = hello(room, log, 117)
    assert found["reset"]
    assert (found["cursor"], found["last"], found["entries"]) == (118, 128, list(range(119, 129)))
    assert hello(room, log, 118)["reset"] is False
    assert room.stream.last == 128


def test_what_is_kept_is_bounded_in_bytes_but_for_the_last() -> None:
    room = Room(keep_bytes=10)
    for number in range(64):
        room.publish("x" * 100 if number == 63 else number)
    assert hello(room)["entries"] == ["x" * 100]
    room.publish("after")
    assert hello(room)["last"] == 65


def test_a_welcome_has_a_page(monkeypatch) -> None:
    monkeypatch.setattr(stream_module, "PAGE_BYTES", 30)
    room = Room()
    for letter in "abc":
        room.publish(letter * 14)
    room.publish("d" * 50)
    found = hello(room)
    assert (found["entries"], found["last"]) == (["a" * 14], 4)
    assert hello(room, found["log"], 3)["entries"] == ["d" * 50]  # one at least


def test_a_message_counts_once() -> None:
    room = Room()
    wire = room.open()
    one = json.dumps({"from": "ann", "n": 1, "data": {"say": "hi"}})
    assert room.stream.receive(wire, one) == Received({"say": "hi"}, "ann", 1)
    assert room.stream.receive(wire, one) is None
    assert room.stream.receive(wire, one.replace("ann", "ben")) == Received({"say": "hi"}, "ben", 1)
    assert room.stream.receive(wire, json.dumps({"from": "ann", "n": 4, "data": 0})) == Received(0, "ann", 4)
    assert room.stream.receive(wire, json.dumps({"from": "ann", "n": 3, "data": 0})) is None
    assert wire.heard() == [{"ack": 1}, {"ack": 1}, {"ack": 1}, {"ack": 4}, {"ack": 4}]
    assert hello(room)["seen"] == 4


def test_clients_are_forgotten_after_a_month() -> None:
    now = [0]
    room = Room(now_ms=lambda: now[0])
    room.message(room.open(), json.dumps({"from": "ann", "n": 1, "data": 0}))
    now[0] = stream_module.FORGET_MS
    for _ in range(64):
        room.publish(0)
    assert hello(room)["seen"] == 1
    now[0] += 1
    for _ in range(64):
        room.publish(0)
    assert hello(room)["seen"] == 0


@pytest.mark.parametrize(
    ("message", "data"),
    [
        ('{"data": [1]}', [1]),
        ("hi", "hi"),
        ("[1]", "[1]"),
        (b"\0", b"\0"),
        ('{"data": 1, "x": 2}', '{"data": 1, "x": 2}'),
    ],
)
def test_what_plain_clients_send_is_for_the_program(message, data) -> None:
    room = Room()
    wire = room.open()
    assert room.stream.receive(wire, message) == Received(data)
    assert wire.heard() == []


def test_a_ping_is_answered() -> None:
    room, wire = Room(), Wire()
    assert room.stream.receive(wire, "ping") is None
    assert wire.heard() == ["pong"]
    assert (room.ctx.answer.request, room.ctx.answer.response) == ("ping", "pong")  # while the object sleeps
    room.ctx.answer = "mine"
    Stream(room.ctx)
    assert room.ctx.answer == "mine"


@pytest.mark.parametrize(
    "message",
    [
        {"hello": 2, "client": "ann", "log": None, "cursor": None},
        {"hello": 1, "log": None, "cursor": None},
        {"hello": 1, "client": "a" * 65, "log": None, "cursor": None},
        {"hello": 1, "client": "ann", "log": None, "cursor": "7"},
        {"hello": 1, "client": "ann", "log": None, "cursor": True},
        {"from": "ann", "n": "1", "data": 0},
        {"from": "ann", "n": 0, "data": 0},
        {"from": 7, "n": 1, "data": 0},
    ],
)
def test_who_does_not_speak_the_protocol_is_refused(message) -> None:
    room = Room()
    wire = room.open()
    assert room.stream.receive(wire, json.dumps(message)) is None
    assert list(wire.heard()[0]) == ["refused"]
    assert wire.code == 4400


def test_only_open_sockets_with_the_tag_hear() -> None:
    ctx = Context()
    ours, other, closing = Wire("room"), Wire("else"), Wire("room")
    ctx.sockets = [ours, other, closing]
    closing.readyState = 2
    stream = Stream(ctx, tag="room")
    stream.publish({"text": "é"})
    stream.tell("typing")
    assert ours.heard() == [{"c": 1, "data": {"text": "é"}}, {"data": "typing"}]
    assert other.heard() == closing.heard() == []
    stream.tell("you", to=[other])
    assert (other.heard(), ours.heard()) == ([{"data": "you"}], [])


def test_after_a_renewal_everybody_begins_again() -> None:
    room = Room()
    room.publish(1)
    log = hello(room)["log"]
    wire = room.open()
    room.stream.renew()
    assert wire.code == 1012
    assert hello(room, log, 1)["reset"]
    assert hello(room, log, 1)["log"] != log


def test_two_streams_of_an_object_and_one_that_was_erased() -> None:
    ctx = Context()
    one, two = Stream(ctx, "one"), Stream(ctx, "two")
    assert one.last == 0
    assert [one.publish(1), one.publish(2), two.publish(3)] == [1, 2, 1]
    for table in ("one_log", "one_clients", "one_about"):
        ctx.storage.sql.exec(f"DROP TABLE {table}")  # as deleteAll
    assert (one.last, one.publish(1)) == (0, 1)


def test_bounds() -> None:
    with pytest.raises(InvalidArgument):
        Stream(Context(), "no name")
    with pytest.raises(InvalidArgument):
        Stream(Context(), keep=0)
    with pytest.raises(ValueTooLarge):
        Stream(Context()).publish("x" * (1 << 20))
    with pytest.raises(ValueError, match="JSON"):
        Stream(Context()).publish(float("nan"))
