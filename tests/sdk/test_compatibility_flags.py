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
