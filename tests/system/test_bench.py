"""The bench suite runs and reports; what it measures decides nothing here."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest

from ..docs import blocks
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
    done = run(
        "sql_point_select_one", "kv_get_cached", "cold_first_write", "--json", str(path), "--folder", str(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(path.read_text())["rows"]
    assert [row["name"] for row in rows] == ["sql_point_select_one", "kv_get_cached", "cold_first_write"]
    assert {row["unit"] for row in rows} == {"us"}
    assert all(row["baseline"] > 0 and row["measured"] > 0 and row["ratio"] > 0 for row in rows)


def quick_rows(tmp_path, *names: str) -> dict[str, dict[str, float]]:
    path = tmp_path / "figures.json"
    done = run(*names, "--quick", "--json", str(path), "--folder", str(tmp_path))
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(path.read_text())["rows"]}
    assert list(rows) == list(names)
    assert all(row["measured"] > 0 and row["ratio"] > 0 for row in rows.values())
    return rows


@pytest.mark.timeout(110)
def test_it_measures_stalls_and_memory(tmp_path) -> None:
    """Its own checks are in it: the export is readable, the restored state is right."""
    kinds = ("idle", "import", "commit", "checkpoint", "fold", "export", "restore", "vacuum")
    rows = quick_rows(tmp_path, *(f"stall_{kind}" for kind in kinds), "memory_shard", "memory_archivist")
    assert all(rows[name]["client_late_ms"] >= 0 for name in rows if name.startswith("stall"))
    assert rows["memory_archivist"]["measured"] < 400


@pytest.mark.timeout(110)
def test_it_measures_recovery(tmp_path) -> None:
    rows = quick_rows(tmp_path, "recovery_serves", "recovery_up_to_date", "recovery_folds")
    assert rows["recovery_up_to_date"]["objects"] > 0
    assert rows["recovery_up_to_date"]["measured"] <= rows["recovery_folds"]["measured"], "folding delays nobody"


@pytest.mark.timeout(110)
def test_it_measures_starts_with_cold_objects(tmp_path) -> None:
    assert quick_rows(tmp_path, "start_cold_objects")["start_cold_objects"]["objects"] == 2_000


@pytest.mark.timeout(110)
def test_it_measures_what_history_costs(tmp_path) -> None:
    names = ("history_counter", "history_kv_1_KB", "history_sql_insert", "history_fold", "restore_10_MB")
    rows = quick_rows(tmp_path, *names)
    counter = rows["history_counter"]
    assert counter["measured"] < counter["log_bytes"] < counter["image_bytes"]


@pytest.mark.timeout(110)
def test_it_measures_objects_that_call_objects(tmp_path) -> None:
    rows = quick_rows(tmp_path, "chain", "fan_out", "stream_hops")
    assert rows["chain"]["times_one_hop"] > 1
    assert rows["fan_out"]["measured"] > 0
    assert rows["stream_hops"]["ratio"] > 0


def test_it_measures_fairness(tmp_path) -> None:
    row = quick_rows(tmp_path, "fairness")["fairness"]
    assert row["hot_per_s"] > 1_000
    assert row["measured"] > 0


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed: apt-get install wrk")
def test_it_measures_over_http() -> None:
    done = run("http_hot_object_durable", "--seconds", "3")
    assert done.returncode == 0, done.stderr


def test_check_exits_1_below_a_goal(monkeypatch, tmp_path) -> None:
    script = (
        "import sys, dataclasses; from bench import scenarios, __main__ as main\n"
        "found = next(s for s in scenarios.SCENARIOS if s.name == 'hot_object_echo')\n"
        "scenarios.SCENARIOS[:] = [dataclasses.replace(found, goal=50.0)]\n"
        "main.main(['hot_object_echo', '--check', '--seconds', '0.6'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "below the goal: hot_object_echo" in done.stderr
    unknown = run("nothing_like_this")
    assert unknown.returncode == 2
    assert "there are:" in unknown.stderr


def page() -> str:
    with open(f"{ROOT}/docs/benchmarks.md") as file:
        return file.read()


def test_the_page_explains_every_row() -> None:
    known = set(run("nothing_like_this").stderr.split("there are: ")[1].split()[0:])
    rows = [line.split("|")[1] for line in page().splitlines() if line.startswith("| `")]
    assert {name.strip(",") for name in known} == set(re.findall(r"`(\w+)`", " ".join(rows)))


def test_the_commands_of_the_page(tmp_path) -> None:
    commands = [line for block in blocks(page()) for line in block.text.splitlines()]
    assert commands
    for command in commands:
        assert command.startswith("scripts/bench ")
        done = run(*command.split()[1:], "--folder", str(tmp_path))
        assert done.returncode == 0, done.stderr


@pytest.mark.timeout(110)
def test_it_measures_reloads(tmp_path) -> None:
    rows = quick_rows(tmp_path, "reload", "reload_p99")
    assert rows["reload"]["failed"] == 0
    assert rows["reload_p99"]["generations"] == 2


def test_it_measures_alarms(tmp_path) -> None:
    row = quick_rows(tmp_path, "alarms")["alarms"]
    assert row["alarms"] == 400
    assert row["unit"] == "/s"
    assert row["first_late_ms"] >= 0


def test_it_sends_messages_through_a_queue(tmp_path) -> None:
    row = quick_rows(tmp_path, "queues")["queues"]
    assert row["one_process_four_storage_shards"] > 0


def test_it_measures_what_sleeping_objects_leave(tmp_path) -> None:
    row = quick_rows(tmp_path, "idle_memory")["idle_memory"]
    assert row["peak_MiB"] > row["measured"]


@pytest.mark.timeout(110)
def test_it_measures_sockets(tmp_path) -> None:
    rows = quick_rows(tmp_path, "sockets_idle", "sockets_echo", "sockets_broadcast")
    assert rows["sockets_idle"]["woken_by_one"] == 1
    assert rows["sockets_echo"]["p99_ms_at_2000"] > 0
    assert rows["sockets_broadcast"]["median_ms"] > 0


@pytest.mark.timeout(110)
def test_it_measures_hazards(tmp_path) -> None:
    rows = quick_rows(tmp_path, "hazard_spin", "hazard_hog")
    assert rows["hazard_spin"]["measured"] > 500, "somebody waited for the budget"
