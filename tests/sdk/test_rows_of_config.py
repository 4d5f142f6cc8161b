"""Rows of the configuration and of handlers that no other test holds (spec: config; objects, handlers)."""

from __future__ import annotations

import asyncio
import json

import pytest
from perdure.bindings.d1 import identity
from perdure.bindings.kinds import check
from perdure.bindings.queue_rules import consumers
from perdure.engine.errors import ConfigError
from perdure.engine.handlers import has_handler
from perdure.engine.limits import Limits
from perdure.sdk import config
from perdure.sdk.batches import MessageBatch
from perdure.sdk.class_migrations import NOTHING, Deployed, Step, plan
from perdure.sdk.config_keys import ABSENT, NOT_INHERITED
from perdure.sdk.entrypoints import WorkerEntrypoint
from perdure.sdk.program import load
from perdure.sdk.programs import load_programs
from perdure.sdk.worker_handlers import call_handler
from perdure.testing import World

BASE = {"name": "w", "main": "entry.py"}
KIND = "durable-object"
ROOM = {"durable_objects": {"bindings": [{"name": "ROOM", "class_name": "Room"}]}}
CREATED = {"migrations": [{"tag": "v1", "new_sqlite_classes": ["Room"]}]}
RENAMED = {"migrations": [*CREATED["migrations"], {"tag": "v2", "renamed_classes": [{"from": "Room", "to": "Hall"}]}]}


def write(folder, source: str = "", **keys: object) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "entry.py").write_text(source)
    (folder / "wrangler.json").write_text(json.dumps({**BASE, **keys}))
    return str(folder / "wrangler.json")


def read(folder, env_name: str | None = None, **keys: object) -> config.Config:
    return config.read(write(folder, **keys), env_name)


# ---------------------------------------------------------------- keys
FLAGS = [
    *("python_workers", "python_workflows", "python_workflows_implicit_dependencies", "experimental"),
    *("service_binding_extra_handlers", "enable_python_external_sdk"),
]


def test_flags_of_python_programs_are_accepted(tmp_path) -> None:
    found = read(tmp_path, compatibility_flags=FLAGS)
    assert found.compatibility_flags == set(FLAGS)
    assert found.warnings == ()


def test_flags_that_nobody_knows_are_named(tmp_path) -> None:
    found = read(tmp_path, compatibility_flags=["python_workers", "delete_all_deletes_alarms", "made_up"])
    assert [warning.partition(": ")[2] for warning in found.warnings] == [
        "the compatibility flag 'delete_all_deletes_alarms' is not known and changes nothing"
        "; did you mean delete_all_deletes_alarm?",
        "the compatibility flag 'made_up' is not known and changes nothing",
    ]


def test_main_and_name_are_required(tmp_path) -> None:
    for key in ("main", "name"):
        with pytest.raises(ConfigError, match=f"'{key}' is missing"):
            read(tmp_path, **{key: None})
    assert read(tmp_path, main=None, assets={"directory": "."}).main == ""


def test_an_environment_inherits_main_exports_and_assets(tmp_path) -> None:
    keys = {"exports": {"Room": {"type": KIND}}, "assets": {"directory": "."}, "logpush": True}
    found = read(tmp_path, "staging", **keys, env={"staging": {}})
    assert found.main == str(tmp_path / "entry.py")
    assert found.keys == {"Room": "Room"}
    assert found.assets is not None
    assert found.warnings == ()


@pytest.mark.parametrize("key", sorted({*NOT_INHERITED, *ABSENT}))
def test_what_an_environment_does_not_repeat_it_does_not_have(tmp_path, key: str) -> None:
    found = read(tmp_path, "staging", **{key: {"binding": "X"}}, env={"staging": {}})
    (said,) = found.warnings
    assert f"env.staging does not repeat '{key}', so it has none" in said
    assert (found.vars, found.services, found.bindings, found.sections) == ({}, (), (), {})


def test_a_list_of_migrations_in_an_environment_replaces_that_of_above(tmp_path) -> None:
    own = {"migrations": [{"tag": "e1", "new_sqlite_classes": ["Hall"]}]}
    assert read(tmp_path, "staging", **CREATED, env={"staging": own}).keys == {"Hall": "Hall"}


def test_a_class_of_another_program_needs_no_migration(tmp_path) -> None:
    bindings = [{"name": "ROOM", "class_name": "Room"}, {"name": "A", "class_name": "Alien", "script_name": "other"}]
    found = read(tmp_path, durable_objects={"bindings": bindings}, **CREATED)
    assert found.keys == {"Room": "Room"}
    assert found.warnings == ()


