"""The pulse of a process that the supervisor started: a page of memory that both see, and the thread that beats into it.

What always holds: a beat is read whole or not at all; reading one asks nothing of the process, so one that is stuck is seen, and
what its last event was stays readable after its sudden end.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import signal
import sys
import threading
import time
import types
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from ..engine.beacon import BEACON_BYTES, HEARD, NOTHING, WHOLE, Running, read
from ..engine.interruption import is_ours, place

BEAT_S = 0.25
_PAGE_BYTES = 4096
_HEAD = slice(256, 256 + 20)
_BODY = 276


@dataclass(frozen=True, slots=True)
class Beat:
    """What a process last said of itself."""

    number: int
    within: str
    """`loop`: its loop goes round. Else it does not, and is in `turn`, `storage`, `commit`, `sync`, `callback` or `other`."""
    stuck_s: float
    """How long it has been in it without end; a turn: how long that step."""
    budget_s: float
    """How long it may."""
    object: str = ""
    object_id: str = ""
    method: str = ""
    place: str = ""
    """Where in the program: file, line, function."""


class Pulse:
    """The page. Both processes map it, through one descriptor."""

    def __init__(self, descriptor: int) -> None:
        self.memory = mmap.mmap(descriptor, _PAGE_BYTES)

    @classmethod
    def make(cls) -> tuple[Pulse, int]:
        """A new page, and its descriptor for the child: close it when the child has it."""
        descriptor = os.memfd_create("perdure-pulse")
        os.ftruncate(descriptor, _PAGE_BYTES)
        pulse = cls(descriptor)
        pulse.memory[WHOLE] = NOTHING
        return pulse, descriptor

    @classmethod
    def given(cls, descriptor: int) -> Pulse:
        """The page that the supervisor made, by the descriptor that this process has inherited."""
        pulse = cls(descriptor)
        os.close(descriptor)
        return pulse

    def beat(self, beat: Beat) -> None:
        """Say how it stands."""
        fields = {name: getattr(beat, name) for name in Beat.__slots__}
        body = json.dumps(fields).encode()[: _PAGE_BYTES - _BODY]
        self.memory[_BODY : _BODY + len(body)] = body
        self.memory[_HEAD] = beat.number.to_bytes(8, "little") + len(body).to_bytes(8, "little") + _sum(body)

    def last(self) -> Beat | None:
        """The last beat; None: there is none, or one is being written just now."""
        head = self.memory[_HEAD]
        length = int.from_bytes(head[8:16], "little")
        body = self.memory[_BODY : _BODY + min(length, _PAGE_BYTES - _BODY)]
        if not length or _sum(body) != head[16:20]:
            return None
        try:
            return Beat(**cast("dict[str, object]", json.loads(body)))  # pyright: ignore[reportArgumentType]
        except ValueError:  # it was longer than the page
            return None

    def running(self) -> Running | None:
        """The event whose step began last."""
        return read(self.memory[:BEACON_BYTES])

    def close(self) -> None:
        self.memory.close()


def _sum(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(4, "little")


def within(frame: types.FrameType | None, in_turn: bool) -> str:
    """What the loop's thread is in, by its stack."""
    if frame is None or not is_ours(frame):
        ours = _innermost_of_ours(frame)
        file = "" if ours is None else ours.f_code.co_filename
        if ours is not None and file.endswith(("/disk.py", "/log.py", "/committer.py")):
            return _of_runtime(ours)
        return "turn" if in_turn else "callback"
    return _of_runtime(frame)


def _innermost_of_ours(frame: types.FrameType | None) -> types.FrameType | None:
    while frame is not None and not is_ours(frame):
        frame = frame.f_back
    return frame


def _of_runtime(frame: types.FrameType) -> str:
    found: types.FrameType | None = frame
    commits = False
    while found is not None:
        name = found.f_code.co_name
        if is_ours(found):
            if "sync" in name and found.f_code.co_filename.endswith(("/disk.py", "/log.py", "/committer.py")):
                return "sync"
            commits = commits or name == "_commit_touched"
        found = found.f_back
    if commits:
        return "commit"
    return "storage" if "/engine/" in frame.f_code.co_filename else "other"


def beat_for_loop(pulse: Pulse, loop: asyncio.AbstractEventLoop, budget_s: float) -> Heart:
    """A heart of a process that runs no objects: its loop must go round. Call on the loop."""
    ticked = [loop.time()]

    def tick() -> None:
        ticked[0] = loop.time()
        loop.call_later(BEAT_S, tick)

    tick()
    heart = Heart(pulse, loop.time, lambda: budget_s, lambda: False, lambda: ticked[0])
    heart.start()
    return heart


class Heart:
    """A thread that says four times a second what the loop is in, for as long as it gets the interpreter."""

    def __init__(
        self,
        pulse: Pulse,
        clock: Callable[[], float],
        budget_s: Callable[[], float],
        in_turn: Callable[[], bool],
        ticked_s: Callable[[], float],
    ) -> None:
        """Call on the loop's thread. `budget_s`: of the turn that runs. `ticked_s`: when the loop last went round."""
        self._pulse = pulse
        self._clock = clock
        self._budget_s = budget_s
        self._in_turn = in_turn
        self._ticked_s = ticked_s
        self._thread = threading.get_ident()
        self._number = 0
        self._since_s = 0.0
        self._ends = False

    def start(self) -> None:
        threading.Thread(target=self._run, name="heart", daemon=True).start()

    def end(self) -> None:
        """The process ends, which may take as long as whoever asked for it waits: it only beats from now on."""
        self._ends = True

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})  # the watchdog's is for the loop's thread
        while True:
            time.sleep(BEAT_S)
            self._pulse.beat(self.look())

    def look(self) -> Beat:
        """How it stands now."""
        self._number += 1
        now_s, memory = self._clock(), self._pulse.memory
        late_s = now_s - self._ticked_s()
        same, memory[HEARD] = memory[HEARD] == 0, 0
        if not same:
            self._since_s = now_s
        if late_s < 2 * BEAT_S or self._ends:
            return Beat(self._number, "loop", 0.0, 0.0)
        frame = sys._current_frames().get(self._thread)
        in_turn = self._in_turn()
        what = within(frame, in_turn)
        if not in_turn:
            return Beat(self._number, what, round(late_s, 3), self._budget_s(), place=place(frame))
        running = self._pulse.running()
        return Beat(
            self._number,
            what,
            round(now_s - self._since_s, 3),
            self._budget_s(),
            "" if running is None else running.object,
            "" if running is None else running.object_id.hex(),
            "" if running is None else running.method,
            place(frame),
        )
