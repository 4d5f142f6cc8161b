"""How many rows a statement reads and writes, from its program of SQLite's virtual machine (spec: storage-sql, row counters).

What always holds: counting costs nothing a row. A text's program is looked at once; a run then needs the rows it gave, the rows
it changed and, where these do not tell, the counters that SQLite keeps for the statement (`STATUS_SCAN`, `STATUS_STEPS`).

SQLite as it comes has no counters of rows (the reference uses a fork that has). Stepping opcode by opcode would be exact and ten
times slower. So: each row that comes out of an unfiltered loop was read, and only it; a full scan counts its own steps; other
loops are estimated from all steps and the loop's length. docs/compatibility.md says how far each is off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

STATUS_SCAN = "SQLITE_STMTSTATUS_FULLSCAN_STEP"
STATUS_STEPS = "SQLITE_STMTSTATUS_VM_STEP"
_NEXT = frozenset({"Next", "Prev", "VNext"})
_POINT = frozenset({"NotExists", "SeekRowid"})
_UNIQUE = frozenset({"NoConflict", "NotFound", "Found"})
_SEEK = frozenset({"SeekGE", "SeekGT", "SeekLE", "SeekLT"})
_OPEN = frozenset({"OpenRead", "OpenWrite", "ReopenIdx", "VOpen"})
_CHANGING = frozenset({"Insert", "Delete", "IdxInsert"})
_DETOURS = frozenset({"Goto", "Yield", "Next", "Prev", "Rewind", "Gosub", "Delete", "IfNot", "If", "Once"})
_CHANGE = 1  # p5 of what counts as a change of its own: the row itself
# Inside a loop these neither skip a row nor leave the loop before the row was given.
_STRAIGHT = frozenset(
    [
        "Column",
        "Rowid",
        "ResultRow",
        "Integer",
        "Int64",
        "Real",
        "String8",
        "String",
        "Blob",
        "Null",
        "Variable",
        "Copy",
        "SCopy",
        "IntCopy",
        "Move",
        "RealAffinity",
        "Affinity",
        "MakeRecord",
        "DeferredSeek",
        "Function",
        "PureFunc",
        "Add",
        "Subtract",
        "Multiply",
        "Divide",
        "Remainder",
        "Concat",
        "Cast",
        "IdxRowid",
        "CollSeq",
        "DecrJumpZero",
        "IdxGT",
        "IdxGE",
        "IdxLT",
        "IdxLE",
        "VColumn",
        "Noop",
        "Explain",
        "TypeCheck",
        "BitAnd",
        "BitOr",
        "Negative",
        "Not",
        "ReleaseReg",
    ]
)


@dataclass(frozen=True, slots=True)
class RowCounts:
    """What is to be counted for one text."""

    streams: bool
    """Each row that comes out is `per_row` rows read, nothing else is."""
    per_row: int
    scans: int
    """Full scans that are not inside another: SQLite counts their steps, which is one less than their rows."""
    loop_steps: int
    """Steps of one round of the only loop that is no full scan; 0: there is none."""
    counts: bool
    """It counts a table without looking at its rows: as many as the number that comes out."""
    lookups: int
    """Rows looked up by key, at each change or once."""
    inner: int
    """Rows looked up by key for each row of a full scan, found or not."""
    inserts: bool
    entries: int
    """Index entries written with each changed row."""
    direct: bool
    """No trigger, foreign key action or virtual table changes rows beside it."""
    one_row: bool = False
    """It inserts exactly one row, or fails."""

    @property
    def profiled(self) -> bool:
        """Whether SQLite's own counters are needed."""
        return not self.streams and (self.scans > 0 or self.loop_steps > 0)

    def written(self, changes: int, direct: int) -> int:
        """Rows and index entries written. `changes`: rows changed, by triggers too; `direct`: by the statement itself."""
        return changes + min(changes, direct) * self.entries if self.entries else changes

    def read(self, given: int, changes: int, status: Mapping[str, int] | None, counted: int | None) -> int:
        """Rows read by a run that is over. `given`: rows that came out; `counted`: the number in the only one."""
        if self.streams:
            return given * self.per_row
        if self.counts and counted is not None:
            return counted
        if status is not None and self.scans:
            steps = status[STATUS_SCAN]
            scanned = steps + self.scans if steps or given or changes else 0
            if self.inserts:
                return max(scanned, changes * self.lookups)
            return max(scanned, given) + changes * self.lookups + given * self.inner
        if status is not None and self.loop_steps:
            return max(status[STATUS_STEPS] // self.loop_steps, given, changes)
        if self.inserts:
            return changes * min(self.lookups, 1)
        return max(self.lookups, given)


NOTHING = RowCounts(False, 0, 0, 0, False, 0, 0, False, 0, False)
"""For statements that touch no rows of the program's: schema, pragmas."""


@dataclass(frozen=True, slots=True)
class _Operation:
    address: int
    name: str
    p1: int
    p2: int
    p5: int


def _main_program(rows: Iterable[tuple[object, ...]]) -> list[_Operation]:
    """The operations up to the first subprogram (a trigger's), whose addresses start again."""
    found: list[_Operation] = []
    for address, name, p1, p2, _p3, _p4, p5, *_ in rows:
        if address != len(found):
            break
        found.append(_Operation(*(int(str(address)), str(name), int(str(p1)), int(str(p2)), int(str(p5)))))
    return found


def row_counts(explained: Iterable[tuple[object, ...]]) -> RowCounts:
    """What to count for a statement, from the rows of its `explain`."""
    program = _main_program(explained)
    opened = {operation.p1 for operation in program if operation.name in _OPEN}
    deferred = {operation.p2 for operation in program if operation.name == "DeferredSeek"}
    loops = [operation for operation in program if operation.name in _NEXT and operation.p1 in opened]
    full = [loop for loop in loops if loop.p5 & 1 or loop.name == "VNext"]
    outer = [loop for loop in full if not any(_within(loop, other) for other in full if other is not loop)]
    lookups = [
        operation
        for operation in program
        if operation.p1 in opened
        and (operation.name in _POINT or operation.name in _UNIQUE or (operation.name in _SEEK and not loops))
    ]
    inner = [lookup for lookup in lookups if any(_within(lookup, loop) for loop in full)]
    changing = any(operation.name in _CHANGING for operation in program if operation.p1 in opened)
    inserts = changing and not any(operation.name == "Delete" for operation in program)
    gives = any(operation.name == "ResultRow" for operation in program)
    entries = {
        operation.p1
        for operation in program
        if operation.name == "IdxInsert" and operation.p1 in opened and not operation.p5 & _CHANGE
    }
    aggregates = any(operation.name in ("AggStep", "SorterInsert", "InitCoroutine", "Count") for operation in program)
    streams = gives and not changing and not aggregates and len(loops) <= 1 and _straight(program, loops)
    alone = sum(1 for lookup in lookups if lookup.p1 not in deferred)
    single = loops[0] if len(loops) == 1 and not full else None
    direct = not any(operation.name in ("Program", "VUpdate") for operation in program)
    return RowCounts(
        streams=streams,
        per_row=0 if not opened else (1 if loops else alone),
        scans=len(outer),
        loop_steps=single.address - single.p2 + 1 if single is not None else 0,
        counts=any(operation.name == "Count" for operation in program),
        lookups=len(lookups) - len(inner),
        inner=len(inner),
        inserts=inserts,
        entries=len(entries),
        direct=direct,
        one_row=inserts and direct and not loops and _straight_to_the_end(program),
    )


def _straight_to_the_end(program: list[_Operation]) -> bool:
    """Whether an insert has no way but to insert its one row or to stop with an error (no `or ignore`, no `select`)."""
    rows = sum(1 for operation in program if operation.name in _CHANGING and operation.p5 & _CHANGE)
    jumps = sum(1 for operation in program if operation.name in _DETOURS)
    return rows == 1 and jumps == 1  # the one at the end of each program, back to its start


def _within(operation: _Operation, loop: _Operation) -> bool:
    return loop.p2 <= operation.address <= loop.address and operation is not loop


def _straight(program: list[_Operation], loops: list[_Operation]) -> bool:
    """Whether every row that is visited comes out."""
    if not loops:
        return not any(operation.name in ("Rewind", "Last") for operation in program)
    (loop,) = loops
    if loop.name == "VNext":
        return False
    body = program[loop.p2 : loop.address]
    names = {operation.name for operation in body}
    return names <= _STRAIGHT and "ResultRow" in names
