"""Class migrations carried out: what Meta holds, what is removed, also when it is cut off."""

from __future__ import annotations

import asyncio
import json

import pytest
from perdure.bindings.kinds import check, check_served
from perdure.engine.errors import ConfigError, StorageFull
from perdure.shards.class_migrations import KEY, ClassMigrations, import_apart
from perdure.shards.meta import LocalMeta
from perdure.shards.removal import Removal

LIMITS = {"name": "LIMITS", "namespace_id": "1", "simple": {"limit": 1, "period": 10}}
V1 = {"tag": "v1", "new_sqlite_classes": ["Room", "Old"]}
V2 = {"tag": "v2", "renamed_classes": [{"from": "Room", "to": "Hall"}]}
V3 = {"tag": "v3", "deleted_classes": ["Old"]}


class Scene:
    """A program in a folder whose configuration a test changes."""

    def __init__(self, tmp_path) -> None:
        self.folder = tmp_path
        self.path = str(tmp_path / "program")
        (tmp_path / "program").mkdir()
        self.meta = LocalMeta(str(tmp_path / "meta.sqlite"))
        self.events: list[str] = []
        self.imports = 0
        self.exported = frozenset({"Room", "Old", "Hall"})
        self.migrations = self.anew()

    def anew(self) -> ClassMigrations:
        """As after a restart."""
        self.migrations = ClassMigrations(
            self.meta, lambda level, event, fields: self.events.append(event), self._exported
        )
        return self.migrations

    async def _exported(self, *_args: object) -> frozenset[str]:
        self.imports += 1
        return self.exported

    def write(self, *steps: dict[str, object], **more: object) -> None:
        found = {"name": "chat", "main": "entry.py", "migrations": list(steps), **more}
        with open(f"{self.path}/wrangler.json", "w") as file:
            json.dump(found, file)
        with open(f"{self.path}/entry.py", "a"):
            pass

    def prepare(self):
        return asyncio.run(self.migrations.prepare(self.path, None))

    def stored(self) -> dict[str, object]:
        return json.loads(self.meta.get(KEY) or b"{}").get("chat", {})


def test_the_last_tag_is_remembered_and_only_later_steps_are_applied(tmp_path) -> None:
    scene = Scene(tmp_path)
    scene.write(V1)
    assert scene.prepare().keys == {"Room": "Room", "Old": "Old"}
    assert scene.stored()["tag"] == "v1"
    scene.anew()
    scene.write(V1, V2, V3)
    config = scene.prepare()
    assert config.keys == {"Hall": "Room"}
    assert scene.stored()["removing"] == ["Old"]
    assert scene.events == ["migration_applied"] * 3
    assert scene.prepare().keys == {"Hall": "Room"}
    assert scene.imports == 2  # the program is imported apart only when there is something to apply


def test_a_refused_configuration_changes_nothing(tmp_path) -> None:
    scene = Scene(tmp_path)
    scene.write(V1)
    scene.prepare()
    before = scene.meta.get(KEY)
    scene.exported = frozenset({"Room"})
    scene.write(V1, V2, {"tag": "v3", "new_classes": ["New"]})
    with pytest.raises(ConfigError, match="10070"):
        scene.prepare()
    bound = {"bindings": [{"name": "OLD", "class_name": "Old"}]}
    scene.write(V1, V2, V3, durable_objects=bound)
    with pytest.raises(ConfigError, match="delete-class"):
        scene.prepare()
    assert scene.meta.get(KEY) == before


@pytest.mark.parametrize(
    ("more", "phrase"),
    [
        ({"kv_namespaces": [{"id": "x"}]}, "'binding' is missing"),
        ({"vectorize": [{"binding": "V"}]}, "vectorize"),
        ({"vars": {"LIMITS": 1}, "ratelimits": [LIMITS]}, "two bindings or variables are named LIMITS"),
        ({"kv_namespaces": [{"binding": "A"}], "d1_databases": [{"binding": "A"}]}, "are named A"),
    ],
)
def test_bindings_are_looked_at_before_a_migration_is_applied(tmp_path, more, phrase: str) -> None:
    scene = Scene(tmp_path)
    scene.write(V1, **more)
    migrations = ClassMigrations(scene.meta, lambda *_: None, scene._exported, check=check)
    with pytest.raises(ConfigError, match=phrase):
        asyncio.run(migrations.prepare_all([scene.path], None))
    assert scene.meta.get(KEY) is None


