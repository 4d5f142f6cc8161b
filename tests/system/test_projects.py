"""A project made for the reference, served from its own folder by the commands of the README."""

from __future__ import annotations

import json
import os
import re
import subprocess

import httpx
import pytest

from .runtime import PERDURE, ROOT, serving

pytestmark = pytest.mark.system

ENTRY = """
import jinja2
from js import console
from pyodide.ffi import to_js
from workers import DurableObject, Response, WorkerEntrypoint, env

from prices import price

class Cart(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.sql = ctx.storage.sql
        self.sql.exec("create table if not exists items (name text)")

    async def add(self, name, tell):
        self.sql.exec("insert into items values (?)", name)
        await tell(self.sql.exec("select count(*) as n from items").one()["n"])

class Default(WorkerEntrypoint):
    async def scheduled(self, controller):
        await self.env.KV.put("cron", controller.cron)

    async def fetch(self, request):
        told = []
        async def tell(number):
            told.append(number)
        await self.env.CARTS.getByName("ann").add("tea", tell)
        await self.env.DB.prepare("insert into orders (item) values (?)").bind("tea").run()
        found = await self.env.DB.prepare("select item from orders").all()
        text = jinja2.Template("{{ count }} {{ items }} {{ price }} {{ secret }}").render(
            count=told, items=[row.item for row in found.results], price=price(self.env.RATES.EUR), secret=env.SECRET
        )
        console.log("answered")
        return Response(text, headers=to_js({"x-currency": self.env.CURRENCY}))
"""
WRANGLER = {
    "$schema": "node_modules/wrangler/config-schema.json",
    "name": "shop",
    "main": "src/entry.py",
    "compatibility_date": "2026-01-01",
    "compatibility_flags": ["python_workers"],
    "observability": {"enabled": True},
    "durable_objects": {"bindings": [{"name": "CARTS", "class_name": "Cart"}]},
    "migrations": [{"tag": "v1", "new_sqlite_classes": ["Cart"]}],
    "vars": {"CURRENCY": "EUR", "RATES": {"EUR": 2}},
    "kv_namespaces": [{"binding": "KV", "id": "1"}],
    "d1_databases": [{"binding": "DB", "database_name": "main", "database_id": "2"}],
    "assets": {"directory": "public"},
    "triggers": {"crons": ["0 5 * * *"]},
}
PROJECT = '[project]\nname = "shop"\nversion = "0"\ndependencies = ["webtypy>=0.1.7", "jinja2"]\n'
FILES = {
    "wrangler.jsonc": json.dumps(WRANGLER),
    "pyproject.toml": f'{PROJECT}[dependency-groups]\ndev = ["workers-py"]\n',
    ".dev.vars": 'SECRET="hush"\n',
    "public/about.html": "about\n",
    "migrations/0001_orders.sql": "create table orders (id integer primary key, item text);\n",
    "src/entry.py": ENTRY,
    "src/prices.py": "def price(rate):\n    return 3 * rate\n",
}


def commands() -> list[list[str]]:
    """The block of the README: to serve, then what is asked of the served one."""
    with open(f"{ROOT}/README.md") as file:
        (block,) = re.findall(r"```sh\n(perdure run --install.*?)```", file.read(), re.DOTALL)
    return [line.split("#")[0].split() for line in block.splitlines()]


def test_a_project_for_the_reference_runs_as_it_is(tmp_path, monkeypatch) -> None:
    for name, text in FILES.items():
        path = tmp_path / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path / "shop")
    serve, *asked = commands()
    assert serve == ["perdure", "run", "--install"]
    with serving(".", str(tmp_path / "data"), "--shards", "1", "--install") as runtime:
        env = {**os.environ, "PERDURE_ADDRESS": runtime.address}
        for command in [*asked, ["perdure", "trigger"]]:
            done = subprocess.run([PERDURE, *command[1:]], env=env, capture_output=True, text=True, timeout=30)
            assert done.returncode == 0, f"{command}: {done.stderr}"
        answer = httpx.get(f"{runtime.url}/")
        assert (answer.status_code, answer.text) == (200, "[1] ['tea'] 6 hush"), runtime.text()
        assert answer.headers["x-currency"] == "EUR"
        assert httpx.get(f"{runtime.url}/about").text == "about\n"
        assert runtime.stop() == 0
    said = runtime.text()
    assert "warning" not in said
    assert "answered" in said
    assert (tmp_path / "shop" / "src" / "worker_types.py").exists()
