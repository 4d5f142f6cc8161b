"""Waiting inside a turn for what was written to be durable; nobody else enters meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from .turns import Event

if TYPE_CHECKING:
    from .instance import Instance


def all_durable(instance: Instance) -> Awaitable[None]:
    """Done when all writes issued so far are durable; no other event enters meanwhile."""
    future: asyncio.Future[None] = instance.turns.loop.create_future()
    scope = instance.turns.scope
    instance.commit_turn()
    if instance.touched <= instance.output.commits.durable() or scope is None:
        future.set_result(None)
        return future
    event = scope.event
    event.pinned += 1
    instance.output.commits.hold(instance.touched, instance, _unpin, instance, event, future)
    return future


def _unpin(instance: Instance, event: Event, future: asyncio.Future[None]) -> None:
    event.pinned -= 1
    if not future.done():
        future.set_result(None)
    instance.task_ended(event)
