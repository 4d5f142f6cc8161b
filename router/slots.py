"""Slots: which shard has which object. Pure.

What always holds: an object's slot never changes; slots are dealt in 64 groups of 64; a map with a higher epoch replaces one
with a lower, never the other way round.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from ..engine.errors import InvalidArgument, ProtocolError

SLOTS = 4_096
GROUPS = 64


def slot_of(object_id: bytes) -> int:
    """The first 12 bits of the id."""
    return object_id[0] << 4 | object_id[1] >> 4


def group_of(object_id: bytes) -> int:
    """The group of the id's slot."""
    return object_id[0] >> 2


def deal(shards: int) -> list[int]:
    """Which shard has each group: as even as it goes."""
    return [group % shards for group in range(GROUPS)]


@dataclass(frozen=True, slots=True)
class ShardPlace:
    """Where a shard is. `endpoint` None: it is starting."""

    session: str
    endpoint: str | None


@dataclass(frozen=True, slots=True)
class SlotMap:
    """Group → shard, and where the shards are."""

    epoch: int
    groups: tuple[int, ...]
    shards: Mapping[int, ShardPlace]

    def shard_of(self, object_id: bytes) -> int:
        """Index of the shard that has the object."""
        return self.groups[object_id[0] >> 2]

    def address_of(self, shard: int) -> bytes:
        """32 bytes that lead to the shard, for what is about all of its objects: its first group, then zeros.

        Raises InvalidArgument for a shard that is not there, or that has no slots.
        """
        groups = self.groups_of(shard)
        if not groups:
            raise InvalidArgument(f"there is no shard {shard}", hint=f"shards: {', '.join(map(str, self.shards))}")
        return bytes([groups[0] << 2]) + bytes(31)

    def groups_of(self, shard: int) -> list[int]:
        return [group for group, owner in enumerate(self.groups) if owner == shard]

    def to_wire(self) -> dict[str, object]:
        return {
            "epoch": self.epoch,
            "groups": list(self.groups),
            "shards": {str(i): {"session": s.session, "endpoint": s.endpoint} for i, s in self.shards.items()},
        }

    @classmethod
    def from_wire(cls, fields: object) -> SlotMap:
        """The inverse of `to_wire`. Raises ProtocolError."""
        try:
            given = cast("dict[str, object]", fields)
            groups = tuple(cast("list[int]", given["groups"]))
            shards = {
                int(index): ShardPlace(str(place["session"]), cast("str | None", place["endpoint"]))
                for index, place in cast("dict[str, dict[str, object]]", given["shards"]).items()
            }
            found = cls(int(cast("int", given["epoch"])), groups, shards)
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"malformed slot map: {error!r}") from error
        if len(groups) != GROUPS or any(owner not in shards for owner in groups):
            raise ProtocolError(f"malformed slot map: {len(groups)} groups, shards {sorted(shards)}")
        return found


EMPTY = SlotMap(0, (0,) * GROUPS, {0: ShardPlace("", None)})
"""Before the first map arrives: everything waits."""
