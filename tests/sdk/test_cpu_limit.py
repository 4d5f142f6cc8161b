"""`limits.cpu_ms` of a wrangler file."""

from __future__ import annotations

import json

import pytest
from perdure.engine.errors import ConfigError
from perdure.sdk import config


def _read(folder, limits: object) -> config.Config:
    (folder / "main.py").write_text("")
    path = folder / "wrangler.json"
    path.write_text(json.dumps({"name": "program", "main": "main.py", "limits": limits}))
    return config.read(str(path))


def test_cpu_ms_is_the_budget_of_a_turn(tmp_path) -> None:
    assert _read(tmp_path, {"cpu_ms": 300_000}).limits == {"turn_ms_max": 300_000}
    assert _read(tmp_path, {}).limits == {}


@pytest.mark.parametrize("value", [0, 300_001, "7", True, 1.5])
def test_other_values_are_refused(tmp_path, value) -> None:
    with pytest.raises(ConfigError, match="cpu_ms"):
        _read(tmp_path, {"cpu_ms": value})


def test_limits_that_are_no_table_are_refused(tmp_path) -> None:
    with pytest.raises(ConfigError, match="must be a table"):
        _read(tmp_path, 7)
