"""Bindings over crashes, lost power and delays at every point: what was acknowledged is there, the rest whole or not at all."""

from __future__ import annotations

import asyncio
import os
from functools import partial

import pytest
from perdure.bindings.d1_database import D1Object
from perdure.bindings.kv_bucket import PIECE_BYTES, KvBucket
from perdure.engine.errors import BindingError, PerdureError
from perdure.testing import simulate

PROGRAM = os.path.join(os.path.dirname(__file__), "served")


async def patient(call):
    """A client that repeats what it got no answer to."""
    while True:
        try:
            return await call()
        except PerdureError as error:
            if not error.retryable:
                raise
            await asyncio.sleep(0.1)


@simulate(program=PROGRAM, shards=2, seeds=50)
async def test_a_key_has_what_was_put_last(world):
    kv = world.env.KV
    for value in ("1", "2", "3"):
        await patient(partial(kv.put, "k", value))
        assert await patient(lambda: kv.get("k")) == value
    await patient(lambda: kv.delete("k"))
    assert await patient(lambda: kv.list()) == {"keys": [], "list_complete": True, "cacheStatus": None}


@simulate(program=PROGRAM, shards=2, seeds=30)
async def test_a_large_value_is_whole_or_the_one_before(world):
    kv = world.env.KV
    before, after = b"a" * 1_500_000, b"b" * 2_500_000
    await patient(lambda: kv.put("k", before))
    writing = asyncio.ensure_future(patient(lambda: kv.put("k", after)))
    found = await patient(lambda: kv.get("k", "arrayBuffer"))
    assert found in (before, after)
    await writing
    assert await patient(lambda: kv.get("k", "arrayBuffer")) == after


@simulate(program=PROGRAM, shards=2, seeds=50)
async def test_what_an_object_put_is_no_further_than_the_object(world):
    room = world.namespace("Room").getByName("a")
    try:
        await room.remember("k", "v")
        acknowledged = True
    except PerdureError as error:
        assert error.retryable
        acknowledged = False
    room = world.namespace("Room").getByName("a")
    own, in_kv = await patient(lambda: room.recall("k"))
    if acknowledged:
        assert (own, in_kv) == ("v", "v")
    assert own == "v" or in_kv is None


@simulate(program=PROGRAM, shards=2, seeds=50)
async def test_a_database_keeps_what_it_acknowledged_and_batches_whole(world):
    db = world.env.DB
    await patient(lambda: db.exec("create table if not exists people(name text)"))
    insert = db.prepare("insert into people(name) values (?)")
    asked = heard = 0
    for number in range(3):
        asked += 2
        try:
            await db.batch([insert.bind(f"a{number}"), insert.bind(f"b{number}")])
            heard += 2
        except BindingError as error:
            assert "D1_ERROR" in error.message
            assert error.retryable
    count = await patient(lambda: db.prepare("select count(*) as n from people").first("n"))
    assert heard <= count <= asked
    assert count % 2 == 0


# ---------------------------------------------------------------------- broken twins, which the tests above must notice
def test_a_value_that_is_seen_before_it_is_whole_is_noticed(monkeypatch):
    add_piece = KvBucket.add_piece

    async def too_early(self, version, number, data):
        await add_piece(self, version, number, data)
        await self._take_over(b"k", version, number * PIECE_BYTES + len(data), None, None, None)

    monkeypatch.setattr(KvBucket, "add_piece", too_early)
    with pytest.raises(BaseException, match="seed"):
        test_a_large_value_is_whole_or_the_one_before()


def test_a_batch_that_is_no_transaction_is_noticed(monkeypatch):
    async def one_by_one(self, statements, bookmark=False):
        results = []
        for sql, parameters in statements:
            results.append(self._one(sql, parameters, 0, 1 << 20)[0])
            await asyncio.sleep(0.01)
        return {"results": results}

    monkeypatch.setattr(D1Object, "run", one_by_one)
    with pytest.raises(BaseException, match="seed"):
        test_a_database_keeps_what_it_acknowledged_and_batches_whole()
