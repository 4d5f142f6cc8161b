"""Behaviour that a program chooses by its compatibility date and flags (spec: config, compatibility dates).

What always holds: a flag named by the program wins over the date; a program without a date gets the newest behaviour.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ..engine.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Change:
    """A change of behaviour: the flag that asks for it, the one that asks for the old, the date from which it holds."""

    flag: str
    opposite: str
    date: str
    """yyyy-mm-dd"""


NO_GLOBAL_HANDLERS = Change("python_no_global_handlers", "disable_python_no_global_handlers", "2025-08-14")
ENHANCED_ERRORS = Change("enhanced_error_serialization", "legacy_error_serialization", "2026-04-21")
PENDING_PREVENTS_EVICTION = Change(
    "durable_object_io_tasks_prevent_eviction", "durable_object_io_tasks_allow_eviction", "2026-10-01"
)
DELETE_ALL_DELETES_ALARM = Change("delete_all_deletes_alarm", "delete_all_preserves_alarm", "2026-02-24")
AUTO_REPLY_TO_CLOSE = Change("web_socket_auto_reply_to_close", "web_socket_manual_reply_to_close", "2026-04-07")
CLOSE_REASONS_BOUNDED = Change(
    "websocket_close_reason_byte_limit", "no_websocket_close_reason_byte_limit", "2026-03-03"
)

ASSETS_FOR_NAVIGATION = Change(
    "assets_navigation_prefers_asset_serving", "assets_navigation_has_no_effect", "2025-04-01"
)


def applies(change: Change, date: str, flags: Collection[str]) -> bool:
    """Whether a program of that date ("": none given) with those flags gets the changed behaviour. Raises ConfigError."""
    if change.flag in flags and change.opposite in flags:
        raise ConfigError(
            f"compatibility_flags: {change.flag} and {change.opposite} contradict each other", hint="name one of them"
        )
    if change.flag in flags:
        return True
    if change.opposite in flags:
        return False
    return not date or date >= change.date
