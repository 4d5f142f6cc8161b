"""Programs with bindings, as folders that a World serves."""

from __future__ import annotations

import json
from pathlib import Path


def folder(path: Path, source: str, **sections: object) -> str:
    """A program's folder with its configuration; `sections`: keys of the wrangler file."""
    src = path / "src"
    src.mkdir(parents=True)
    (src / "entry.py").write_text(source)
    config = {
        "name": "app",
        "main": "src/entry.py",
        "compatibility_date": "2026-10-01",
        "compatibility_flags": ["python_workers"],
        **sections,
    }
    (path / "wrangler.jsonc").write_text(json.dumps(config))
    return str(path)


WITH_OBJECT = {
    "durable_objects": {"bindings": [{"name": "ROOM", "class_name": "Room"}]},
    "migrations": [{"tag": "v1", "new_sqlite_classes": ["Room"]}],
}
