"""How much memory the machine has for a shard, and how much this process holds now."""

from __future__ import annotations

import contextlib
import functools
import mmap
import os
from dataclasses import dataclass

from ..engine.limits import Limits

_SOFT, _HARD = 0.6, 0.8
"""Parts of a shard's share: gateways, archivists and the page cache need the rest."""
_CGROUP = "/sys/fs/cgroup/memory.max"


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of a shard's resident size, in bytes."""

    soft: int
    hard: int


def bounds(limits: Limits, shards: int, total: int) -> Bounds:
    """What was set, or the shard's share of `total`."""
    share = total // max(shards, 1)
    hard = limits.shard_memory_hard_mb << 20 or int(share * _HARD)
    soft = limits.shard_memory_soft_mb << 20 or min(int(share * _SOFT), hard)
    return Bounds(soft, hard)


def total_bytes() -> int:
    """What this machine, or its control group, has."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError), open(_CGROUP) as file:  # "max": no bound
        total = min(total, int(file.read()))
    return total


@functools.cache
def _own_statm(pid: int) -> int:
    """A descriptor that stays open: opening costs six times as much as reading, and a shard reads at each step while it grows."""
    return os.open(f"/proc/{pid}/statm", os.O_RDONLY | os.O_CLOEXEC)


def resident_bytes(pid: int | None = None) -> int:
    """What a process (this one) holds in memory now: a microsecond for this one. Raises OSError: there is none of that id."""
    if pid is None:
        return int(os.pread(_own_statm(os.getpid()), 128, 0).split()[1]) * mmap.PAGESIZE
    with open(f"/proc/{pid}/statm", "rb", buffering=0) as file:
        return int(file.read().split()[1]) * mmap.PAGESIZE
