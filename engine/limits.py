"""All bounds in one place, with units in their names and the reason beside each.

Reaching one is a typed error or back-pressure, never silent growth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import cast

from .errors import ConfigError

VALUE_BYTES_MAX = 32 << 20  # one RPC value or message (spec: 32 MiB)
STREAM_CHUNK_BYTES = 256 << 10  # small enough that 64 streams of one link hold 16 MiB
STREAM_CREDIT_BYTES = 1 << 20  # what a writer may have unread on the way
BODY_INLINE_BYTES_MAX = 1 << 20  # bodies up to this travel in the call itself
OF_CLASS = (
    "history_days",
    "history_object_bytes_max",
    "object_bytes_max",
    "mailbox_length_max",
    "mailbox_bytes_max",
    "mailbox_age_ms_max",
    "soft_limit_rps",
    "soft_limit_enforce",
    "idempotency_window_ms",
    "idempotency_keys_max",
    "idempotency_bytes_max",
    "idempotency_answer_bytes_max",
    "critical_section_ms_max",
    "statement_cpu_ms_max",
    "cursor_buffer_bytes_max",
    "turn_ms_max",
    "memory_mb",
    "socket_attachment_bytes_max",
    "sockets_max",
)
"""Bounds that a class may have of its own: those of single objects. The others are of a whole shard."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Settings of one shard. Defaults are what the documentation promises."""

    idle_hibernate_ms: int = 10_000  # spec/objects.md: hibernated after 10 s without events
    open_databases_max: int = 2_000  # an open connection costs about 100 KiB and four descriptors
    residents_max: int = 100_000
    residents_bytes_max: int = 1 << 30  # of objects and their open databases as `residents` estimates them
    unattended_ms_max: int = 70_000  # spec/objects.md: not hibernatable, no events for 70 to 140 s: evicted
    pending_io_ms_max: int = 900_000  # waitUntil, and each thing that an object waits for (spec: 15 min)
    pre_shutdown_ms_max: int = 10_000  # what preShutdown may take (spec: 10 s)
    mailbox_length_max: int = 4_096  # events waiting for one object; above it callers get Overloaded
    mailbox_bytes_max: int = 64 << 20
    mailbox_age_ms_max: int = 30_000
    soft_limit_rps: int = (
        1_000  # requests/s of one object, over 10 s: above it the log advises to shard (spec/limits.md)
    )
    soft_limit_enforce: bool = False  # refuse what is above it, instead of serving what can be served
    idempotency_window_ms: int = 86_400_000  # how long an object remembers what it answered to a call with a key
    idempotency_keys_max: int = 10_000  # answers of one object; above it calls with new keys get Overloaded
    idempotency_bytes_max: int = 16 << 20
    idempotency_answer_bytes_max: int = 256 << 10  # a larger one is not kept: a repeat is told so, and does not run
    critical_section_ms_max: int = 30_000  # blockConcurrencyWhile and transaction() (spec: 30 s)
    critical_section_depth_max: int = 64
    hand_off_wait_ms_max: int = (
        250  # what running events get before a hand-off takes their storage; others wait so long
    )
    commit_ms_max: int = 30_000  # from a write to its being durable; above it the object is reset (spec: 30 s)
    key_and_value_bytes_max: int = 2 << 20  # spec/limits.md
    object_bytes_max: int = 10**10  # spec/limits.md: 10 GB, of 10^9 bytes
    statement_cpu_ms_max: int = 30_000  # one SQL statement, or one step of a cursor; the spec bounds whole invocations
    legacy_key_bytes_max: int = 2_048  # classes with the key-value backend
    legacy_value_bytes_max: int = 131_072
    sql_statement_bytes_max: int = 100_000  # of UTF-8; this and what follows: workerd's values (spec/limits.md)
    sql_statement_cache_bytes: int = 1 << 20  # of SQL text, of one object
    sql_row_bytes_max: int = 4 << 20  # a text, a blob or a row; programs are told 2 MB
    sql_parameters_max: int = 100
    sql_columns_max: int = 100
    sql_function_arguments_max: int = 127
    sql_pattern_bytes_max: int = 50  # of LIKE and GLOB
    sql_expression_depth_max: int = 100
    sql_compound_terms_max: int = 5
    sql_operations_max: int = 25_000  # of SQLite's virtual machine, in one program
    sql_trigger_depth_max: int = 10
    cursor_buffer_bytes_max: int = 16 << 20  # a cursor still open when its turn ends is read to memory up to here
    delete_all_overwrite_bytes_max: int = 32 << 20  # above it deleteAll() frees pages as they are: zeros take seconds
    wal_bytes_checkpoint: int = 1 << 20  # checkpoint without sync above this
    turn_ms_max: int = 30_000  # of one turn without a suspension (spec: 30 s of CPU); above it the object is reset
    memory_mb: int = 128  # MiB that an object may have grown by, by estimate (spec: 128 MB an isolate)
    sockets_max: int = 32_768  # that hibernate, of one object (spec/limits.md)
    socket_attachment_bytes_max: int = 16_384  # what a socket keeps while its object sleeps; at least 2,048
    socket_lost_ms_max: int = 10_000  # nobody says that he holds a socket's connection: it is lost (1006)
    socket_backlog_bytes_max: int = 16 << 20  # what an object sends while it does not know yet who holds its sockets
    shard_memory_soft_mb: int = 0  # above it idle objects leave memory, then the largest one; 0: 60 % of its share
    shard_memory_hard_mb: int = 0  # above it the shard restarts; 0: 80 % of its share of the machine's memory
    shard_renew: bool = True  # give a shard that sleeps a new process when it is much larger than it began
    shard_renew_growth_mb: int = 12  # MiB, and a tenth of what it began with: above it
    quiescent_rounds: int = 4  # loop rounds without a resumed task after which a suspended turn ends
    alarm_wall_ms_max: int = 900_000  # one run (spec/limits.md: 15 min)
    alarms_per_second_max: int = 1_000  # begun by one shard: what an outage left over must not fire in one instant
    alarms_running_max: int = 1_000  # at once in one shard; the others wait
    log_bytes_max: int = 256 << 20
    log_page_images_max: int = 262_144  # 1 GiB of page images
    log_live_objects_max: int = 20_000
    segment_bytes: int = 16 << 20
    history_days: int = 30  # spec/point-in-time-recovery: how far back an object can be restored
    history_object_bytes_max: int = 64 << 20  # and twice the object's size: beyond it older points are thinned
    history_bytes_max: int = 8 << 30  # of the data folder: beyond it the oldest is thinned, of whatever object
    sync_inline_ms_max: float = 1.5  # syncs come back to the loop when this many ms are not passed for a while
    sync_thread_ms_min: float = 5.0  # one sync slower than this moves them to a thread

    @classmethod
    def from_settings(cls, settings: Mapping[str, object]) -> Limits:
        """Bounds that an operator set, by name. Raises ConfigError: unknown, not a positive number of the right type."""
        return cls(**_checked("limits", settings, [field.name for field in fields(cls)]))  # pyright: ignore[reportArgumentType]

    def of_classes(self, settings: Mapping[str, object], known: Iterable[str] | None = None) -> dict[str, Limits]:
        """Class name → its bounds, of the classes that an operator set some for. `known`: the classes of the program.

        Raises ConfigError: an unknown class, a bound that classes do not have, no positive number of the right type.
        """
        names = None if known is None else list(known)
        found: dict[str, Limits] = {}
        for name, table in settings.items():
            if names is not None and name not in names:
                near = get_close_matches(name, names, 1)
                hint = f"did you mean {near[0]}?" if near else f"it has: {', '.join(sorted(names)) or 'none'}"
                raise ConfigError(f"classes: the program has no class '{name}'", hint=hint)
            if not isinstance(table, dict):
                raise ConfigError(
                    f"classes.{name} must be a table of bounds", hint=f"[classes.{name}], then {OF_CLASS[0]} = 7"
                )
            found[name] = replace(self, **_checked(f"classes.{name}", cast("dict[str, object]", table), OF_CLASS))  # pyright: ignore[reportArgumentType]
        return found


