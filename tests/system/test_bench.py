"""The bench suite runs and reports; what it measures decides nothing here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from .runtime import ROOT

pytestmark = pytest.mark.system


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )


def test_it_measures_both_sides_and_writes_json(tmp_path) -> None:
    path = tmp_path / "figures.json"
    done = run("hot_object_durable", "hot_object_echo_relayed", "--seconds", "0.9", "--json", str(path))
    assert done.returncode == 0, done.stderr
    rows = json.loads(path.read_text())["rows"]
    assert [row["name"] for row in rows] == ["hot_object_durable", "hot_object_echo_relayed"]
    assert all(row["baseline"] > 0 and row["measured"] > 0 and row["ratio"] > 0 for row in rows)
    assert "hot_object_durable" in done.stdout


def test_it_measures_storage_inside_one_process(tmp_path) -> None:
    path = tmp_path / "figures.json"
    done = run("kv_get_cached", "cold_first_write", "--json", str(path), "--folder", str(tmp_path))
    assert done.returncode == 0, done.stderr
    rows = json.loads(path.read_text())["rows"]
    assert [(row["name"], row["unit"]) for row in rows] == [("kv_get_cached", "us"), ("cold_first_write", "us")]
    assert all(row["baseline"] > 0 and row["measured"] > 0 and row["ratio"] > 0 for row in rows)


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed: apt-get install wrk")
def test_it_measures_over_http() -> None:
    done = run("http_hot_object_durable", "--seconds", "3")
    assert done.returncode == 0, done.stderr


def test_check_exits_1_below_a_goal(monkeypatch, tmp_path) -> None:
    script = (
        "import sys, dataclasses; from bench import scenarios, storage, __main__ as main\n"
        "storage.NAMES = ()\n"
        "found = next(s for s in scenarios.SCENARIOS if s.name == 'hot_object_echo')\n"
        "scenarios.SCENARIOS[:] = [dataclasses.replace(found, goal=50.0)]\n"
        "main.main(['--check', '--seconds', '0.6'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "below the goal: hot_object_echo" in done.stderr
    unknown = run("nothing_like_this")
    assert unknown.returncode == 2
    assert "there are:" in unknown.stderr
