"""The checker of sockets' histories finds each kind of fault, and none where there is none."""

from __future__ import annotations

import copy

import pytest

from .socket_history import JOINED, LEFT, SAID, Faults, Told, Written, check

KINDS = ("closed", "lost", "doubled", "disordered", "invented")


def history() -> tuple[list[Written], dict[str, Told]]:
    """Ann and Bob from the beginning, Cyd joins in the middle, Bob leaves before the end."""
    rows = [
        Written(1, JOINED, "ann", 0),
        Written(2, JOINED, "bob", 0),
        Written(3, SAID, "ann", 1),
        Written(4, SAID, "bob", 1),
        Written(5, JOINED, "cyd", 0),
        Written(6, SAID, "ann", 2),
        Written(7, SAID, "ann", 3),
        Written(8, LEFT, "bob", 0),
        Written(9, SAID, "cyd", 1),
    ]
    said = [(row.id, row.who, row.number) for row in rows if row.kind == SAID]
    users = {
        "ann": Told("ann", 4, list(said), [4]),
        "bob": Told("bob", 2, said[:3], left=True),
        "cyd": Told("cyd", 1, said[2:]),
    }
    return rows, users


def found(rows: list[Written], users: dict[str, Told]) -> Faults:
    faults = Faults()
    check("room", rows, users.values(), faults)
    return faults


def test_a_good_history_has_no_faults() -> None:
    assert not found(*history())
    assert str(found(*history())).startswith("0 closed, 0 lost")


def _closed(rows, users):
    users["ann"].closed = "1006"


def _broadcast_lost(rows, users):
    del users["ann"].heard[1]


def _last_broadcast_lost(rows, users):
    users["ann"].heard.pop()


def _broadcast_lost_of_one_who_left(rows, users):
    del users["bob"].heard[1]


def _message_lost(rows, users):
    users["cyd"].sent = 2


def _answer_lost(rows, users):
    users["ann"].answers.clear()


def _join_lost(rows, users):
    del rows[4]


def _broadcast_doubled(rows, users):
    users["cyd"].heard.insert(1, users["cyd"].heard[0])


def _answer_doubled(rows, users):
    users["ann"].answers.append(4)


def _message_doubled(rows, users):
    """Recorded twice, and everybody has heard both."""
    rows.append(Written(10, SAID, "cyd", 1))
    users["ann"].heard.append((10, "cyd", 1))
    users["cyd"].heard.append((10, "cyd", 1))


def _heard_in_another_order(rows, users):
    heard = users["ann"].heard
    heard[2], heard[3] = heard[3], heard[2]


def _recorded_in_another_order(rows, users):
    rows[5], rows[6] = Written(6, SAID, "ann", 3), Written(7, SAID, "ann", 2)
    for user in users.values():
        user.heard = [(row.id, row.who, row.number) if (row := by_id(rows, one[0])) else one for one in user.heard]


def by_id(rows: list[Written], number: int) -> Written | None:
    return next((row for row in rows if row.id == number), None)


def _heard_and_not_durable(rows, users):
    users["ann"].heard.append((10, "bob", 2))


@pytest.mark.parametrize(
    ("spoil", "kinds"),
    [
        (_closed, {"closed"}),
        (_broadcast_lost, {"lost"}),
        (_last_broadcast_lost, {"lost"}),
        (_broadcast_lost_of_one_who_left, {"lost"}),
        (_message_lost, {"lost"}),
        (_answer_lost, {"lost"}),
        (_join_lost, {"lost"}),
        (_broadcast_doubled, {"doubled"}),
        (_answer_doubled, {"doubled"}),
        (_message_doubled, {"doubled"}),
        (_heard_in_another_order, {"disordered"}),
        (_recorded_in_another_order, {"disordered"}),
        (_heard_and_not_durable, {"invented"}),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_each_fault_is_found(spoil, kinds: set[str]) -> None:
    rows, users = copy.deepcopy(history())
    spoil(rows, users)
    faults = found(rows, users)
    assert {kind for kind in KINDS if getattr(faults, kind)} == kinds
    assert bool(faults)