def _checked(source: str, settings: Mapping[str, object], known: Iterable[str]) -> dict[str, float]:
    """Bounds by name, each a positive number of its type. Raises ConfigError."""
    defaults = {field.name: field.default for field in fields(Limits)}
    names = list(known)
    given: dict[str, float] = {}
    for name, value in settings.items():
        if name not in names:
            what = "is a bound of the whole shard" if name in defaults else "unknown bound"
            text = f"{name} {what}" if name in defaults else f"{what} '{name}'"
            hint = (
                f"put it into [limits]; classes have {', '.join(names)}"
                if name in defaults
                else f"known: {', '.join(names)}"
            )
            raise ConfigError(f"{source}: {text}", hint=hint)
        if isinstance(defaults[name], bool):
            if not isinstance(value, bool):
                raise ConfigError(f"{source}: {name} must be true or false, got {value!r}")
            given[name] = value
            continue
        whole = isinstance(defaults[name], int)
        if isinstance(value, bool) or not isinstance(value, int | float) or (whole and not isinstance(value, int)):
            raise ConfigError(f"{source}: {name} must be a {'whole ' if whole else ''}number, got {value!r}")
        if value <= 0:
            raise ConfigError(f"{source}: {name} must be above 0, got {value!r}")
        given[name] = value
    return given
