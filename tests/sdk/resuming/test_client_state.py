"""What a resuming client decides: scenes, a property over all that wires can do, and the same of the one in JavaScript."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from perdure.engine.errors import Overloaded
from perdure.sdk.resuming.backoff import LONGEST_MS, is_final, wait_ms
from perdure.sdk.resuming.client_state import ClientState, Patience

from .room import Person, Room

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def test_it_carries_on_where_it_was() -> None:
    room = Room()
    ann = Person(room, "ann")
    ann.start()
    ann.settle()
    ann.send("one")
    ann.settle()
    ann.send("two")
    ann.up()  # the room has it, the acknowledgement is lost
    ann.cut()
    room.publish("meanwhile")
    ann.send("three")
    assert ann.state.state == "connecting"
    ann.settle()
    assert room.handled == ["one", "two", "three"]
    assert ann.heard == [("one", 1), ("two", 2), ("meanwhile", 3), ("three", 4)]
    assert (ann.states, list(ann.state.unsent)) == (["live", "connecting", "live"], [])


def test_it_begins_at_a_position() -> None:
    room = Room()
    before = Person(room, "before")
    before.start()
    room.publish("a")
    before.settle()
    room.publish("b")
    after = Person(room, "after", log=before.state.log, cursor=before.state.cursor)
    after.start()
    after.settle()
    assert (after.heard, after.resets) == ([("b", 2)], [])


def test_a_dead_network_is_noticed() -> None:
    ann = Person(Room(), "ann")
    ann.start()
    ann.settle()
    ann.wait(15_000)
    assert list(ann.wire.up) == ["ping"]
    ann.up()
    ann.down()
    ann.wait(14_999)
    assert not ann.wire.up
    ann.wait(10_001)  # another ping, and no answer
    assert ann.wire is None
    ann.wait(125)
    assert (ann.wire, ann.dialling) == (None, True)
    assert ann.states == ["live", "connecting"]


def test_nobody_answers_nobody_welcomes() -> None:
    ann = Person(Room(), "ann")
    ann.start()
    ann.wait(10_000)
    assert (ann.dialling, ann.state.state) == (False, "offline")
    ann.wait(125)
    ann.connect()
    ann.wait(10_000)
    assert ann.wire is None


def test_a_hint_shortens_a_wait_and_tries_a_connection() -> None:
    ann = Person(Room(), "ann")
    ann.do(ann.state.hint(0))
    assert not ann.dialling  # it was not started
    ann.start()
    ann.settle()
    ann.do(ann.state.hint(0))
    ann.do(ann.state.hint(0))
    assert list(ann.wire.up) == ["ping"]
    ann.cut(1012)
    assert not ann.dialling
    ann.do(ann.state.hint(0))
    assert ann.dialling


def test_waits_grow_and_are_forgotten_when_it_was_live() -> None:
    ann = Person(Room(), "ann", chance=lambda: 0.999)
    ann.start()
    waits = []
    for _ in range(9):
        ann.cut()
        waits.append(ann.state.due_ms - ann.now)
        ann.wait(waits[-1])
    assert waits == [249, 499, 999, 1998, 3996, 7992, 15984, 29970, 29970]
    ann.settle()
    ann.cut()
    assert ann.state.due_ms - ann.now == 29970  # it was live for too short a time
    ann.settle()
    ann.now += 10_000
    ann.cut()
    assert ann.state.due_ms - ann.now == 249


@given(st.integers(0, 100), st.integers(1000, 4999), st.floats(0, 1, exclude_max=True))
def test_waits_are_spread_and_bounded(attempt, code, chance) -> None:
    assert 0 <= wait_ms(attempt, code, chance) <= LONGEST_MS
    assert wait_ms(attempt, 1012, chance) >= wait_ms(attempt, 1006, chance)


def test_when_it_stays_away() -> None:
    assert [code for code in range(1000, 1016) if is_final(code, 0)] == [1000, 1002, 1003, 1007, 1008, 1009, 1010]
    assert is_final(4400, 0)
    ann = Person(Room(), "ann")
    ann.start()
    ann.settle()
    ann.cut(4001)
    assert (ann.state.state, ann.why, ann.state.due_ms) == ("ended", "closed with 4001", None)
    ann.cut()
    assert ann.states == ["live", "ended"]


def test_a_message_that_breaks_the_object_is_not_sent_for_ever() -> None:
    ann = Person(Room(), "ann")
    ann.start()
    ann.settle()
    ann.send("poison")
    for _ in range(2):
        ann.cut(1011)
        assert ann.state.state != "ended"
        ann.wait(500)
        ann.connect()
        ann.up()
        ann.down()
        assert len(ann.wire.up) == 1  # sent again
    ann.cut(1011)
    assert ann.state.state == "ended"


def test_a_room_that_speaks_otherwise() -> None:
    ann = Person(Room(), "ann")
    ann.start()
    ann.connect()
    ann.do(ann.state.text(0, '{"refused": "version 2 of the protocol is spoken here"}'))
    assert (ann.state.state, ann.why) == ("ended", "version 2 of the protocol is spoken here")


def test_what_it_does_not_know_it_passes_over() -> None:
    ann = Person(Room(), "ann")
    ann.start()
    ann.settle()
    for text in ("", "[1]", "null", '{"later": 1}', "pong"):
        assert ann.state.text(0, text) == []


def test_unsent_messages_are_bounded() -> None:
    ann = Person(Room(), "ann", patience=Patience(unsent_max=2))
    ann.start()
    ann.send(1)
    ann.send(2)
    with pytest.raises(Overloaded):
        ann.send(3)
    ann.settle()
    ann.send(3)
    with pytest.raises(TypeError):
        ann.send(object())
    assert ann.state.number == 3


def test_what_may_be_lost_is_not_kept() -> None:
    room = Room()
    ann = Person(room, "ann")
    ann.start()
    ann.do(ann.state.tell("early"))
    ann.settle()
    ann.do(ann.state.tell("now"))
    ann.settle()
    assert room.handled == ["now"]


def test_a_gap_is_asked_for() -> None:
    room = Room()
    ann = Person(room, "ann")
    ann.start()
    ann.settle()
    room.publish("lost")
    ann.wire.down.clear()
    room.publish("heard")
    ann.settle()
    assert ann.heard == [("lost", 1), ("heard", 2)]


STEPS = st.sampled_from(["send", "publish", "connect", "up", "down", "cut", "cut late", "wait", "stall", "go"])


LATE = [(0, "go"), (0, "send"), (0, "cut late"), (0, "go"), (0, "stall")]


@example(LATE, 100, False)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 1), STEPS), max_size=80), st.integers(1, 100), st.booleans())
def test_nothing_is_lost_or_doubled(steps, keep, pages) -> None:
    """Two people, any order of what can happen to them, then a network that works: all was had once and in order."""
    room = Room(keep=1_000 if keep > 50 else keep)
    people = [Person(room, name) for name in ("ann", "ben")]
    sent: list[list[str]] = [[], []]
    late: list[tuple[Room, object]] = []
    for person in people:
        person.start()
    for who, step in steps:
        person, wire = people[who], people[who].wire
        match step:
            case "send":
                sent[who].append(f"{who}: {len(sent[who])}")
                person.send(sent[who][-1])
            case "publish":
                for number in range(70 if pages else 1):
                    room.publish(f"room {number}")
            case "connect" if person.dialling:
                person.connect()
            case "up" if wire is not None and wire.up:
                person.up()
            case "down" if wire is not None and wire.down:
                person.down()
            case "cut" if wire is not None:
                person.cut()
            case "cut late" if wire is not None:
                late.append((wire, list(wire.up)))  # the client is gone; what it sent arrives yet
                person.cut()
            case "stall" if late:
                wire, texts = late.pop(0)
                wire.readyState = 1
                for text in texts:
                    room.message(wire, text)
            case "wait":
                person.wait(3_000)
            case "go":
                person.settle()
    for person in people:
        person.settle()
    for wire, texts in late:
        wire.readyState = 1
        for text in texts:
            room.message(wire, text)
    for person in people:
        person.settle()
    for who, person in enumerate(people):
        mine = [data for data in room.handled if data.startswith(f"{who}:")]
        assert mine == sent[who]
        assert person.state.state == "live"
        assert not person.state.unsent
        cursors = [cursor for _, cursor in person.heard]
        assert cursors == list(range(len(room.published) - len(cursors) + 1, len(room.published) + 1))
        assert [data for data, _ in person.heard] == room.published[len(room.published) - len(cursors) :]
        if keep > 50:
            assert len(cursors) == len(room.published)


# ------------------------------------------------------------------ the one in JavaScript
HARNESS = """
import {State} from './resume.mjs';
import readline from 'node:readline';
let state;
for await (const line of readline.createInterface({input: process.stdin})) {
  const [method, ...rest] = JSON.parse(line);
  let found;
  if (method === 'new') { state = new State(rest[0], () => rest[1], {patience: rest[2]}); found = []; }
  else try { found = state[method](...rest); } catch (error) { found = [['raised']]; }
  console.log(JSON.stringify([found, state.state, state.dueMs, state.cursor, state.unsent.length]));
}
"""


class Node:
    """`clients/resume.js` in Node, a line an event."""

    def __init__(self, folder) -> None:
        shutil.copy(f"{ROOT}/clients/resume.js", folder / "resume.mjs")
        (folder / "harness.mjs").write_text(HARNESS)
        self.process = subprocess.Popen(
            ["node", str(folder / "harness.mjs")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, method: str, *rest: object):
        self.process.stdin.write(json.dumps([method, *rest]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    if shutil.which("node") is None:
        pytest.skip("no Node: apt-get install nodejs")
    found = Node(tmp_path_factory.mktemp("node"))
    yield found
    found.process.stdin.close()
    found.process.wait(10)
    found.process.stdout.close()


def a_text(chance: random.Random, last: int) -> str:
    """Something that a room might say, or not."""
    cursor = chance.randint(0, last)
    welcome = {"welcome": 1, "log": "L", "seen": chance.randint(0, 4), "reset": chance.random() < 0.5}
    entries = [f"e{number}" for number in range(chance.randint(0, 3))]
    return chance.choice(
        [
            json.dumps({**welcome, "cursor": cursor, "last": cursor + len(entries), "entries": entries}),
            json.dumps({**welcome, "cursor": cursor, "last": cursor + 5, "entries": ["é"], "snapshot": {"a": [1]}}),
            json.dumps({"c": chance.randint(1, last + 2), "data": {"text": "ü"}}),
            json.dumps({"ack": chance.randint(0, 4)}),
            json.dumps({"data": None}),
            "pong",
            "[]",
        ]
        + (['{"refused": "no"}'] if chance.random() < 0.05 else [])
    )


@pytest.mark.parametrize("seed", range(60))
def test_the_one_in_javascript_decides_the_same(node, seed) -> None:
    chance = random.Random(seed)
    spread, patience = round(chance.random(), 3), {"unsent_max": 3}
    ours = ClientState("ann", lambda: spread, patience=Patience(**patience))
    node.ask("new", "ann", spread, patience)
    now = 0
    for _ in range(100):
        method = chance.choice(["start", "send", "tell", "hint", "opened", "opened", "closed", "tick", *["text"] * 6])
        now += chance.choice([0, 1, 200, 6_000])
        arguments: dict[str, list[object]] = {
            "send": [{"é": [1, None, True, "x"]}],
            "tell": [[now]],
            "closed": [now, chance.choice([1006, 1006, 1006, 1011, 1012, 1001] + [4000, 1000] * (seed % 3 == 0))],
            "text": [now, a_text(chance, ours.cursor or 3)],
        }
        given = arguments.get(method, [now])
        try:
            effects = [list(effect) for effect in getattr(ours, method)(*given)]
        except Overloaded:
            effects = [["raised"]]
        theirs = node.ask(method, *given)
        assert theirs == [effects, ours.state, ours.due_ms, ours.cursor, len(ours.unsent)], (method, given)
