"""What users of sockets sent and heard, what objects wrote down, and whether the two agree.

What always holds: nothing here knows a socket or a process; a fault is found from the two records alone. Messages of a user
are numbered from 1; one whose number is `is_question` is answered to the user alone and written nowhere, every other one becomes
a row of the object and is sent to all of its sockets with the row's id.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

JOINED, SAID, LEFT = "joined", "said", "left"
Heard = tuple[int, str, int]
"""Row's id, who had sent it, its number."""


def is_question(number: int) -> bool:
    """Whether a message is one that its handler answers without a write."""
    return number % 4 == 0


@dataclass(frozen=True, slots=True)
class Written:
    """A row of an object, in the order of ids."""

    id: int
    kind: str
    who: str
    number: int


@dataclass(slots=True)
class Told:
    """One user whose connection was established: what it sent (messages 1 to `sent`) and what came."""

    who: str
    sent: int = 0
    heard: list[Heard] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    left: bool = False
    """On its own accord: what it had not heard by then it need not hear."""
    closed: str = ""
    """How the connection ended unasked; "": it did not."""


@dataclass(slots=True)
class Faults:
    """Each a line of text that names the object, the user and the number."""

    closed: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)
    """Heard, and in no row: it was sent before it was durable."""

    def __bool__(self) -> bool:
        return any((self.closed, self.lost, self.doubled, self.disordered, self.invented))

    def __str__(self) -> str:
        kinds = {name: getattr(self, name) for name in ("closed", "lost", "doubled", "disordered", "invented")}
        counts = ", ".join(f"{len(found)} {name}" for name, found in kinds.items())
        return "\n".join([counts, *(f"{name}: {line}" for name, found in kinds.items() for line in found[:5])])


def check(name: str, rows: Sequence[Written], users: Iterable[Told], faults: Faults) -> None:
    """Compare one object's rows with all of its users; what does not agree is added to `faults`."""
    said: dict[str, list[int]] = {}
    joined: dict[str, int] = {}
    for row in rows:
        if row.kind == SAID:
            said.setdefault(row.who, []).append(row.number)
        elif row.kind == JOINED:
            joined[row.who] = row.id
    spoken = [(row.id, row.who, row.number) for row in rows if row.kind == SAID]
    for user in users:
        place = f"{name} {user.who}"
        if user.closed:
            faults.closed.append(f"{place}: {user.closed}")
        sent = range(1, user.sent + 1)
        told = [number for number in sent if not is_question(number)]
        asked = [number for number in sent if is_question(number)]
        _compare(f"{place} recorded", told, said.get(user.who, []), faults, cut=user.left)
        _compare(f"{place} answered", asked, user.answers, faults, cut=user.left)
        if user.who not in joined:
            faults.lost.append(f"{place}: no row says that it joined")
            continue
        expected = [row for row in spoken if row[0] > joined[user.who]]
        _compare(f"{place} heard", expected, user.heard, faults, cut=user.left)


def _compare(what: str, expected: Sequence[object], found: Sequence[object], faults: Faults, *, cut: bool) -> None:
    """`cut`: the end of what is expected may be missing."""
    if list(found) == list(expected[: len(found)] if cut else expected):
        return
    wanted, came = Counter(expected), Counter(found)
    last = max((index for index, one in enumerate(expected) if one in came), default=-1)
    missing = [one for one in (expected[: last + 1] if cut else expected) if one not in came]
    faults.lost.extend(f"{what}: {one}" for one in missing)
    faults.doubled.extend(f"{what}: {one} {times} times" for one, times in came.items() if times > 1 and one in wanted)
    faults.invented.extend(f"{what}: {one}" for one in came if one not in wanted)
    order = {one: index for index, one in enumerate(expected)}
    places = [order[one] for one in dict.fromkeys(found) if one in order]
    faults.disordered.extend(
        f"{what}: {expected[later]} after {expected[before]}"
        for before, later in itertools.pairwise(places)
        if later < before
    )
