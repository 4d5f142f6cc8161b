"""The examples, as a reader would use them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import subprocess
import sys
import time

import httpx
import perdure
import pytest

from .runtime import EXAMPLES, serving

pytestmark = pytest.mark.system


def test_seats_are_sold_once_under_200_buyers(tmp_path) -> None:
    with serving(f"{EXAMPLES}/seats", str(tmp_path / "data")) as runtime:
        limits = httpx.Limits(max_connections=200)
        with httpx.Client(base_url=runtime.url, limits=limits, timeout=30) as client:

            def buy(number: int) -> tuple[int, str]:
                if number % 2:
                    found = client.post("/show/x/any", params={"buyer": f"b{number}"})
                else:
                    found = client.post("/show/x/book", params={"seat": number % 20 + 1, "buyer": f"b{number}"})
                return found.status_code, found.text.strip()

            with concurrent.futures.ThreadPoolExecutor(200) as pool:
                results = list(pool.map(buy, range(200)))
            sold = [seat for status, seat in results if status == 200]
            assert len(sold) == len(set(sold))
            overview = client.get("/show/x").json()
            assert overview["free"] == 100 - len(sold)
            assert set(overview["sold"]) == set(sold)
            winners = {seat: f"b{number}" for number, (status, seat) in enumerate(results) if status == 200}
            assert overview["sold"] == winners
            assert {status for status, _ in results} <= {200, 409}
            assert client.post("/show/x/any").status_code == 400


OLD_NOTEBOOK = """
from perdure.migrations import Migrations
from workers import DurableObject

class Notebook(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        Migrations((1, "notes", "CREATE TABLE notes(id INTEGER PRIMARY KEY, text TEXT NOT NULL)")).apply(ctx.storage)
    async def add(self, text):
        self.ctx.storage.sql.exec("INSERT INTO notes(text) VALUES(?)", text)
"""


def test_a_notebook_of_an_older_version_is_brought_up_to_date(tmp_path) -> None:
    (tmp_path / "notebook.py").write_text(OLD_NOTEBOOK)  # of the same name: its objects are those of the example

    async def write(address: str) -> None:
        async with perdure.connect(address) as client:
            for text in ("Plan: buy bread", "no title"):
                await client.namespace("Notebook").getByName("ann").add(text)

    with serving(str(tmp_path / "notebook.py"), str(tmp_path / "data")) as runtime:
        asyncio.run(write(runtime.address))
        assert runtime.stop() == 0
    with serving(f"{EXAMPLES}/notebook", str(tmp_path / "data")) as runtime:
        url = f"{runtime.url}/notebook/ann"
        assert httpx.post(url, params={"title": "Third", "text": "x"}).text == "3\n"
        found = httpx.get(url).json()
        assert found["version"] == 3
        assert [(note["title"], note["text"], note["tags"]) for note in found["notes"]] == [
            ("Plan", "buy bread", 0),
            ("", "no title", 0),
            ("Third", "x", 0),
        ]


@pytest.mark.timeout(180)
def test_a_follow_up_happens_once_though_everything_was_killed(tmp_path) -> None:
    """kill -9 of all processes before it is due, and again while it may be sent."""
    data = str(tmp_path / "data")
    with serving(f"{EXAMPLES}/follow-up", data) as runtime:
        plan = {"to": "ann", "text": "How was it?", "after_s": 2}
        for order in range(5):
            assert httpx.put(f"{runtime.url}/follow-up/{order}", json=plan).status_code == 201
        runtime.kill()
    for seconds in (0.3, 0.0):
        with serving(f"{EXAMPLES}/follow-up", data) as runtime:
            time.sleep(seconds)
            runtime.kill()
    with serving(f"{EXAMPLES}/follow-up", data) as runtime, httpx.Client(base_url=runtime.url) as client:
        end = time.monotonic() + 100  # one that was being sent is sent again after a minute
        while {client.get(f"/follow-up/{order}").json()["state"] for order in range(5)} != {"sent"}:
            assert time.monotonic() < end
            time.sleep(0.2)
        assert [row["text"] for row in client.get("/mailbox/ann").json()] == ["How was it?"] * 5


def test_a_plain_program_embeds_the_client(tmp_path) -> None:
    with serving(f"{EXAMPLES}/counter", str(tmp_path / "data")) as runtime:
        for expected in ("from 0 to 100, in order: True", "from 100 to 200, in order: True"):
            done = subprocess.run(
                [sys.executable, f"{EXAMPLES}/embed/count.py", runtime.address],
                capture_output=True,
                text=True,
                check=True,
            )
            assert done.stdout.strip() == expected
    done = subprocess.run([sys.executable, f"{EXAMPLES}/embed/count.py", runtime.data], capture_output=True, text=True)
    assert done.returncode == 1
    assert "error:" in done.stderr