def test_what_the_operator_says_is_looked_at_before_anything_is_applied(tmp_path) -> None:
    scene = Scene(tmp_path)
    scene.write(V1, ai={"binding": "AI"})
    settings: dict[str, object] = {}
    migrations = ClassMigrations(
        scene.meta, lambda *_: None, scene._exported, check=lambda config: check_served(config, settings)
    )
    with pytest.raises(ConfigError, match="nothing says where models are"):
        asyncio.run(migrations.prepare_all([scene.path], None))
    assert scene.meta.get(KEY) is None
    settings["ai"] = {"url": "http://localhost:1/v1"}
    asyncio.run(migrations.prepare_all([scene.path], None))
    assert scene.stored()["tag"] == "v1"


def test_a_consumer_without_a_handler_is_found_before_anything_is_applied(tmp_path) -> None:
    scene = Scene(tmp_path)
    classes = (
        "from workers import DurableObject, WorkerEntrypoint\nclass Room(DurableObject): pass\nclass Old(Room): pass\n"
    )
    scene.write(V1, queues={"consumers": [{"queue": "jobs"}]}, compatibility_date="2026-01-01")
    migrations = ClassMigrations(scene.meta, lambda *_: None, import_apart)
    with open(f"{scene.path}/entry.py", "w") as file:
        file.write(f"{classes}class Default(WorkerEntrypoint): pass\n")
    with pytest.raises(ConfigError, match=r"consumes the queue 'jobs' and has no queue\(\) handler"):
        asyncio.run(migrations.prepare_all([scene.path], None))
    assert scene.meta.get(KEY) is None
    with open(f"{scene.path}/entry.py", "a") as file:
        file.write("class Default(WorkerEntrypoint):\n    async def queue(self, batch): pass\n")
    asyncio.run(migrations.prepare_all([scene.path], None))
    assert scene.stored()["tag"] == "v1"


def test_an_unknown_stored_tag(tmp_path) -> None:
    scene = Scene(tmp_path)
    scene.write(V1, V2)
    scene.prepare()
    scene.write(V1)
    with pytest.raises(ConfigError, match="precondition"):
        scene.prepare()


def test_programs_on_one_folder_do_not_know_of_each_other(tmp_path) -> None:
    scene = Scene(tmp_path)
    scene.write(V1)
    scene.prepare()
    scene.write({"tag": "first", "new_classes": ["Room"]}, name="other")
    assert scene.prepare().deployed.tag == "first"
    assert scene.stored()["tag"] == "v1"


def test_a_plain_file_has_no_migrations(tmp_path) -> None:
    scene = Scene(tmp_path)
    (tmp_path / "app.py").write_text("")
    assert asyncio.run(scene.migrations.prepare(str(tmp_path / "app.py"), None)) is None
    assert scene.meta.get(KEY) is None


def test_a_class_is_gone_when_every_shard_says_so(tmp_path) -> None:
    scene = Scene(tmp_path)
    scene.write(V1, V3)
    scene.prepare()
    scene.migrations.removed("chat-Old", 0, 2)
    scene.migrations.removed("chat-Old", 0, 2)
    scene.migrations.removed("chat-Room", 1, 2)
    assert scene.stored()["removing"] == ["Old"]
    scene.anew()  # the count begins anew with the supervisor: shards say it again at their start
    scene.migrations.removed("chat-Old", 1, 2)
    assert scene.stored()["removing"] == ["Old"]
    scene.migrations.removed("chat-Old", 0, 2)
    assert scene.stored()["removing"] == []
    assert scene.prepare().deployed.removing == ()


def test_the_program_is_imported_apart(tmp_path) -> None:
    scene = Scene(tmp_path)
    scene.write(V1)
    with open(f"{scene.path}/entry.py", "w") as file:
        file.write(
            "from workers import DurableObject\nprint('hello')\n"
            "class Room(DurableObject): pass\nclass Old(DurableObject): pass\nclass Plain: pass\n"
        )
    found = asyncio.run(import_apart(scene.path, None, {}))
    assert found == {"Room", "Old", "Plain"}
    with open(f"{scene.path}/entry.py", "w") as file:
        file.write("import nothing_of_that_name\n")
    with pytest.raises(ConfigError, match="nothing_of_that_name"):
        asyncio.run(import_apart(scene.path, None, {}))
    with open(f"{scene.path}/entry.py", "w") as file:
        file.write("import os\nos._exit(7)\n")
    with pytest.raises(ConfigError, match="ended with code 7"):
        asyncio.run(import_apart(scene.path, None, {}))


