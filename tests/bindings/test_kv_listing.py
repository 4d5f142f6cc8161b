"""Merging the pages of buckets: in order, whole, and with few more rows read than given."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st
from perdure.bindings.kv_listing import KvKeys, merge
from perdure.engine.values import JsList, pack, unpack

KEYS = st.lists(st.binary(min_size=1, max_size=4), unique=True, max_size=120)


@given(keys=KEYS, buckets=st.integers(1, 5), limit=st.integers(1, 40), data=st.data())
@settings(max_examples=200, deadline=None)
def test_pages_are_those_of_one_sorted_list(keys, buckets, limit, data):
    parts: list[list[bytes]] = [[] for _ in range(buckets)]
    for key in keys:
        parts[data.draw(st.integers(0, buckets - 1))].append(key)

    async def page(bucket, after, count):
        return [(key, None, None) for key in sorted(parts[bucket]) if key > after][:count]

    async def inside():
        found: list[bytes] = []
        while True:
            entries, complete = await merge(page, buckets, found[-1] if found else b"", limit)
            found += [entry[0] for entry in entries]
            assert len(entries) == limit or complete
            if complete:
                return found

    assert asyncio.run(inside()) == sorted(keys)


def test_few_more_rows_are_read_than_given():
    keys = [b"%05d" % number for number in range(5_000)]
    read = 0

    async def page(bucket, after, count):
        nonlocal read
        found = [(key, None, None) for key in keys[bucket::16] if key > after][:count]
        read += len(found)
        return found

    entries, complete = asyncio.run(merge(page, 16, b"", 1_000))
    assert (len(entries), complete) == (1_000, False)
    assert read < 1_200


def test_the_result_is_a_dict_with_a_list_of_keys():
    made = KvKeys(keys=JsList([{"name": "a"}]), list_complete=True)
    assert made.keys == made["keys"] == [{"name": "a"}]
    assert list(made.keys()) == ["keys", "list_complete"]
    assert {**made} == dict(made) == {"keys": [{"name": "a"}], "list_complete": True}
    assert unpack(pack(made)) == made  # it travels
