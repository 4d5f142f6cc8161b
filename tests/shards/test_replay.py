"""Replay is pure: any split of an object's commits over logs, with any marks, gives the same plan."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perdure.engine.errors import LogDamaged
from perdure.shards.replay import Place, last_images, plan


@settings(derandomize=True)
@given(st.integers(1, 30), st.integers(0, 30), st.randoms())
def test_order_and_marks(count: int, mark: int, rng) -> None:
    places = [Place(1, change, rng.randrange(3), rng.randrange(1000)) for change in range(1, count + 1)]
    rng.shuffle(places)
    todo = plan(b"x", places, (1, mark) if mark else None)
    assert [place.change for place in todo.places] == list(range(mark + 1, count + 1))
    assert todo.change == max(count, mark) if todo.places else todo.change == mark
    assert todo.base == (mark if todo.places or mark else 0)


@settings(derandomize=True)
@given(st.integers(3, 20), st.data())
def test_a_missing_commit_is_damage(count: int, data) -> None:
    missing = data.draw(st.integers(2, count - 1))
    places = [Place(1, change, 0, change) for change in range(1, count + 1) if change != missing]
    with pytest.raises(LogDamaged, match=f"commit {missing} is missing"):
        plan(b"x", places, None)


def test_after_a_mark_nothing_may_be_missing_either() -> None:
    with pytest.raises(LogDamaged, match="commit 6 is missing"):
        plan(b"x", [Place(1, 7, 0, 0)], (1, 5))


def test_logs_that_begin_later_build_on_the_file() -> None:
    assert plan(b"x", [Place(1, 7, 0, 0)], None).base == 6


def test_older_generations_are_ignored() -> None:
    todo = plan(b"x", [Place(1, 1, 0, 0), Place(1, 2, 0, 1), Place(2, 1, 0, 2)], None)
    assert todo.generation == 2
    assert [place.change for place in todo.places] == [1]


@given(st.lists(st.lists(st.integers(1, 5)), max_size=10))
def test_the_last_image_of_a_page_wins(tocs: list[list[int]]) -> None:
    found = last_images(tocs)
    for number, index in found.items():
        assert number in tocs[index]
        assert not any(number in pages for pages in tocs[index + 1 :])


def test_parts_count_only_with_their_commit() -> None:
    parts = [Place(1, 2, 0, 10, -1), Place(1, 2, 0, 20, -2)]
    assert plan(b"x", [Place(1, 1, 0, 0), *parts], None).change == 1
    todo = plan(b"x", [Place(1, 1, 0, 0), *parts, Place(1, 2, 0, 30, 2)], None)
    assert [place.position for place in todo.places] == [0, 10, 20, 30]


def test_a_later_try_begins_again_at_part_one() -> None:
    """A shard that died between the parts of a commit: the next session gives the same change number anew."""
    given_up = [Place(1, 2, 0, 10, -1), Place(1, 2, 0, 20, -2)]
    again = [Place(1, 2, 1, 5, -1), Place(1, 2, 1, 6, 1)]
    todo = plan(b"x", [Place(1, 1, 0, 0), *given_up, *again], None)
    assert [(place.log, place.position) for place in todo.places] == [(0, 0), (1, 5), (1, 6)]
    small = plan(b"x", [Place(1, 1, 0, 0), *given_up, Place(1, 2, 1, 7)], None)
    assert [(place.log, place.position) for place in small.places] == [(0, 0), (1, 7)]


def test_a_missing_part_is_damage() -> None:
    with pytest.raises(LogDamaged, match="part of commit 1 is missing"):
        plan(b"x", [Place(1, 1, 0, 20, -2), Place(1, 1, 0, 30, 2)], None)


def test_parts_of_a_marked_commit_may_be_gone() -> None:
    todo = plan(b"x", [Place(1, 4, 0, 30, 2), Place(1, 5, 0, 40)], (1, 4))
    assert [place.change for place in todo.places] == [5]
