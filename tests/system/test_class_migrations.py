"""Class migrations with real processes: renamed, deleted, created anew, and killed in the middle."""

from __future__ import annotations

import asyncio
import glob
import json
import sqlite3
import subprocess
import time

import perdure
import pytest
from perdure.engine.ids import ClassKey
from perdure.shards.meta import LocalMeta

from .runtime import PERDURE, run_failing, serving

pytestmark = pytest.mark.system

CLASS = """
class {name}(DurableObject):
    async def put(self, value):
        await self.ctx.storage.put("value", value)
    async def get(self):
        return await self.ctx.storage.get("value")
    async def clear(self):
        await self.ctx.storage.deleteAll()
"""
V1 = {"tag": "v1", "new_sqlite_classes": ["Room", "Old"]}
V2 = {"tag": "v2", "renamed_classes": [{"from": "Room", "to": "Hall"}], "deleted_classes": ["Old"]}
V3 = {"tag": "v3", "new_sqlite_classes": ["Old"]}
OBJECTS = 150


def program(folder, classes: list[str], *steps: dict[str, object]) -> str:
    path = folder / "program"
    path.mkdir(exist_ok=True)
    text = "from workers import DurableObject\n" + "".join(CLASS.format(name=name) for name in classes)
    (path / "entry.py").write_text(text)
    bindings = [{"name": name.upper(), "class_name": name} for name in classes]
    config = {"name": "chat", "main": "entry.py", "migrations": steps, "durable_objects": {"bindings": bindings}}
    (path / "wrangler.json").write_text(json.dumps(config))
    return str(path)


def deployed(data: str) -> dict[str, object]:
    """What Meta remembers; read beside the supervisor."""
    meta = LocalMeta(f"{data}/meta.sqlite")
    try:
        return json.loads(meta.get("class_migrations") or b"{}")["chat"]
    finally:
        meta.close()


def test_a_class_is_renamed_another_deleted_and_its_name_used_anew(tmp_path) -> None:
    data = str(tmp_path / "data")

    async def fill(address: str) -> None:
        async with perdure.connect(address) as client:
            await client.namespace("Room").getByName("a").put("kept")
            old = client.namespace("Old")
            await asyncio.gather(*(old.getByName(f"o{number}").put("secret") for number in range(OBJECTS)))
            await old.getByName("o0").clear()  # nothing is left of it but its past
            for number in range(3):  # whose history is asked for has one
                key = client.classes["Old"]
                await client.operate(ClassKey(key).id_from_name(f"o{number}"), "history", class_key=key)

    async def look(address: str, class_name: str, name: str) -> object:
        async with perdure.connect(address) as client:
            return await client.namespace(class_name).getByName(name).get()

    with serving(program(tmp_path, ["Room", "Old"], V1), data) as runtime:
        asyncio.run(fill(runtime.address))
        assert runtime.stop() == 0
    old_files = len(glob.glob(f"{data}/objects/chat-Old-*/*/*.sqlite"))
    assert old_files >= OBJECTS - 1

    code, said = run_failing(program(tmp_path, ["Hall", "Old"], V1, V2), data)
    assert code == 1
    assert "Cannot apply --delete-class migration to class 'Old'" in said
    code, said = run_failing(program(tmp_path, [], V1, V2), data)
    assert (code, "New version of script does not export class 'Hall'" in said) == (1, True)
    assert deployed(data)["tag"] == "v1"
    assert _in_history(data) > 0

    with serving(program(tmp_path, ["Hall"], V1, V2), data) as runtime:
        assert asyncio.run(look(runtime.address, "Hall", "a")) == "kept"
        runtime.kill()  # most likely in the middle of the removal
    for attempt in range(3):
        with serving(program(tmp_path, ["Hall", "Old"], V1, V2, V3), data) as runtime:
            assert asyncio.run(look(runtime.address, "Hall", "a")) == "kept"
            assert asyncio.run(look(runtime.address, "Old", "o1")) is None
            if attempt < 2:
                runtime.kill()
                continue
            end = time.monotonic() + 30
            while deployed(data)["removing"]:
                assert time.monotonic() < end, runtime.text()
                time.sleep(0.05)
            assert runtime.stop() == 0
    assert deployed(data)["tag"] == "v3"
    assert deployed(data)["keys"] == {"Hall": "Room", "Old": "Old~2"}
    kept = [path for path in glob.glob(f"{data}/objects/chat-Old-*/*/*.sqlite") if _holds(path, b"secret")]
    assert kept == []
    assert _in_history(data) == 0
    assert [path for path in glob.glob(f"{data}/**/*", recursive=True) if _holds(path, b"secret")] == []

    code, said = run_failing(program(tmp_path, ["Hall"], V1), data)
    assert code == 1
    assert "tag precondition failed" in said


def test_a_reload_renames_and_deletes_while_the_rest_is_served(tmp_path) -> None:
    data = str(tmp_path / "data")

    def reload() -> subprocess.CompletedProcess[str]:
        command = [PERDURE, "reload", "--data", data]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    async def fill(address: str) -> None:
        async with perdure.connect(address) as client:
            await client.namespace("Room").getByName("a").put("kept")
            for number in range(20):
                await client.namespace("Old").getByName(f"o{number}").put("secret")

    async def look(address: str) -> object:
        async with perdure.connect(address) as client:
            assert "Old" not in client.classes
            return await client.namespace("Hall").getByName("a").get()

    with serving(program(tmp_path, ["Room", "Old"], V1), data, "--shards", "2") as runtime:
        asyncio.run(fill(runtime.address))
        program(tmp_path, ["Hall", "Old"], V1, V2)
        refused = reload()
        assert refused.returncode == 1
        assert "Cannot apply --delete-class migration to class 'Old'" in refused.stderr
        assert deployed(data)["tag"] == "v1"
        program(tmp_path, ["Hall"], V1, V2)
        done = reload()
        assert done.returncode == 0, done.stderr
        assert asyncio.run(look(runtime.address)) == "kept"
        end = time.monotonic() + 30
        while deployed(data)["removing"]:
            assert time.monotonic() < end, runtime.text()
            time.sleep(0.05)
        assert glob.glob(f"{data}/objects/chat-Old-*/*/*.sqlite") == []
        assert runtime.stop() == 0


def _in_history(data: str) -> int:
    """Objects of the first class `Old` that history knows."""
    count = 0
    for path in glob.glob(f"{data}/history/*.sqlite"):
        connection = sqlite3.connect(path)
        count += connection.execute("select count(*) from objects where class = 'chat-Old'").fetchone()[0]
        connection.close()
    return count


def _holds(path: str, text: bytes) -> bool:
    try:
        with open(path, "rb") as file:
            return text in file.read()
    except OSError:
        return False
