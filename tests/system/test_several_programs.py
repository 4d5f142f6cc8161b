"""Two programs beside each other with real processes: the first has the front door, each its own modules, classes, crons."""

from __future__ import annotations

import json
import subprocess

import httpx
import pytest

from ..sdk.two_programs import both
from .runtime import PERDURE, run_failing, serving

pytestmark = pytest.mark.system


def perdure(*arguments: str) -> str:
    done = subprocess.run([PERDURE, *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_programs_and_a_reload(tmp_path) -> None:
    front, beside = both(tmp_path)
    shop = json.loads((tmp_path / "shop" / "wrangler.json").read_text())
    (tmp_path / "shop" / "wrangler.json").write_text(json.dumps({**shop, "triggers": {"crons": ["0 0 1 1 *"]}}))
    data = str(tmp_path / "data")
    with serving(front, data, beside, "--shards", "2") as runtime, httpx.Client(base_url=runtime.url) as http:
        where = "models of front late models of front models of shop late models of shop"
        assert http.get("/where").text == where
        assert http.get("/env").text == "front shop shop"
        response = http.get("/through")
        assert (response.status_code, response.text) == (201, "POST http://shop/inside body")
        perdure("trigger", "--data", data)
        listed = perdure("objects", "list", "--data", data, "--json")
        assert "scheduled" in listed
        assert "shop/Counter" in listed
        about = perdure("objects", "show", "shop/Counter/scheduled", "--data", data, "--json")
        assert '"scheduled"' in about
        (tmp_path / "shop" / "src" / "models.py").write_text("WHO = 'new models of shop'\n")
        perdure("reload", "--data", data)
        # A new connection: what is asked by an old one first is answered by the gateway that it belongs to, with the old code.
        assert httpx.get(f"{runtime.url}/where").text == where.replace(
            "models of shop late models", "new models of shop late new models"
        )
        assert runtime.stop() == 0


def test_a_program_alone_whose_service_is_elsewhere_says_what_to_do(tmp_path) -> None:
    front, _ = both(tmp_path)
    code, said = run_failing(front, str(tmp_path / "data"))
    assert code == 1
    assert "is of the program 'shop', which is not served" in said
    assert "perdure run" in said
