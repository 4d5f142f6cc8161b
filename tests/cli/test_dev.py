"""What `perdure dev` takes for a change."""

from __future__ import annotations

import os
from pathlib import Path

from perdure.cli.dev import Seen, Watch, changed, look


def test_sources_and_settings_are_looked_at_and_nothing_else(tmp_path: Path) -> None:
    for name in ("a.py", "b/c.py", "wrangler.toml", "b/x.jsonc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    for name in (".git/x.py", "__pycache__/a.py", "data/log/y.json", "notes.txt", ".a.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    found = look(str(tmp_path), str(tmp_path / "data"))
    assert sorted(os.path.relpath(path, tmp_path) for path in found) == ["a.py", "b/c.py", "b/x.jsonc", "wrangler.toml"]


def test_new_gone_and_different_files_are_changes() -> None:
    before: Seen = {"a": (1, 1), "b": (1, 1), "c": (1, 1)}
    assert changed(before, {"a": (1, 1), "b": (2, 1), "d": (1, 1)}) == ["b", "c", "d"]
    assert changed(before, before) == []


def test_a_reload_comes_once_when_nothing_changes_any_more() -> None:
    looks = iter([{"a": (1, 1)}, {"a": (1, 1)}, {"a": (2, 1)}, {"a": (3, 9)}, {"a": (3, 9)}, {"a": (3, 9)}])
    reloads: list[list[str]] = []
    watch = Watch(lambda: next(looks), reloads.append)
    steps: list[int] = []
    for _ in range(5):
        watch.step()
        steps.append(len(reloads))
    assert steps == [0, 0, 0, 1, 1]
    assert reloads == [["a"]]
