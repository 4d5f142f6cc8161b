"""doom: the rules, without clock, sockets or storage."""

from __future__ import annotations

import json
import math

import pytest

from .modules import modules


@pytest.fixture
def loaded():
    with modules("doom", "maze", "rules") as found:
        yield found


def duel(rules):
    """Two on one line, ann looking at ben."""
    world = rules.World()
    world.join("a", "ann", 0)
    world.join("b", "ben", 0)
    world.players["a"].x, world.players["a"].y, world.players["a"].angle = 2.5, 12.5, 0.0
    world.players["b"].x, world.players["b"].y = 7.5, 12.5
    return world


def test_places_to_begin_and_kits_are_floor(loaded) -> None:
    maze, _ = loaded
    assert {len(row) for row in maze.ROWS} == {len(maze.ROWS)}
    for place in maze.SPAWNS + maze.KITS:
        assert maze.free(*place), place


def test_nobody_walks_through_walls(loaded) -> None:
    maze, _ = loaded
    for begin in maze.SPAWNS:
        for turn in range(16):
            x, y = begin
            for _ in range(300):
                x, y = maze.walk(x, y, turn * math.tau / 16, maze.AHEAD | maze.RIGHT * (turn % 2))
                assert maze.free(x, y)


def test_sight_ends_at_the_wall(loaded) -> None:
    maze, _ = loaded
    for turn in range(32):
        angle = turn * math.tau / 32 + 0.01
        reach = maze.sight(11.5, 17.5, angle)
        before, after = (
            maze.wall(11.5 + math.cos(angle) * at, 17.5 + math.sin(angle) * at) for at in (reach - 0.01, reach + 0.01)
        )
        assert (before, after) == (False, True), angle


def test_a_shot_hits_the_nearest_and_five_are_a_frag(loaded) -> None:
    maze, rules = loaded
    world, happened = duel(rules), []
    for number in range(1, 60):
        happened += world.step({"a": [[number, maze.FIRE, 0.0]]}, number * 50)
    kinds = [event[0] for event in happened]
    assert (kinds.count("hit"), kinds.count("frag"), world.players["a"].frags, world.players["b"].deaths) == (
        5,
        1,
        1,
        1,
    )
    assert world.players["b"].health == 0
    for number in range(60, 75):
        world.step({}, number * 50)
    assert world.players["b"].health == rules.HEALTH


def test_walls_stop_shots(loaded) -> None:
    maze, rules = loaded
    world = duel(rules)
    world.players["a"].y = world.players["b"].y = 14.5
    world.players["a"].x, world.players["b"].x = 2.5, 5.0  # a wall at 3
    events = world.step({"a": [[1, maze.FIRE, 0.0]]}, 50)
    assert [event[0] for event in events] == ["shot"]


def test_a_world_goes_on_from_what_was_saved(loaded) -> None:
    maze, rules = loaded
    one, other = duel(rules), duel(rules)
    for number in range(1, 200):
        keys = [maze.FIRE, maze.AHEAD, maze.LEFT | maze.AHEAD, 0][number // 7 % 4]
        inputs = [[number, keys, math.sin(number / 9)]]
        assert one.step({"a": list(inputs)}, number * 50) == other.step({"a": list(inputs)}, number * 50)
        other = rules.World.loaded(other.saved())
    assert one == other


def test_inputs_that_come_again_are_used_once(loaded) -> None:
    maze, rules = loaded
    one, other = duel(rules), duel(rules)
    for number in range(1, 30):
        given = [[at, maze.AHEAD, 0.4] for at in range(max(1, number - 5), number + 1)]
        one.step({"a": given}, number * 50)
        other.step({"a": [[number, maze.AHEAD, 0.4]]}, number * 50)
    assert one == other


def test_nobody_is_faster_than_time_and_a_pause_is_caught_up_with(loaded) -> None:
    maze, rules = loaded
    world, waiting = duel(rules), []
    player = world.players["a"]
    for tick in range(1, 101):  # ten times as many inputs as there is time
        waiting += [[tick * 10 + at, maze.LEFT, 0.0] for at in range(10)]
        world.step({"a": waiting}, tick * 50)
    assert waiting
    assert player.saved < 1
    used = player.seen
    waiting[:] = [[used + at, 0, 0.0] for at in range(1, 11)]
    for late in range(4):  # half a second nobody had time for it: ten inputs wait, and have their time
        world.step({"a": waiting}, 100 * 50 + 500 + late * 50)
    assert not waiting


@pytest.mark.parametrize(
    "given", [[["1", 0, 0]], [[1, 32, 0]], [[1, 0, math.inf]], [[1, 0]], [[1, 0, "x"]], [[1.5, 0, 0]]]
)
def test_what_is_no_input(loaded, given) -> None:
    with pytest.raises((ValueError, TypeError)):
        loaded[1].checked(given, 0)


def test_what_is_told_is_short(loaded) -> None:
    _, rules = loaded
    world = rules.World()
    for at in range(16):
        world.join(str(at) * 6, f"player {at}", 0)
    told = world.told(world.step({}, 50))
    assert len(told) < 1_100
    assert len(json.loads(told)["players"]) == 16
