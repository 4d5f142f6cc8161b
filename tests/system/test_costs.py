"""Meters, bills and quotas of real processes, and the examples of docs/costs.md."""

from __future__ import annotations

import json
import os
import subprocess
import time

import httpx
import pytest

from ..docs import blocks
from .runtime import EXAMPLES, PERDURE, ROOT, serving

pytestmark = pytest.mark.system
COUNTER = f"{EXAMPLES}/counter"


def measured(data: str) -> dict[str, dict[str, str]]:
    """Meters of a runtime's folder by object."""
    command = [PERDURE, "costs", "--data", data, "--by", "object", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    return json.loads(done.stdout)["parts"]


def test_every_call_is_on_the_bill_also_after_a_restart(tmp_path) -> None:
    data = str(tmp_path / "data")
    for already in (0, 1):
        with serving(COUNTER, data, "--shards", "2") as runtime, httpx.Client(base_url=runtime.url) as http:
            for name, calls in (("a", 5), ("b", 3), ("c", 1)):
                for _ in range(calls):
                    http.post(f"/counter/{name}/increment").raise_for_status()
            assert runtime.stop() == 0
        parts = measured(data)
        counted = {name.rpartition("/")[2]: part["requests"] for name, part in parts.items()}
        assert counted == {name: str(calls * (already + 1)) for name, calls in (("a", 5), ("b", 3), ("c", 1))}
        assert all(0 < float(part["gb_s"]) < 1 for part in parts.values())
        assert all(float(part["stored_gb"]) > 0 for part in parts.values())


def test_a_running_runtime_gives_the_bill_up_to_now(tmp_path) -> None:
    data = str(tmp_path / "data")
    with serving(COUNTER, data, "--shards", "2") as runtime:
        for name in ("a", "b", "b"):
            httpx.post(f"{runtime.url}/counter/{name}/increment").raise_for_status()
        parts = measured(data)
        assert {name: part["requests"] for name, part in parts.items()} == {"Counter/a": "1", "Counter/b": "2"}
        assert {name: part["requests"] for name, part in measured(data).items()} == {"Counter/a": "1", "Counter/b": "2"}
        assert runtime.stop() == 0


def test_a_kill_loses_no_more_than_counts(tmp_path) -> None:
    data = str(tmp_path / "data")
    with serving(COUNTER, data) as runtime:
        for _ in range(3):
            httpx.post(f"{runtime.url}/counter/a/increment").raise_for_status()
        runtime.kill()
    with serving(COUNTER, data) as runtime:
        assert httpx.post(f"{runtime.url}/counter/a/increment").text == "4\n"
        assert runtime.stop() == 0
    (part,) = measured(data).values()
    assert 1 <= int(part["requests"]) <= 4


def until_refused(url: str, names: list[str], seconds: float = 20.0) -> tuple[int, httpx.Response]:
    """Count up until a quota refuses: how many calls went through, and the refusal."""
    end = time.monotonic() + seconds
    count = 0
    with httpx.Client(base_url=url) as http:
        while time.monotonic() < end:
            response = http.post(f"/counter/{names[count % len(names)]}/increment")
            if response.status_code != 200:
                return count, response
            count += 1
            time.sleep(0.02)
    raise AssertionError(f"{count} calls and no refusal")


def test_a_quota_holds_over_all_shards_and_over_a_restart(tmp_path) -> None:
    data, config = str(tmp_path / "data"), tmp_path / "perdure.toml"
    config.write_text("shards = 2\n[quotas]\nrequests_per_day = 20\n")
    names = [f"n{number}" for number in range(16)]
    with serving(COUNTER, data, "--config", str(config)) as runtime:
        count, response = until_refused(runtime.url, names)
        assert count >= 20 // 2  # neither shard had all of them
        assert response.status_code == 429
        assert "The quota requests_per_day is used up" in response.text
        deadline = time.monotonic() + 10
        while any(httpx.get(f"{runtime.url}/counter/{name}").status_code != 429 for name in names):
            assert time.monotonic() < deadline, "some shard goes on"
        assert "quota_used_up" in runtime.text()
        assert runtime.stop() == 0
    with serving(COUNTER, data, "--config", str(config)) as runtime:
        count, response = until_refused(runtime.url, names)
        assert response.status_code == 429
        assert count < 20  # at once, but for the moment that the shards need to say what they have
        assert runtime.stop() == 0
    with serving(COUNTER, data) as runtime:  # without the quota it goes on
        assert httpx.get(f"{runtime.url}/counter/n0").status_code == 200


def test_a_quota_of_stored_bytes_refuses_writes_only(tmp_path) -> None:
    data, config = str(tmp_path / "data"), tmp_path / "perdure.toml"
    config.write_text("[quotas]\nstored_bytes = 4096\n")
    with serving(COUNTER, data) as runtime:
        assert httpx.post(f"{runtime.url}/counter/a/increment").text == "1\n"
        assert runtime.stop() == 0
    with serving(COUNTER, data, "--config", str(config)) as runtime:
        _, response = until_refused(runtime.url, ["a"])
        assert "stored_bytes" in response.text
        assert httpx.post(f"{runtime.url}/counter/new/sql-increment").status_code != 200
        assert httpx.get(f"{runtime.url}/counter/a").status_code == 200
        assert runtime.stop() == 0


def test_the_page_on_costs_is_true(tmp_path) -> None:
    with open(f"{ROOT}/docs/costs.md") as file:
        found = blocks(file.read())
    environment = {**os.environ, "PATH": f"{os.path.dirname(PERDURE)}:{os.environ['PATH']}"}
    shown = 0
    for block in found:
        if block.kind == "file":
            (tmp_path / block.target).write_text(block.text)
            continue
        for command, expected in block.commands():
            done = subprocess.run(
                ["sh", "-c", command],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=20,
                check=True,
            )
            assert done.stdout == expected, command
            shown += 1
    assert shown >= 3
    from perdure.cli.settings import read_file

    assert read_file(str(tmp_path / "perdure.toml"))["quotas"]
