"""Class migrations as decisions: stored state and configuration in, the next state or an error out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perdure.engine.errors import ConfigError
from perdure.sdk.class_migrations import (
    NOTHING,
    Deployed,
    Step,
    check_bindings,
    check_exports,
    pending,
    plan,
    without,
)

V1 = Step("v1", new_sqlite=("Room",))
V2 = Step("v2", new=("Old",), renamed=(("Room", "Hall"),))
V3 = Step("v3", deleted=("Old",))


def planned(deployed: Deployed = NOTHING, *steps: Step, **more: object) -> Deployed:
    return plan(deployed, steps, where="wrangler.jsonc", **more)


def test_steps_are_applied_in_order_and_the_last_tag_is_remembered() -> None:
    state = planned(NOTHING, V1, V2)
    assert (state.tag, state.keys, state.sqlite) == ("v2", {"Hall": "Room", "Old": "Old"}, {"Hall"})


def test_only_what_comes_after_the_stored_tag_is_applied() -> None:
    first = planned(NOTHING, V1)
    assert pending(first, (V1, V2, V3), "w") == (V2, V3)
    assert planned(first, V1, V2, V3) == planned(NOTHING, V1, V2, V3)
    assert planned(first, V1) == first


def test_entries_before_the_stored_tag_may_be_dropped() -> None:
    state = planned(planned(NOTHING, V1, V2), V2, V3)
    assert state.keys == {"Hall": "Room"}


def test_a_stored_tag_that_the_configuration_lacks_is_an_error() -> None:
    for steps in ((), (V1,)):
        with pytest.raises(ConfigError, match="tag precondition failed") as raised:
            planned(planned(NOTHING, V1, V2), *steps)
        assert "'v2'" in raised.value.message
        assert raised.value.hint


def test_a_renamed_class_keeps_its_key_through_several_names() -> None:
    state = planned(NOTHING, V1, V2, Step("v3", renamed=(("Hall", "Lobby"),)))
    assert state.keys["Lobby"] == "Room"
    assert "Lobby" in state.sqlite


def test_a_deleted_class_is_to_be_removed_until_it_is() -> None:
    state = planned(NOTHING, V1, V2, V3)
    assert state.removing == ("Old",)
    assert without(state, "Old").removing == ()
    assert planned(without(state, "Old"), V1, V2, V3).removing == ()


def test_a_class_of_a_deleted_one_s_name_gets_another_key() -> None:
    state = planned(NOTHING, V1, V2, V3, Step("v4", new_sqlite=("Old",)))
    assert state.keys["Old"] == "Old~2"
    assert state.removing == ("Old",)
    again = planned(state, Step("v4", new_sqlite=("Old",)), Step("v5", deleted=("Old",)), Step("v6", new=("Old",)))
    assert again.keys["Old"] == "Old~3"


def test_a_renamed_away_name_may_be_created_anew() -> None:
    state = planned(NOTHING, V1, V2, Step("v3", new_sqlite=("Room",)))
    assert state.keys["Hall"] == "Room"
    assert state.keys["Room"] == "Room~2"


@pytest.mark.parametrize(
    ("steps", "bound", "exported", "says", "code"),
    [
        ((V1, Step("v2", new=("Room",))), (), None, "already depended on by existing Durable Objects", "10074"),
        ((V1, Step("v2", new_sqlite=("Room",))), (), None, "already depended on by existing Durable Objects", "10074"),
        ((V1,), (), ("Other",), "Cannot apply new-class migration to class Room", "10070"),
        ((V1, V2, V3), ("Old",), None, "Cannot apply --delete-class migration to class 'Old'", "10061"),
        ((Step("v1", deleted=("X",)),), (), None, "deleted_classes migration to non-existent class X", ""),
        ((Step("v1", renamed=(("X", "Y"),)),), (), None, "cannot rename X to Y: X does not exist", ""),
        ((V1, Step("v2", new=("Y",), renamed=(("Room", "Y"),))), (), None, "must not be created separately", ""),
        ((V1, V1), (), None, "two migrations have the tag 'v1'", ""),
    ],
    ids=["exists", "exists-sqlite", "not-exported", "bound", "unknown", "rename-unknown", "rename-created", "tags"],
)
def test_what_is_refused(steps, bound, exported, says, code) -> None:
    with pytest.raises(ConfigError) as raised:
        planned(NOTHING, *steps, bound=bound, exported=exported)
    assert says in raised.value.message
    assert code in raised.value.message


def test_what_is_renamed_must_be_in_the_code_under_its_new_name() -> None:
    deployed = planned(NOTHING, V1, exported=("Room",))
    with pytest.raises(ConfigError, match="New version of script does not export class 'Hall'"):
        planned(deployed, V1, Step("v2", renamed=(("Room", "Hall"),)), exported=("Room",))
    with pytest.raises(ConfigError, match="that is not exported by the script"):
        planned(deployed, V1, Step("v2"), bound=("Other",), exported=("Room",))


def test_the_hint_of_a_bound_class_says_to_remove_the_binding() -> None:
    with pytest.raises(ConfigError) as raised:
        planned(NOTHING, V1, V2, V3, bound=("Old",))
    assert "remove the binding" in (raised.value.hint or "")


def test_what_was_created_and_deleted_before_it_was_deployed_needs_no_code() -> None:
    assert planned(NOTHING, V1, V2, V3, exported=("Hall",)).keys == {"Hall": "Room"}


def test_a_class_deleted_and_created_anew_may_be_bound() -> None:
    state = planned(NOTHING, V1, V2, V3, Step("v4", new=("Old",)), bound=("Old",))
    assert state.keys["Old"] == "Old~2"


def test_bindings_without_a_migration() -> None:
    assert check_bindings((), ("Room",), (), "w") == ["Room"]
    with pytest.raises(ConfigError, match="not currently configured to implement Durable Objects") as raised:
        check_bindings(("Hall",), ("Hall", "Room"), (Step("v1", new_sqlite=("Hall",)),), "w")
    assert "10061" in raised.value.message
    assert "new-class migration" in (raised.value.hint or "")
    assert check_bindings(("Hall",), ("Hall",), (Step("v1", new_sqlite=("Hall",)),), "w") == []


def test_the_hint_of_a_class_that_was_added_to_an_entry_of_before() -> None:
    """Editing the first entry is what everybody tries."""
    with pytest.raises(ConfigError, match="10061") as raised:
        check_bindings(("Hall",), ("Hall", "Room"), (Step("v1", new_sqlite=("Hall", "Room")),), "w")
    assert "'v1' was applied here before it named Room" in (raised.value.hint or "")
    removed = (Step("v1", new_sqlite=("Hall", "Room")), Step("v2", deleted=("Room",)))
    with pytest.raises(ConfigError, match="10061") as raised:
        check_bindings(("Hall",), ("Hall", "Room"), removed, "w")
    assert "new-class migration" in (raised.value.hint or "")


def test_classes_that_the_code_lacks() -> None:
    with pytest.raises(ConfigError, match="that is not exported by the script") as raised:
        check_exports((), ("Room",), (), "w")
    assert "10061" in raised.value.message
    with pytest.raises(ConfigError, match="New version of script does not export class 'Room'") as raised:
        check_exports(("Room",), (), ("Hall",), "w")
    assert "10064" in raised.value.message
    assert "delete-class migration" in (raised.value.hint or "")


def test_the_state_travels_whole() -> None:
    state = planned(NOTHING, V1, V2, V3)
    assert Deployed.from_wire(state.to_wire()) == state


NAMES = st.sampled_from(["A", "B", "C"])
STEPS = st.lists(
    st.one_of(
        st.builds(lambda name: {"new": (name,)}, NAMES),
        st.builds(lambda name: {"new_sqlite": (name,)}, NAMES),
        st.builds(lambda name: {"deleted": (name,)}, NAMES),
        st.builds(lambda old, new: {"renamed": ((old, new),)}, NAMES, NAMES),
    ),
    max_size=12,
)


@given(STEPS, st.lists(st.integers(0, 12), max_size=3))
def test_deploys_in_any_portions_end_the_same_and_no_key_comes_twice(parts, stops) -> None:
    """Legal histories: a step that is refused is left out."""
    state, steps = NOTHING, []
    for number, fields in enumerate(parts):
        step = Step(str(number), **fields)
        try:
            state = plan(state, [*steps, step], where="w")
        except ConfigError:
            continue
        steps.append(step)
    portions = NOTHING
    for stop in sorted({min(stop, len(steps)) for stop in stops} | {len(steps)}):
        if portions.tag is None or stop:
            portions = plan(portions, steps[:stop], where="w") if stop or portions.tag is None else portions
    assert portions == state
    keys = [*state.keys.values(), *state.removing]
    assert len(keys) == len(set(keys))