class Objects:
    """The objects of a shard: of each some are listed, of some only history is left."""

    def __init__(self, listed: int, past: int) -> None:
        self.listed = {number.to_bytes(32, "big") for number in range(listed)}
        self.past = {number.to_bytes(32, "big") for number in range(listed + past)}
        self.fails: list[Exception] = []

    async def list(self, limit: int, class_key: str | None = None) -> dict[str, object]:
        assert class_key == "chat-Old"
        return {"objects": [{"id": each.hex()} for each in sorted(self.listed)[:limit]]}

    async def delete(self, key, object_id: bytes) -> bool:
        if self.fails:
            raise self.fails.pop()
        self.past.discard(object_id)
        existed = object_id in self.listed
        self.listed.discard(object_id)
        return existed

    async def ask(self, job: str, *, class_key: str, groups: list[int], limit: int) -> dict[str, object]:
        assert (job, class_key, groups) == ("of_class", "chat-Old", [0, 1])
        return {"objects": [each.hex() for each in sorted(self.past)[:limit]]}


def removal(objects: Objects, events: list[str]) -> Removal:
    async def sleep(_seconds: float) -> None:
        events.append("sleep")

    return Removal(objects, objects, objects.ask, [0, 1], lambda level, event, fields: events.append(event), sleep)


def test_every_object_goes_and_what_only_history_knows() -> None:
    objects, events, done = Objects(1_200, 30), [], []
    asyncio.run(removal(objects, events).run(["chat-Old"], done.append))
    assert (objects.listed, objects.past, done, events) == (set(), set(), ["chat-Old"], ["class_removed"])


def test_what_fails_is_tried_again() -> None:
    objects, events, done = Objects(3, 0), [], []
    objects.fails = [StorageFull("full"), StorageFull("full")]
    asyncio.run(removal(objects, events).run(["chat-Old"], done.append))
    assert (objects.listed, done) == (set(), ["chat-Old"])
    assert events == ["class_removal_waits", "sleep", "class_removal_waits", "sleep", "class_removed"]


def test_a_removal_that_was_cut_off_takes_what_is_left() -> None:
    objects, events, done = Objects(40, 5), [], []
    objects.fails = [KeyboardInterrupt()]  # type: ignore[list-item]
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(removal(objects, events).run(["chat-Old"], done.append))
    assert done == []
    asyncio.run(removal(objects, events).run(["chat-Old"], done.append))
    assert (objects.past, done) == (set(), ["chat-Old"])


def written(folder, name: str, **keys: object) -> str:
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "entry.py").write_text("")
    (folder / name / "wrangler.json").write_text(json.dumps({"name": name, "main": "entry.py", **keys}))
    return str(folder / name)


@pytest.mark.parametrize("target_first", [True, False])
def test_a_class_goes_from_one_program_to_the_other(tmp_path, target_first: bool) -> None:
    scene = Scene(tmp_path)

    def prepare(*paths: str):
        order = paths if target_first else paths[::-1]
        return {found.name: found for found in asyncio.run(scene.migrations.prepare_all(order, None))}

    new, old = (
        written(tmp_path, "new"),
        written(tmp_path, "old", migrations=[{"tag": "v1", "new_sqlite_classes": ["Room"]}]),
    )
    assert prepare(new, old)["old"].keys == {"Room": "Room"}
    taken = [{"from": "Room", "from_script": "old", "to": "Hall"}]
    new = written(tmp_path, "new", migrations=[{"tag": "v1", "transferred_classes": taken}])
    bindings = [{"name": "ROOM", "class_name": "Hall", "script_name": "new"}]
    old = written(
        tmp_path,
        "old",
        migrations=[{"tag": "v1", "new_sqlite_classes": ["Room"]}],
        durable_objects={"bindings": bindings},
    )
    found = prepare(new, old)
    assert found["new"].keys == {"Hall": "=old-Room"}
    assert found["new"].sqlite == {"Hall"}
    assert found["old"].keys == {}
    scene.anew()
    assert prepare(new, old)["new"].keys == {"Hall": "=old-Room"}


