"""Names of classes follow the maps that they are told with."""

from __future__ import annotations

from perdure.router.class_names import ClassNames


def test_a_newer_map_takes_names_away() -> None:
    known = ClassNames()
    names = known.names
    known.follow(3, {"Room": "chat-Room", "Old": "chat-Old"})
    known.follow(4, {"Hall": "chat-Room"})
    assert names == {"Hall": "chat-Room"}
    known.follow(3, {"Room": "chat-Room"})
    assert names == {"Hall": "chat-Room"}


def test_tellers_of_one_map_add_up_and_who_knows_nothing_takes_nothing() -> None:
    known = ClassNames()
    known.follow(3, {"A": "p-A"})
    known.follow(3, {"B": "p-B"})
    known.follow(9, {})
    assert known.names == {"A": "p-A", "B": "p-B"}
