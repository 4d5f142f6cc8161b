"""`exports`: classes declared by what they are to be (spec: config, exports)."""

from __future__ import annotations

import json

import pytest
from perdure.engine.errors import ConfigError
from perdure.sdk import config
from perdure.sdk.class_exports import Outcome, plan_exports, read_exports
from perdure.sdk.class_migrations import NOTHING, Deployed, Step, plan, unique_key

KIND = "durable-object"


def entry(**fields: object) -> dict[str, object]:
    return {"type": KIND, **fields}


def apply(
    deployed: Deployed, /, *, exported=None, others=None, name: str = "w", bound_elsewhere=(), **entries
) -> Outcome:
    exports = read_exports("f", {"exports": entries})
    assert exports is not None
    return plan_exports(
        deployed, exports, where="f", name=name, exported=exported, others=others, bound_elsewhere=bound_elsewhere
    )


MADE = apply(NOTHING, Room=entry(), Old=entry(storage="legacy-kv")).deployed


def test_created() -> None:
    outcome = apply(NOTHING, Room=entry(), Old=entry(storage="legacy-kv"), exported={"Room", "Old", "Unnamed"})
    assert outcome.done == ("Created: Room", "Created: Old")
    assert outcome.deployed.keys == {"Room": "Room", "Old": "Old"}
    assert outcome.deployed.sqlite == {"Room"}
    assert outcome.deployed.by_exports
    again = apply(outcome.deployed, Room=entry(state="created"), Old=entry(storage="legacy-kv"))
    assert again == Outcome(outcome.deployed)


def test_deleted() -> None:
    outcome = apply(MADE, Room=entry(state="deleted"), Old=entry(storage="legacy-kv"), exported={"Old"})
    assert outcome.done == ("Deleted: Room",)
    assert outcome.deployed.removing == ("Room",)
    again = apply(outcome.deployed, Room=entry(state="deleted"), Old=entry(storage="legacy-kv"))
    assert again.done == ()
    assert "[stale_tombstone] Room" in again.notes[0]
    assert "safe to remove" in again.notes[0]
    anew = apply(outcome.deployed, Room=entry(), Old=entry(storage="legacy-kv"))
    assert anew.deployed.keys["Room"] == "Room~2"


def test_renamed() -> None:
    outcome = apply(MADE, Room=entry(state="renamed", renamed_to="Hall"), Hall=entry(), exported={"Hall", "Old"})
    assert outcome.done == ("Renamed: Room -> Hall",)
    assert outcome.deployed.keys["Hall"] == "Room"
    assert "Hall" in outcome.deployed.sqlite


def test_transferred() -> None:
    others = {"w": MADE}
    waiting = apply(NOTHING, name="new", Room=entry(state="expecting-transfer", transfer_from="w"), others=others)
    assert waiting.done == ("Transfer pending: Room <- w",)
    assert "Room" not in waiting.deployed.keys
    promised = apply(MADE, Room=entry(state="transferred", transferred_to="new"), exported={"Old"})
    assert promised.done == ("Transfer pending: Room -> new",)
    others = {"w": promised.deployed}
    taken = apply(
        waiting.deployed, name="new", Room=entry(state="expecting-transfer", transfer_from="w"), others=others
    )
    assert unique_key("new", taken.deployed.keys["Room"]) == "w-Room"
    assert "Room" in taken.deployed.sqlite
    assert "Room" not in others["w"].keys
    stale = apply(others["w"], Room=entry(state="transferred", transferred_to="new"), exported={"Old"})
    assert "[stale_tombstone] Room" in stale.notes[0]
    again = apply(taken.deployed, name="new", Room=entry(state="expecting-transfer", transfer_from="w"), others=others)
    assert again.done == ()


