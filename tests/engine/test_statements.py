"""The cache of what is known of texts: bounded in bytes, the least recently used go (spec: storage-sql, statements)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from perdure.engine.statements import _ENTRY_BYTES, Statement, Statements


def test_what_was_used_stays() -> None:
    cache = Statements(3 * (10 + _ENTRY_BYTES))
    for query in ("a" * 10, "b" * 10, "c" * 10):
        cache.put(query, Statement(query))
    kept = cache.get("a" * 10)
    assert kept is not None
    kept.used = True
    cache.put("d" * 10, Statement("d"))
    assert [cache.get(letter * 10) is not None for letter in "abcd"] == [True, False, True, True]


def test_what_was_forgotten_is_not_counted() -> None:
    cache = Statements(2_000)
    cache.put("a", Statement("a"))
    cache.forget()
    assert (len(cache), cache.bytes_held, cache.get("a")) == (0, 0, None)


def test_a_text_over_the_bound_is_not_kept() -> None:
    cache = Statements(3 * (10 + _ENTRY_BYTES))
    cache.put("a" * 10, Statement("a"))
    cache.put("b" * 2000, Statement("b"))
    assert (len(cache), cache.bytes_held) == (1, 10 + _ENTRY_BYTES)


@given(st.lists(st.tuples(st.integers(1, 700), st.booleans()), max_size=60))
def test_it_never_holds_more_than_its_bound(puts) -> None:
    bound = 2 * _ENTRY_BYTES + 50
    cache = Statements(bound)
    for size, used in puts:
        statement = Statement("x" * size)
        statement.used = used
        cache.put("x" * size, statement)
        assert cache.bytes_held <= bound
        assert cache.bytes_held == sum(len(query) + _ENTRY_BYTES for query in cache._known)
        assert size + _ENTRY_BYTES > bound or cache.get("x" * size) is statement
