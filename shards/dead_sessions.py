"""Which shard has yet to bring back what which dead session's log holds: pure bookkeeping.

What always holds: a dead session's log is deleted only when every shard that may own a part of it has said that nothing in
it is needed any more, and only when no older dead session is left, since its marks speak for theirs too.
"""

from __future__ import annotations

from collections.abc import Iterable


class DeadSessions:
    """Sessions oldest first, each with the shard indexes that have not recovered it."""

    def __init__(self, sessions: Iterable[str], shards: int) -> None:
        self._pending: dict[str, set[int]] = {session: set(range(shards)) for session in sorted(sessions)}

    def died(self, session: str, shard: int) -> None:
        """A shard of this run is dead: its successor recovers its log. Older sessions that it had not finished stay its."""
        self._pending[session] = {shard}
        self._pending = dict(sorted(self._pending.items()))

    def of(self, shard: int) -> list[str]:
        """What that shard has to recover, oldest first."""
        return [session for session, shards in self._pending.items() if shard in shards]

    def recovered(self, session: str, shard: int) -> list[str]:
        """That shard needs nothing of it any more. Gives the sessions that may be deleted now, oldest first."""
        if session in self._pending:
            self._pending[session].discard(shard)
        done: list[str] = []
        for name, shards in self._pending.items():
            if shards:
                break
            done.append(name)
        for name in done:
            del self._pending[name]
        return done

    def __len__(self) -> int:
        return len(self._pending)