def test_ids_for_previews_are_accepted(tmp_path) -> None:
    found = read(
        tmp_path,
        kv_namespaces=[{"binding": "KV", "id": "1", "preview_id": "2"}],
        d1_databases=[{"binding": "DB", "database_name": "a", "database_id": "3", "preview_database_id": "4"}],
    )
    check(found)
    assert found.warnings == ()
    (item,) = found.sections["d1_databases"]  # type: ignore[misc]
    assert identity(found, item) == identity(found, {**item, "preview_database_id": "5"})
    assert identity(found, item) != identity(found, {**item, "database_id": "5"})


def test_what_a_consumer_of_a_queue_does_not_say(tmp_path) -> None:
    found = consumers(read(tmp_path, queues={"consumers": [{"queue": "jobs"}]}))["jobs"]
    assert (found.batch_size_max, found.batch_timeout_s, found.retries_max) == (10, 5, 3)
    assert (found.dead_letters, found.concurrency_max, found.retry_delay_s) == (None, None, 0)


def test_cpu_ms_that_is_not_given(tmp_path) -> None:
    assert Limits().turn_ms_max == 30_000
    found = read(tmp_path, limits={"subrequests": 50})
    assert found.limits == {}
    assert found.warnings == ()


# ---------------------------------------------------------------- compatibility dates
def test_what_older_dates_changed_holds_at_every_date(tmp_path) -> None:
    source = "from workers import DurableObject\nclass Room(DurableObject):\n    def hello(self): return 'hello'\n"
    with World(write(tmp_path, source, compatibility_date="2021-01-01", **ROOM)) as world:
        room = world.namespace("Room").getByName("a")

        async def body() -> None:
            assert await room.hello() == "hello"
            with pytest.raises(Exception, match="Fetch API cannot load: /relative"):
                await room.fetch("/relative")

        world.run(body())


# ---------------------------------------------------------------- migrations
def planned(deployed: Deployed, *steps: Step, **more: object) -> Deployed:
    return plan(deployed, steps, where="w", **more)


def test_a_migration_without_a_tag_is_refused(tmp_path) -> None:
    with pytest.raises(ConfigError, match="migrations: 'tag' is missing"):
        read(tmp_path, migrations=[{"new_sqlite_classes": ["Room"]}])


@pytest.mark.parametrize("kinds", [("new", "new_sqlite"), ("new_sqlite", "new")])
def test_the_storage_kind_of_a_class_is_fixed(kinds: tuple[str, str]) -> None:
    first, second = (Step(f"v{number}", **{kind: ("Room",)}) for number, kind in enumerate(kinds))
    with pytest.raises(ConfigError, match="already depended on by existing Durable Objects .code: 10074"):
        planned(planned(NOTHING, first), first, second)


def test_the_target_of_a_transfer_must_not_be_created_before() -> None:
    others = {"old": planned(NOTHING, Step("v1", new_sqlite=("Room",)))}
    own = planned(NOTHING, Step("v1", new_sqlite=("Hall",)))
    with pytest.raises(ConfigError, match="Hall exists: it must not be created separately"):
        planned(own, Step("v1"), Step("v2", transferred=(("Room", "old", "Hall"),)), name="new", others=others)
    assert others["old"].keys == {"Room": "Room"}


def test_nothing_is_deleted_after_a_rename_or_a_transfer() -> None:
    first, away = Step("v1", new_sqlite=("Room",)), Step("v2", renamed=(("Room", "Hall"),))
    state = planned(NOTHING, first, away, exported=("Hall",))
    assert (state.keys, state.removing) == ({"Hall": "Room"}, ())
    with pytest.raises(ConfigError, match="deleted_classes migration to non-existent class Room"):
        planned(state, first, away, Step("v3", deleted=("Room",)))
    others = {"old": planned(NOTHING, first)}
    planned(NOTHING, Step("v1", transferred=(("Room", "old", "Room"),)), name="new", others=others)
    assert planned(others["old"], first, exported=()).removing == ()


def test_bindings_of_before_lead_to_the_new_name(tmp_path) -> None:
    main = "from workers import DurableObject\nclass Hall(DurableObject): pass\n"
    own = load(write(tmp_path / "own", main, **RENAMED, **ROOM))
    assert [binding.class_name for binding in own.config.bindings] == ["Hall"]
    assert "class Room is Hall now" in own.config.warnings[0]
    first = write(tmp_path / "w", main, **RENAMED)
    there = {"bindings": [{"name": "ROOM", "class_name": "Room", "script_name": "w"}]}
    programs = load_programs([first, write(tmp_path / "b", main, name="b", durable_objects=there)])
    namespace = programs.first.namespace("Room", None)  # type: ignore[arg-type]
    assert namespace.idFromName("a") == programs.first.namespace("Hall", None).idFromName("a")  # type: ignore[arg-type]


