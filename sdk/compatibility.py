"""Behaviour that a program chooses by its compatibility date and flags (spec: config, compatibility dates).

What always holds: a flag named by the program wins over the date; a program without a date gets the newest behaviour.
"""

from __future__ import annotations

import difflib
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

_CHANGES = (
    *(NO_GLOBAL_HANDLERS, ENHANCED_ERRORS, PENDING_PREVENTS_EVICTION, DELETE_ALL_DELETES_ALARM),
    ASSETS_FOR_NAVIGATION,
)
_WITHOUT_EFFECT = """
    python_workers python_workers_development python_workers_20250116 python_workers_20250116_2 python_external_bundle
    python_workflows python_workflows_implicit_dependencies python_dedicated_snapshot python_process_pth_files
    python_request_headers_preserve_commas disable_python_request_headers_preserve_commas enable_python_external_sdk
    disable_python_external_sdk python_check_rng_state experimental service_binding_extra_handlers rpc js_rpc
    fetcher_no_get_put_delete
    durable_object_fetch_requires_full_url durable_object_fetch_allows_relative_url web_socket_auto_reply_to_close
    web_socket_manual_reply_to_close websocket_close_reason_byte_limit nodejs_compat nodejs_compat_v2 nodejs_als
    no_nodejs_compat no_nodejs_compat_v2 global_fetch_strictly_public global_fetch_private_origin streams_enable_constructors
    streams_disable_constructors transformstream_enable_standard_constructor transformstream_disable_standard_constructor
    url_standard url_original formdata_parser_supports_files formdata_parser_converts_files_to_strings
    enable_request_signal disable_request_signal request_signal_passthrough no_request_signal_passthrough
    enable_ctx_exports disable_ctx_exports enable_abortsignal_rpc cache_option_enabled cache_option_disabled
    queues_json_messages no_queues_json_messages
"""
"""Flags of the reference that change nothing here: what they ask for is there anyway, or is about JavaScript only."""


def unknown(flags: Collection[str]) -> list[str]:
    """A word for each flag that nobody knows, with the one that it is near to."""
    known = {*_WITHOUT_EFFECT.split(), *(flag for change in _CHANGES for flag in (change.flag, change.opposite))}
    warnings: list[str] = []
    for flag in sorted(set(flags) - known):
        near = difflib.get_close_matches(flag, sorted(known), 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        warnings.append(f"the compatibility flag '{flag}' is not known and changes nothing{meant}")
    return warnings


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
