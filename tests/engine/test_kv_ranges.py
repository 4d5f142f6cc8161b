"""`list` with every combination of its options, against a sorted list in memory (spec: storage-kv, list options)."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from perdure.engine.kv import KeyValues
from perdure.engine.ranges import KeyRange, after_prefix, key_range

from .box import Box
from .test_kv import in_object

# Few characters, chosen for where orders differ: NUL, ASCII, two and three bytes, next to the surrogates, astral, the last.
CHARACTERS = "\0aab\x7fé\ud7ff\ue000\uffff\U00010000\U0010ffff"
texts = st.text(st.sampled_from(CHARACTERS), max_size=4)
options = st.fixed_dictionaries(
    {},
    optional={
        "start": texts,
        "startAfter": texts,
        "end": texts,
        "prefix": texts,
        "reverse": st.booleans(),
        "limit": st.integers(1, 6),
    },
).filter(lambda found: not ("start" in found and "startAfter" in found))


def expected(keys, options) -> list[str]:
    """By the words of the spec, on UTF-8 bytes."""

    def raw(name):
        return options[name].encode() if name in options else None

    found = sorted(keys, key=str.encode, reverse=options.get("reverse", False))
    found = [key for key in found if raw("start") is None or key.encode() >= raw("start")]
    found = [key for key in found if raw("startAfter") is None or key.encode() > raw("startAfter")]
    found = [key for key in found if raw("end") is None or key.encode() < raw("end")]
    found = [key for key in found if raw("prefix") is None or key.encode().startswith(raw("prefix"))]
    return found[: options.get("limit", len(found))]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.sets(texts, max_size=30), st.lists(options, min_size=1, max_size=12), st.integers(0, 30))
def test_every_combination_of_options(tmp_path_factory, keys, asked, flushed) -> None:
    async def script(ctx, part):
        for key in part:
            ctx.storage.put(key, key)

    async def read(ctx, part):
        await script(ctx, part)  # these are not in SQLite when the lists are read
        for option in asked:
            found = await ctx.storage.list(option)
            assert list(found) == expected(keys, option), option
            assert list(found.values()) == list(found)
            assert [key for key, _ in ctx.storage.kv.list(option)] == list(found)

    async def run():
        ordered = sorted(keys)
        async with Box.on(tmp_path_factory.mktemp("box")) as box:
            await box.do(script, ordered[:flushed])
            await box.do(read, ordered[flushed:])

    asyncio.run(run())


def test_an_empty_range_is_an_empty_dict(tmp_path) -> None:
    async def script(ctx):
        s = ctx.storage
        s.put("b", 1)
        found = [{"start": "c", "end": "a"}, {"start": "b", "end": "b"}, {"prefix": "x", "end": "b"}, {"prefix": "bb"}]
        return [len(await s.list(options)) for options in found] + [len(list(s.kv.list(start="z", end="a")))]

    async def run():
        async with Box.on(tmp_path) as box:
            assert await box.do(script) == [0] * 5

    asyncio.run(run())


def test_reverse_does_not_swap_the_bounds() -> None:
    assert key_range({"start": "a", "end": "c", "reverse": True}) == KeyRange("a", "c", True)
    assert key_range({"startAfter": "a"}) == KeyRange("a\0")
    assert key_range({"prefix": ""}) == KeyRange()
    assert key_range({"limit": 2.9}).limit == 2
    assert key_range({"limit": 10**30}).limit == (1 << 63) - 1


@pytest.mark.parametrize(
    ("prefix", "following"),
    [
        ("a", "b"),
        ("a\U0010ffff", "b"),
        ("\U0010ffff", None),
        ("", None),
        ("\ud7ff", "\ue000"),
        ("\uffff", "\U00010000"),
    ],
)
def test_the_first_text_after_a_prefix(prefix, following) -> None:
    assert after_prefix(prefix) == following


def test_a_prefix_is_looked_up_in_the_primary_key(tmp_path) -> None:
    """Nothing above the prefix is read: SQLite counts the steps that it makes."""

    def script(ctx):
        for number in range(2_000):
            ctx.storage.kv.put(f"a{number:05}", number)
            ctx.storage.kv.put(f"b{number:05}", number)

    async def run():
        async with Box.on(tmp_path) as box:
            await box.do(script)
            connection = box.storage().opened().connection
            steps = []
            connection.set_progress_handler(lambda: bool(steps.append(1)), 10)
            found = await box.do(lambda ctx: list(ctx.storage.kv.list(prefix="a00007")))
            assert [key for key, _ in found] == ["a00007"]
            assert len(steps) < 10
            plan = connection.execute(
                "explain query plan select key, value from _cf_KV where key >= ? and key < ? order by key limit ?",
                ("a", "b", 1),
            ).fetchall()
            assert [row[3] for row in plan] == ["SEARCH _cf_KV USING PRIMARY KEY (key>? AND key<?)"]

    asyncio.run(run())


def test_kv_list_reads_pages_as_it_is_stepped(tmp_path, monkeypatch) -> None:
    pages: list[int] = []
    page = KeyValues.page

    def watched(self, wanted, *rest):
        rows, more = page(self, wanted, *rest)
        pages.append(len(rows))
        return rows, more

    monkeypatch.setattr(KeyValues, "page", watched)
    count = 20_000

    def write(ctx):
        for number in range(count):
            ctx.storage.kv.put(f"{number:06}", number)
        ctx.storage.kv.put("x", "y" * 300_000)

    def begin(ctx, kept):
        kept.append(ctx.storage.kv.list(end="x"))
        assert pages == []
        return [next(kept[0])[0] for _ in range(3)]

    def rest(ctx, kept):
        return [key for key, _ in kept[0]]

    def big(ctx):
        for number in range(30):
            ctx.storage.kv.put(f"z{number:02}", "v" * 300_000)
        return len(list(ctx.storage.kv.list(prefix="z", reverse=True)))

    async def run():
        async with Box.on(tmp_path) as box:
            kept: list = []
            await box.do(write)
            assert await box.do(begin, kept) == ["000000", "000001", "000002"]
            assert pages == [64]
            # a turn later: no statement of it stayed open, the rest is there
            assert box.shard.residents.settle(box.instance().object_id)
            assert await box.do(rest, kept) == [f"{number:06}" for number in range(3, count)]
            assert max(pages) == 512
            pages.clear()
            assert await box.do(big) == 30
            assert max(pages) * 300_000 < 2 << 20

    asyncio.run(run())


def test_a_list_after_a_turn_of_puts_leaves_no_transaction_open(tmp_path) -> None:
    """The list needs the puts of the turn before in SQLite; nobody else may find a transaction of it."""

    async def run():
        async with Box.on(tmp_path, auto=False) as box:
            writing = box.send(lambda ctx: ctx.storage.kv.put("a", 1))
            reading = box.send(lambda ctx: len(list(ctx.storage.kv.list())))
            await asyncio.sleep(0)
            for _ in range(5):
                await asyncio.sleep(0)
            assert not box.storage().opened().connection.in_transaction
            box.shard.commits.commit()
            await writing
            await reading
            assert box.shard.residents.settle(box.instance().object_id)

    asyncio.run(run())


@pytest.mark.parametrize("reverse", [False, True])
def test_kv_list_sees_what_is_written_and_removed_ahead_of_it(tmp_path, reverse) -> None:
    async def script(ctx):
        kv = ctx.storage.kv
        for number in range(200):
            kv.put(f"k{number:03}", number)
        seen = []
        for key, _ in kv.list(reverse=reverse):
            seen.append(key)
            if key == "k100":
                kv.put("k100" + "a", "ahead" if not reverse else "behind")
                kv.put("k099" + "b", "behind" if not reverse else "ahead")
                kv.delete("k105" if not reverse else "k095")
        return seen

    (seen,) = in_object(tmp_path, script)
    keys = {f"k{number:03}" for number in range(200)} - {"k095" if reverse else "k105"}
    assert seen == sorted(keys | {"k099b" if reverse else "k100a"}, reverse=reverse)


def test_kv_list_sees_keys_put_at_each_step(tmp_path) -> None:
    """A chain: each key that is read writes the next one, also beyond what was the last."""

    async def script(ctx):
        kv = ctx.storage.kv
        kv.put("0", 0)
        for key, value in kv.list():
            if value < 20:
                kv.put(key + "0", value + 1)
        return [len(key) for key in await ctx.storage.list()]

    assert in_object(tmp_path, script) == [list(range(1, 22))]