def test_bindings_of_before_follow_several_renames_and_those_of_exports(tmp_path) -> None:
    again = {"tag": "v3", "renamed_classes": [{"from": "Hall", "to": "Court"}]}
    found = read(tmp_path, migrations=[*RENAMED["migrations"], again])
    assert found.renamed == {"Room": "Court", "Hall": "Court"}
    exports = {
        "Room": {"type": KIND, "state": "renamed", "renamed_to": "Hall"},
        "Hall": {"type": KIND, "storage": "sqlite"},
    }
    deployed = Deployed(keys={"Room": "Room"}, sqlite=frozenset({"Room"}), by_exports=True)
    assert config.read(write(tmp_path, exports=exports), None, {"w": deployed}).renamed == {"Room": "Hall"}


def test_a_name_that_is_used_anew_leads_to_its_new_class(tmp_path) -> None:
    anew = {"tag": "v3", "new_sqlite_classes": ["Room"]}
    found = read(tmp_path, migrations=[*RENAMED["migrations"], anew], **ROOM)
    assert (found.renamed, [binding.class_name for binding in found.bindings]) == ({}, ["Room"])


def test_a_binding_of_another_program_s_class_does_not_keep_one_s_own_of_that_name(tmp_path) -> None:
    deleted = {"migrations": [*CREATED["migrations"], {"tag": "v2", "deleted_classes": ["Room"]}]}
    for program, kept in (("w", True), ("other", False)):
        bindings = {"bindings": [{"name": "ROOM", "class_name": "Room", "script_name": program}]}
        if kept:
            with pytest.raises(ConfigError, match="Cannot apply --delete-class migration to class 'Room'"):
                read(tmp_path, **deleted, durable_objects=bindings)
        else:
            assert read(tmp_path, **deleted, durable_objects=bindings).keys == {}


def test_without_any_migration_a_bound_class_has_keys_and_values_only(tmp_path) -> None:
    main = "from workers import DurableObject\nclass Room(DurableObject): pass\n"
    found = load(write(tmp_path, main, **ROOM))
    (runtime,) = found.runtimes(None).values()
    assert not runtime.sqlite
    assert "class Room has no migration; add it to new_sqlite_classes" in found.config.warnings[0]


# ---------------------------------------------------------------- handlers
class Silent(WorkerEntrypoint):
    def queue(self):
        return 0


class One(WorkerEntrypoint):
    async def queue(self, batch):
        return batch.queue


class Three(WorkerEntrypoint):
    async def queue(self, batch, env, ctx):
        return batch.queue, env, ctx


@pytest.mark.parametrize(("worker", "expected"), [(Silent, 0), (One, "jobs"), (Three, ("jobs", None, None))])
def test_queue_takes_up_to_three_arguments(worker: type, expected: object) -> None:
    assert asyncio.run(call_handler(worker(None, "env"), "queue", MessageBatch("jobs", []))) == expected


def test_names_of_handlers_are_in_camel_case_only(tmp_path) -> None:
    main = "from workers import DurableObject\nclass Room(DurableObject):\n    def pre_shutdown(self, info): pass\n"
    (runtime,) = load(write(tmp_path, main, **ROOM)).runtimes(None).values()
    assert not has_handler(runtime, "preShutdown")
    (runtime,) = load(write(tmp_path, main.replace("pre_shutdown", "preShutdown"), **ROOM)).runtimes(None).values()
    assert has_handler(runtime, "preShutdown")


def test_a_worker_without_fetch(tmp_path) -> None:
    main = "from workers import WorkerEntrypoint\nclass Default(WorkerEntrypoint): pass\n"
    with World(write(tmp_path, main)) as world:
        response = world.fetch("/")
        assert response.status == 500
        assert "does not export a fetch() function" in world.run(response.text())


def test_two_default_entrypoints_are_a_type_error(tmp_path) -> None:
    main = "from workers import WorkerEntrypoint\nclass Default(WorkerEntrypoint): pass\ndef on_fetch(request): pass\n"
    with pytest.raises(ConfigError, match="Cannot define multiple default entrypoints") as raised:
        _ = load(write(tmp_path, main, compatibility_date="2025-01-01")).entrypoints
    assert raised.value.name == "TypeError"


def test_a_binding_may_name_a_class_that_is_not_public(tmp_path) -> None:
    main = "from workers import DurableObject\nclass _Room(DurableObject): pass\nclass Hall(DurableObject): pass\n"
    bindings = [{"name": "ROOM", "class_name": "_Room"}, {"name": "HALL", "class_name": "Hall"}]
    found = load(write(tmp_path, f"{main}__all__ = []\n", durable_objects={"bindings": bindings}))
    assert sorted(found.classes) == ["Hall", "_Room"]


def test_what_fetch_returns_must_be_a_response(tmp_path) -> None:
    main = "from workers import DurableObject\nclass Room(DurableObject):\n    def fetch(self): return 'text'\n"
    with World(write(tmp_path, main, **ROOM)) as world:

        async def body() -> None:
            with pytest.raises(Exception, match="must return a Response, it returned str"):
                await world.namespace("Room").getByName("a").fetch("https://x/")

        world.run(body())
