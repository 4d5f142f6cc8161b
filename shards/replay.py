"""From the commits of one object to what its main file must hold. Pure; shared by recovery and the rebuild after a reset.

What always holds: commits are applied in the order of their change numbers without a gap, whichever logs they are in; what
a mark covers is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..engine.errors import LogDamaged


@dataclass(frozen=True, slots=True)
class Place:
    """Where a commit is: `log` is the reader's place in the order of logs, `position` the batch's."""

    generation: int
    change: int
    log: int
    position: int


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


def plan(object_id: bytes, places: Iterable[Place], mark: tuple[int, int] | None) -> Plan:
    """What is left to do for an object, given its newest mark. Raises LogDamaged when a commit is missing."""
    marked = mark or (0, 0)
    live = sorted(
        (place for place in places if (place.generation, place.change) > marked),
        key=lambda place: (place.generation, place.change),
    )
    generation = live[-1].generation if live else max(marked[0], 1)
    live = [place for place in live if place.generation == generation]
    if not live:
        return Plan(generation, marked[1], ())
    base = marked[1] if marked[0] == generation and marked[1] else live[0].change - 1
    expected = base + 1
    for place in live:
        if place.change != expected:
            raise LogDamaged(
                f"object {object_id.hex()}: commit {expected} is missing from the logs, {place.change} follows",
                hint="nothing was dropped; restore the missing segment from a copy",
            )
        expected += 1
    return Plan(generation, base, tuple(live))


def last_images(tocs: Sequence[Sequence[int]]) -> dict[int, int]:
    """Page number → index of the last commit that has an image of it; `tocs` are the page numbers of each commit."""
    last: dict[int, int] = {}
    for index, pages in enumerate(tocs):
        for number in pages:
            last[number] = index
    return last