@pytest.mark.parametrize(
    ("entries", "exported", "phrase"),
    [
        ({"A": entry(state="gone")}, None, "state must be one of"),
        ({"A": entry(storage="disk")}, None, "storage must be one of"),
        ({"A": entry(state="deleted", storage="sqlite")}, None, "'storage' does not belong to the state 'deleted'"),
        ({"A": entry(state="renamed")}, None, "needs 'renamed_to'"),
        ({"A": entry(renamed_to="B")}, None, "'renamed_to' does not belong"),
        ({"A": entry(state="renamed", renamed_to="B")}, None, "no live entry of the same map"),
        ({"A": entry(state="renamed", renamed_to="B"), "B": entry(state="deleted")}, None, "no live entry"),
        ({"A": entry(state="transferred")}, None, "needs 'transferred_to'"),
        ({"A": entry(state="expecting-transfer")}, None, "needs 'transfer_from'"),
        ({"A": entry()}, {"Room", "Old"}, r"\[config_references_nonexistent_class\]"),
        ({"Room": entry(state="deleted")}, {"Room", "Old"}, "the code still has the class"),
        ({"Room": entry(storage="legacy-kv")}, {"Room", "Old"}, "fixed when it is created"),
        ({"Room": entry()}, {"Room"}, "does not export class 'Old'"),
        ({"Room": entry(state="renamed", renamed_to="Old"), "Old": entry()}, None, "Old has objects of its own"),
    ],
)
def test_what_is_refused(entries: dict[str, object], exported: set[str] | None, phrase: str) -> None:
    with pytest.raises(ConfigError, match=phrase):
        apply(MADE, exported=exported, **entries)


def test_a_deletion_waits_for_bindings_of_other_programs() -> None:
    with pytest.raises(ConfigError, match="tombstone_delete_blocked_by_external_bindings"):
        apply(MADE, Room=entry(state="deleted"), exported={"Old"}, bound_elsewhere={"Room"})


def test_there_is_no_way_back_to_migrations() -> None:
    with pytest.raises(ConfigError, match="no way back to migrations"):
        plan(MADE, [Step("v1", new_sqlite=("Room",))], where="f")


def test_it_excludes_migrations(tmp_path) -> None:
    (tmp_path / "entry.py").write_text("")
    found = {"name": "w", "main": "entry.py", "exports": {"Room": entry()}, "migrations": [{"tag": "1"}]}
    (tmp_path / "wrangler.json").write_text(json.dumps(found))
    with pytest.raises(ConfigError, match="exclude each other"):
        config.read(str(tmp_path / "wrangler.json"))
    del found["migrations"]
    found["exports"] = {"Room": entry(), "Default": {"type": "worker"}}
    (tmp_path / "wrangler.json").write_text(json.dumps(found))
    assert config.read(str(tmp_path / "wrangler.json")).keys == {"Room": "Room"}


def test_classes_created_by_migrations_are_taken_over() -> None:
    before = plan(NOTHING, [Step("v1", new_sqlite=("Room",))], where="f")
    outcome = apply(before, Room=entry(), exported={"Room"})
    assert outcome.done == ()
    assert outcome.deployed.keys == {"Room": "Room"}
    assert outcome.deployed.by_exports
    assert Deployed.from_wire(outcome.deployed.to_wire()) == outcome.deployed


def test_a_migration_transfers_a_class_from_another_program() -> None:
    source = plan(NOTHING, [Step("v1", new_sqlite=("Room",))], where="f")
    others = {"old": source}
    step = Step("v1", transferred=(("Room", "old", "Hall"),))
    after = plan(NOTHING, [step], where="f", name="new", others=others, exported={"Hall"})
    assert unique_key("new", after.keys["Hall"]) == "old-Room"
    assert after.sqlite == {"Hall"}
    assert others["old"].keys == {}
    with pytest.raises(ConfigError, match="cannot transfer Room of old: it is not deployed here"):
        plan(NOTHING, [step], where="f", name="new", others={})
    alone = plan(NOTHING, [step], where="f")
    assert alone.keys == {"Hall": "Hall"}