@pytest.mark.parametrize("target_first", [True, False])
def test_the_same_by_exports(tmp_path, target_first: bool) -> None:
    scene = Scene(tmp_path)
    kind = "durable-object"
    new = written(
        tmp_path, "new", exports={"Room": {"type": kind, "state": "expecting-transfer", "transfer_from": "old"}}
    )
    old = written(tmp_path, "old", exports={"Room": {"type": kind}, "Old": {"type": kind}})
    order = [new, old] if target_first else [old, new]
    asyncio.run(scene.migrations.prepare_all(order, None))
    assert json.loads(scene.meta.get(KEY) or b"{}")["new"]["keys"] == {}
    written(
        tmp_path,
        "old",
        exports={"Room": {"type": kind, "state": "transferred", "transferred_to": "new"}, "Old": {"type": kind}},
    )
    asyncio.run(scene.migrations.prepare_all(order, None))
    stored = json.loads(scene.meta.get(KEY) or b"{}")
    assert stored["new"]["keys"] == {"Room": "=old-Room"}
    assert stored["old"]["keys"] == {"Old": "Old"}
    assert scene.events.count("exports_applied") >= 3


def test_two_programs_of_one_name_are_refused(tmp_path) -> None:
    scene = Scene(tmp_path)
    first = written(tmp_path, "a")
    with pytest.raises(ConfigError, match="two programs are named 'a'"):
        asyncio.run(scene.migrations.prepare_all([first, first], None))


def test_a_class_that_another_program_binds_is_not_deleted(tmp_path) -> None:
    scene = Scene(tmp_path)
    steps = [{"tag": "v1", "new_sqlite_classes": ["Room"]}, {"tag": "v2", "deleted_classes": ["Room"]}]
    first = written(tmp_path, "a", migrations=steps)
    bindings = [{"name": "ROOM", "class_name": "Room", "script_name": "a"}]
    second = written(tmp_path, "b", durable_objects={"bindings": bindings})
    with pytest.raises(ConfigError, match="Cannot apply --delete-class migration to class 'Room'"):
        asyncio.run(scene.migrations.prepare_all([first, second], None))


def test_a_class_that_another_program_binds_by_its_name_of_before_is_renamed_and_not_deleted(tmp_path) -> None:
    scene = Scene(tmp_path)
    scene.exported = frozenset({"Hall"})
    steps = [
        {"tag": "v1", "new_sqlite_classes": ["Room"]},
        {"tag": "v2", "renamed_classes": [{"from": "Room", "to": "Hall"}]},
    ]
    first = written(tmp_path, "a", migrations=steps)
    bindings = [{"name": "ROOM", "class_name": "Room", "script_name": "a"}]
    second = written(tmp_path, "b", durable_objects={"bindings": bindings})
    asyncio.run(scene.migrations.prepare_all([first, second], None))
    before = scene.meta.get(KEY)
    assert json.loads(before or b"")["a"]["keys"] == {"Hall": "Room"}
    written(tmp_path, "a", migrations=[*steps, {"tag": "v3", "deleted_classes": ["Hall"]}])
    scene.exported = frozenset()
    with pytest.raises(ConfigError, match="Cannot apply --delete-class migration to class 'Hall'"):
        asyncio.run(scene.migrations.prepare_all([first, second], None))
    assert scene.meta.get(KEY) == before


def test_a_name_of_before_that_is_used_anew_does_not_keep_what_was_renamed(tmp_path) -> None:
    scene = Scene(tmp_path)
    scene.exported = frozenset({"Room"})
    steps = [
        {"tag": "v1", "new_sqlite_classes": ["Room"]},
        {"tag": "v2", "renamed_classes": [{"from": "Room", "to": "Hall"}]},
        {"tag": "v3", "new_sqlite_classes": ["Room"], "deleted_classes": ["Hall"]},
    ]
    first = written(tmp_path, "a", migrations=steps)
    second = written(
        tmp_path, "b", durable_objects={"bindings": [{"name": "R", "class_name": "Room", "script_name": "a"}]}
    )
    asyncio.run(scene.migrations.prepare_all([first, second], None))
    assert list(json.loads(scene.meta.get(KEY) or b"")["a"]["keys"]) == ["Room"]
