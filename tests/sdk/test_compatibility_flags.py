"""Compatibility date and flags reach what runs the objects (spec: config, compatibility dates)."""

from __future__ import annotations

import json

import pytest
from perdure.engine.errors import ConfigError
from perdure.sdk.program import load

MAIN = "from workers import DurableObject\n\n\nclass Room(DurableObject):\n    pass\n"


def write(folder, **settings) -> str:
    (folder / "entry.py").write_text(MAIN)
    bindings = {"bindings": [{"name": "ROOM", "class_name": "Room"}]}
    found = {"name": "rooms", "main": "entry.py", "durable_objects": bindings, **settings}
    found["migrations"] = [{"tag": "v1", "new_sqlite_classes": ["Room"]}]
    (folder / "wrangler.json").write_text(json.dumps(found))
    return str(folder)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"compatibility_date": "2026-02-23"}, False),
        ({"compatibility_date": "2026-02-24"}, True),
        ({"compatibility_date": "2026-01-01", "compatibility_flags": ["delete_all_deletes_alarm"]}, True),
        ({"compatibility_date": "2026-06-01", "compatibility_flags": ["delete_all_preserves_alarm"]}, False),
    ],
)
def test_delete_all_deletes_alarm(tmp_path, settings, expected: bool) -> None:
    (runtime,) = load(write(tmp_path, **settings)).runtimes(None).values()
    assert runtime.delete_all_deletes_alarm is expected


@pytest.mark.parametrize(
    ("flags", "phrase"),
    [
        (["delete_all_deletes_alarm", "delete_all_preserves_alarm"], "contradict each other"),
        ("python_workers", "compatibility_flags must be a list of flags"),
    ],
)
def test_flags_that_make_no_sense(tmp_path, flags, phrase: str) -> None:
    with pytest.raises(ConfigError, match=phrase):
        load(write(tmp_path, compatibility_flags=flags))


CHANGES = {
    # flag → its opposite, the date, what the class's runtime then says
    "python_no_global_handlers": ("disable_python_no_global_handlers", "2025-08-14", ("legacy_handler_names", False)),
    "enhanced_error_serialization": ("legacy_error_serialization", "2026-04-21", ("errors_keep_properties", True)),
    "durable_object_io_tasks_prevent_eviction": (
        "durable_object_io_tasks_allow_eviction",
        "2026-10-01",
        ("pending_prevents_eviction", True),
    ),
}


@pytest.mark.parametrize("flag", CHANGES)
def test_changes_of_the_life_of_objects(tmp_path, flag: str) -> None:
    opposite, date, (name, new) = CHANGES[flag]
    day_before = f"{date[:8]}{int(date[8:]) - 1:02}" if date[8:] != "01" else "2026-09-30"
    for settings, value in (
        ({}, new),
        ({"compatibility_date": date}, new),
        ({"compatibility_date": day_before}, not new),
        ({"compatibility_date": "2025-01-01", "compatibility_flags": [flag]}, new),
        ({"compatibility_date": date, "compatibility_flags": [opposite]}, not new),
    ):
        (runtime,) = load(write(tmp_path, **settings)).runtimes(None).values()
        assert getattr(runtime, name) is value, settings


@pytest.mark.parametrize(
    ("settings", "replies", "bounds"),
    [
        ({}, True, True),
        ({"compatibility_date": "2026-04-07"}, True, True),
        ({"compatibility_date": "2026-04-06"}, False, True),
        ({"compatibility_date": "2026-03-02"}, False, False),
        (
            {"compatibility_date": "2026-06-01", "compatibility_flags": ["web_socket_manual_reply_to_close"]},
            False,
            True,
        ),
        ({"compatibility_date": "2026-01-01", "compatibility_flags": ["web_socket_auto_reply_to_close"]}, True, False),
    ],
)
def test_changes_of_the_closing_of_sockets(tmp_path, settings, replies: bool, bounds: bool) -> None:
    program = load(write(tmp_path, **settings))
    (runtime,) = program.runtimes(None).values()
    assert (runtime.sockets.replies_to_close, runtime.sockets.bounds_reasons) == (replies, bounds)
    assert program.sockets == runtime.sockets
