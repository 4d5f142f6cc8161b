"""What a runtime has measured in some days: read from the catalogue by a shard, merged over all shards by who asks.

What always holds: the classes' counts hold everything; the objects are the most active ones of them, never a second count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import cast

from ..engine.errors import ProtocolError
from ..engine.meters import METER_NAMES, Meters
from .bill import Usage
from .catalogue import Catalogue, MeterRow, ObjectUse, StoredRow


@dataclass(frozen=True, slots=True)
class Measured:
    """`days`: a class and UTC day each. `stored`: what there is now. `objects`: the most active, most first, if asked for."""

    days: tuple[MeterRow, ...] = ()
    stored: tuple[StoredRow, ...] = ()
    objects: tuple[ObjectUse, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    """Class key → name in the program."""
    kv_classes: frozenset[str] = frozenset()
    """Keys of the classes of the key-value backend: their bytes have a price of their own."""

    def merge(self, other: Measured, objects_max: int) -> Measured:
        """With what another shard has measured."""
        objects = sorted((*self.objects, *other.objects), key=lambda use: use.meters.active_us, reverse=True)
        return Measured(
            (*self.days, *other.days),
            (*self.stored, *other.stored),
            tuple(objects[:objects_max]),
            {**self.names, **other.names},
            self.kv_classes | other.kv_classes,
        )

    def to_wire(self) -> dict[str, object]:
        """Plain values; `from_wire` reads them."""
        return {
            "days": [[row.day, row.class_key, *_counts(row.meters)] for row in self.days],
            "stored": [[row.class_key, row.objects, row.bytes] for row in self.stored],
            "objects": [
                [use.class_key, use.object_id, use.name, use.bytes, *_counts(use.meters)] for use in self.objects
            ],
            "names": dict(self.names),
            "kv_classes": sorted(self.kv_classes),
        }

    @classmethod
    def from_wire(cls, value: object) -> Measured:
        """What `to_wire` gave. Raises ProtocolError for anything else."""
        try:
            found = cast("dict[str, list[list[object]]]", value)
            return cls(
                tuple(MeterRow(_int(row[0]), str(row[1]), b"", _meters(row[2:])) for row in found["days"]),
                tuple(StoredRow(str(row[0]), _int(row[1]), _int(row[2])) for row in found["stored"]),
                tuple(_object(row) for row in found["objects"]),
                {str(key): str(name) for key, name in cast("dict[str, str]", found["names"]).items()},
                frozenset(str(key) for key in found["kv_classes"]),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ProtocolError(f"malformed answer of the operation 'measured': {error!r}") from error

    # ------------------------------------------------------------------ what a bill needs
    def usage(self) -> Usage:
        """Everything."""
        return _sum(self.by_class().values())

    def by_class(self) -> dict[str, Usage]:
        """By the class's name."""
        found: dict[str, Usage] = {}
        for row in self.days:
            found[row.class_key] = found.get(row.class_key, Usage()) + usage_of(row.meters)
        for row in self.stored:
            found[row.class_key] = found.get(row.class_key, Usage()) + self._stored(row.class_key, row.bytes)
        return {self.names.get(key, key): use for key, use in sorted(found.items())}

    def by_object(self) -> dict[str, Usage]:
        """The most active objects as `Class/name` (its id where there is no name)."""
        return {
            f"{self.names.get(use.class_key, use.class_key)}/{use.name or use.object_id.hex() or '(many)'}": usage_of(
                use.meters
            )
            + self._stored(use.class_key, use.bytes)
            for use in self.objects
        }

    def by_day(self) -> dict[int, Usage]:
        """By UTC day; without what is stored."""
        found: dict[int, Usage] = {}
        for row in self.days:
            found[row.day] = found.get(row.day, Usage()) + usage_of(row.meters)
        return dict(sorted(found.items()))

    def _stored(self, class_key: str, count: int) -> Usage:
        if class_key in self.kv_classes:
            return Usage(kv_stored_bytes=Fraction(count))
        return Usage(stored_bytes=Fraction(count))


def usage_of(meters: Meters) -> Usage:
    """The counts of meters as exact numbers. Opening a socket is a request that was counted as one."""
    return Usage(
        requests=Fraction(meters.requests),
        messages=Fraction(meters.messages),
        alarms=Fraction(meters.alarms),
        active_s=Fraction(meters.active_us, 1_000_000),
        rows_read=Fraction(meters.rows_read),
        rows_written=Fraction(meters.rows_written),
        kv_read_units=Fraction(meters.kv_read_units),
        kv_write_units=Fraction(meters.kv_write_units),
        kv_deletes=Fraction(meters.kv_deletes),
    )


def measure(catalogue: Catalogue, first_day: int, last_day: int, objects_max: int) -> Measured:
    """What the shard's groups have from one UTC day to another; with the `objects_max` most active objects. Reads files."""
    found = Measured()
    for group in catalogue.groups:
        part = Measured(
            tuple(catalogue.class_meters(group, first_day, last_day)),
            tuple(catalogue.stored(group)),
            tuple(catalogue.most_active(group, first_day, last_day, objects_max)) if objects_max else (),
        )
        found = found.merge(part, objects_max)
    return _together(found)


def _together(found: Measured) -> Measured:
    """One row a class and day, not one of each group."""
    days: dict[tuple[int, str], Meters] = {}
    for row in found.days:
        days.setdefault((row.day, row.class_key), Meters()).add(row.meters)
    stored: dict[str, StoredRow] = {}
    for row in found.stored:
        before = stored.get(row.class_key, StoredRow(row.class_key, 0, 0))
        stored[row.class_key] = StoredRow(row.class_key, before.objects + row.objects, before.bytes + row.bytes)
    rows = tuple(MeterRow(day, key, b"", meters) for (day, key), meters in sorted(days.items()))
    return replace(found, days=rows, stored=tuple(stored.values()))


def _sum(uses: Iterable[Usage]) -> Usage:
    total = Usage()
    for use in uses:
        total = total + use
    return total


def _counts(meters: Meters) -> list[int]:
    return [getattr(meters, name) for name in METER_NAMES]


def _meters(counts: list[object]) -> Meters:
    """A newer runtime may have counters that are not known here: those are left out."""
    return Meters(*[_int(count) for count in counts[: len(METER_NAMES)]])


def _object(row: list[object]) -> ObjectUse:
    name = row[2]
    return ObjectUse(
        str(row[0]), bytes(cast("bytes", row[1])), None if name is None else str(name), _int(row[3]), _meters(row[4:])
    )


def _int(value: object) -> int:
    return int(cast("int", value))
