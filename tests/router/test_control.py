"""The control channel of a process without a loop: it ends whatever way the other side went."""

from __future__ import annotations

import socket

from perdure.router.control import Control, encode


def test_messages_end_with_the_other_side() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        control = Control(theirs)
        ours.sendall(encode({"type": "start"}) + encode({"type": "job", "job": 1}))
        assert control.read_start() == {"type": "start"}
        ours.sendall(encode({"type": "job", "job": 2}))
        ours.close()
        assert [message["job"] for message in control.messages()] == [1, 2]


def test_messages_end_when_the_other_side_died_with_answers_unread() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        control = Control(theirs)
        control.send({"type": "done"})
        ours.close()  # with `done` unread: the reader gets an error, not an end
        assert list(control.messages()) == []
