"""What a shard says to a holder: effects, and what caused them, in as few frames as can be."""

from __future__ import annotations

from perdure.engine.errors import Overloaded
from perdure.engine.socket_calls import MESSAGE, SEND, Cause, SocketCall
from perdure.router.socket_peers import SocketPeer
from perdure.router.wire import SOCKET_ACK, SOCKET_EFFECTS, SOCKET_EVENT

ID, ONE, TWO = b"i" * 32, b"1" * 8, b"2" * 8


class Host:
    def __init__(self) -> None:
        self.calls: list[SocketCall] = []

    def deliver(self, call) -> None:
        self.calls.append(call)


class Scene:
    def __init__(self) -> None:
        self.host, self.queue = Host(), []
        self.peer = SocketPeer(
            "keeper", lambda frame, _: self.queue.append(frame), self.host,
            lambda frame: bool(self.queue) and self.queue[-1] is frame,
        )  # type: ignore[arg-type]  # fmt: skip

    def event(self, socket: bytes, number: int) -> SocketCall:
        self.peer.receive([SOCKET_EVENT, 1, "Room", ID, "a", socket, MESSAGE, number, 0, 0, "hello", None])
        return self.host.calls[-1]

    def effects(self, socket: bytes, number: int, record: int = 0) -> list[object]:
        self.peer.effects(ID, record, Cause(socket, number, 0), [([ONE], SEND, "hi")])
        return [SOCKET_EFFECTS, ID, record, [socket, number, 0], [([ONE], SEND, "hi")]]


def test_effects_that_have_not_left_take_the_acknowledgement_of_their_cause_along():
    for record in (0, 7):
        scene = Scene()
        call = scene.event(ONE, 1)
        frame = scene.effects(ONE, 1, record)
        call.answer(call, b"")
        assert scene.queue == [[*frame, True]]


def test_the_acknowledgement_has_a_frame_of_its_own_after_anything_else():
    ack = [SOCKET_ACK, ID, ONE, 1, None]
    scene = Scene()  # nothing was sent
    call = scene.event(ONE, 1)
    call.answer(call, b"")
    assert scene.queue == [ack]
    scene = Scene()  # the effects have left
    call = scene.event(ONE, 1)
    scene.effects(ONE, 1)
    scene.queue.clear()
    call.answer(call, b"")
    assert scene.queue == [ack]
    scene = Scene()  # something else is behind them
    call = scene.event(ONE, 1)
    first, second = scene.effects(ONE, 1), scene.effects(TWO, 1)
    call.answer(call, b"")
    assert scene.queue == [first, second, ack]
    scene = Scene()  # they are of another event, or of none
    call = scene.event(ONE, 1)
    other = scene.effects(ONE, 2)
    call.answer(call, b"")
    assert scene.queue == [other, ack]


def test_effects_of_what_is_to_be_delivered_again_do_not_acknowledge_it():
    scene = Scene()
    call = scene.event(ONE, 1)
    frame = scene.effects(ONE, 1)
    error = Overloaded("later")
    call.answer(call, error)
    assert scene.queue == [frame, [SOCKET_ACK, ID, ONE, 1, error.to_wire()]]
    again = scene.event(ONE, 1)
    again.answer(again, b"")
    assert scene.queue[-1] == [SOCKET_ACK, ID, ONE, 1, None], "nothing is added to what is not the newest"
