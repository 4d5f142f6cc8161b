"""From the commits of one object to what its main file must hold. Pure; shared by recovery and the rebuild after a reset.

What always holds: commits are applied in the order of their change numbers without a gap, whichever logs they are in; what
a mark covers is left out; the parts of a large commit count only when the commit itself follows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..engine.errors import LogDamaged


@dataclass(frozen=True, slots=True)
class Place:
    """Where a commit, or a part of one, is: `log` is the reader's place in the order of logs, `position` the batch's."""

    generation: int
    change: int
    log: int
    position: int
    part: int = 0
    """As in `records.Head`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What has to be applied to the main file."""

    generation: int
    base: int
    """The change number that the main file must be complete up to; 0: begin with the template."""
    places: tuple[Place, ...]

    @property
    def change(self) -> int:
        return self.places[-1].change if self.places else self.base


def _whole_commits(object_id: bytes, places: Iterable[Place], marked: tuple[int, int]) -> list[tuple[Place, ...]]:
    """Each commit that no mark covers, with its parts before it, by generation and change.

    Parts without their commit were never acknowledged: they are left out, also when a later try begins again at part 1.
    Raises LogDamaged when a part is missing; of a commit that a mark covers they may be gone.
    """
    parts: list[Place] = []
    commits: list[tuple[Place, ...]] = []
    for place in sorted(places, key=lambda place: (place.log, place.position)):
        if place.part < 0:
            parts = [place] if place.part == -1 else [*parts, place]
            continue
        if (place.generation, place.change) <= marked:
            continue
        mine = [part for part in parts if (part.generation, part.change) == (place.generation, place.change)]
        if place.part and [-part.part for part in mine] != list(range(1, place.part + 1)):
            raise LogDamaged(
                f"object {object_id.hex()}: a part of commit {place.change} is missing from the logs",
                hint="nothing was dropped; restore the missing segment from a copy",
            )
        commits.append((*mine, place) if place.part else (place,))
        parts = []
    return sorted(commits, key=lambda commit: (commit[-1].generation, commit[-1].change))


def plan(object_id: bytes, places: Iterable[Place], mark: tuple[int, int] | None) -> Plan:
    """What is left to do for an object, given its newest mark. Raises LogDamaged when a commit is missing."""
    marked = mark or (0, 0)
    live = _whole_commits(object_id, places, marked)
    generation = live[-1][-1].generation if live else max(marked[0], 1)
    live = [commit for commit in live if commit[-1].generation == generation]
    if not live:
        return Plan(generation, marked[1], ())
    base = marked[1] if marked[0] == generation and marked[1] else live[0][-1].change - 1
    expected = base + 1
    for commit in live:
        if commit[-1].change != expected:
            raise LogDamaged(
                f"object {object_id.hex()}: commit {expected} is missing from the logs, {commit[-1].change} follows",
                hint="nothing was dropped; restore the missing segment from a copy",
            )
        expected += 1
    return Plan(generation, base, tuple(place for commit in live for place in commit))


def last_images(tocs: Sequence[Sequence[int]]) -> dict[int, int]:
    """Page number → index of the last commit that has an image of it; `tocs` are the page numbers of each commit."""
    last: dict[int, int] = {}
    for index, pages in enumerate(tocs):
        for number in pages:
            last[number] = index
    return last
