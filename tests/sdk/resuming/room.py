"""A room and its clients without a network: a stream on a SQLite database in memory, clients that only decide, wires that lose.

What always holds: a turn of the room is whole; what is on a wire arrives in order, and of a wire that is cut only the beginning.
"""

from __future__ import annotations

import json
import sqlite3
from collections import deque

from perdure.sdk.resuming.client_state import ClientState
from perdure.sdk.resuming.stream import Stream


class Sql:
    def __init__(self) -> None:
        self.database = sqlite3.connect(":memory:", isolation_level=None)

    def exec(self, statement, *values):
        self.rows = self.database.execute(statement, values).fetchall()
        return self

    def raw(self):
        return self.rows


class Storage:
    def __init__(self) -> None:
        self.sql = Sql()


class Context:
    """As much of `ctx` as a stream uses."""

    def __init__(self) -> None:
        self.storage = Storage()
        self.sockets: list[Wire] = []
        self.answer = None

    def getWebSocketAutoResponse(self):
        return self.answer

    def setWebSocketAutoResponse(self, pair):
        self.answer = pair

    def getWebSockets(self, tag=None):
        return [socket for socket in self.sockets if tag is None or tag == socket.tag]


class Wire:
    """A connection: the object's end is a socket, the client's two queues."""

    def __init__(self, tag: str | None = None) -> None:
        self.readyState = 1
        self.tag = tag
        self.up: deque[str] = deque()
        self.down: deque[str] = deque()
        self.code: int | None = None

    def send(self, message):
        assert self.readyState == 1
        self.down.append(message)

    def close(self, code, reason):
        self.readyState, self.code = 2, code

    def heard(self) -> list[object]:
        """What came down, and nothing is left."""
        found = [json.loads(text) if text != "pong" else text for text in self.down]
        self.down.clear()
        return found


class Room:
    """Publishes what it is sent, and writes down what it has handled."""

    def __init__(self, **options) -> None:
        self.ctx = Context()
        self.stream = Stream(self.ctx, **options)
        self.handled: list[object] = []
        self.published: list[object] = []

    def message(self, wire: Wire, text: str) -> None:
        received = self.stream.receive(wire, text)
        if received is not None:
            self.handled.append(received.data)
            self.publish(received.data)

    def publish(self, data: object) -> None:
        self.published.append(data)
        assert self.stream.publish(data) == len(self.published)

    def open(self) -> Wire:
        wire = Wire()
        self.ctx.sockets.append(wire)
        return wire

    def close(self, wire: Wire) -> None:
        wire.readyState = 3
        self.ctx.sockets.remove(wire)


class Person:
    """A client on wires to one room."""

    def __init__(self, room: Room, name: str, chance=lambda: 0.5, **options) -> None:
        self.room, self.now = room, 0
        self.state = ClientState(name, chance, **options)
        self.wire: Wire | None = None
        self.dialling = False
        self.heard: list[tuple[object, int | None]] = []
        self.resets: list[object] = []
        self.states: list[str] = []
        self.why = ""

    def do(self, effects) -> None:
        for what, *rest in effects:
            match what:
                case "dial":
                    self.dialling = True
                case "send":
                    assert self.wire is not None
                    self.wire.up.append(rest[0])
                case "drop":
                    self.hang_up()
                case "message":
                    self.heard.append((rest[0], rest[1]))
                case "reset":
                    self.resets.append(rest[0])
                    self.heard.clear()
                case "state":
                    self.states.append(rest[0])
                case "ended":
                    self.why = rest[0]

    def start(self) -> None:
        self.do(self.state.start(self.now))

    def send(self, data: object) -> None:
        self.do(self.state.send(data))

    def connect(self) -> None:
        """What it dials is there."""
        assert self.dialling
        self.dialling = False
        self.wire = self.room.open()
        self.do(self.state.opened(self.now))

    def up(self) -> None:
        """The room gets one message."""
        self.room.message(self.wire, self.wire.up.popleft())

    def down(self) -> None:
        self.do(self.state.text(self.now, self.wire.down.popleft()))

    def hang_up(self) -> None:
        self.dialling = False
        if self.wire is not None:
            self.room.close(self.wire)
            self.wire = None

    def cut(self, code: int = 1006) -> None:
        """The connection dies with all that is on it."""
        self.hang_up()
        self.do(self.state.closed(self.now, code))

    def wait(self, ms: int) -> None:
        """Time passes; what is due happens."""
        end = self.now + ms
        while self.state.due_ms is not None and self.state.due_ms <= end:
            self.now = max(self.now, self.state.due_ms)
            self.do(self.state.tick(self.now))
        self.now = end

    def settle(self) -> None:
        """Until nothing is on the wires of a network that works."""
        for _ in range(10_000):
            if self.dialling:
                self.connect()
            elif self.wire is not None and self.wire.up:
                self.up()
            elif self.wire is not None and self.wire.down:
                self.down()
            elif self.wire is None and self.state.due_ms is not None:
                self.wait(max(0, self.state.due_ms - self.now))
            else:
                return
        raise AssertionError("it does not come to rest")
