"""What the spec says of objects, contexts and calls, as a program sees it: in a world."""

from __future__ import annotations

import asyncio

import pytest
from perdure.engine.durable import DurableObject
from perdure.engine.errors import PerdureError
from perdure.sdk.entrypoints import WorkerEntrypoint
from perdure.sdk.response import Response
from perdure.testing import World

TOLD: list[object] = []


@pytest.fixture(autouse=True)
def _nothing_told():
    TOLD.clear()


class Edge(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        TOLD.append(("made", id(self)))

    async def mutate_dict(self, given):
        given["mutated"] = True
        return given

    async def mutate_own(self):
        given = {"mutated": False}
        await self.mutate_dict(given)
        return given

    async def mutate_through_a_stub(self):
        given = {"mutated": False}
        answer = await self.env.Edge.getByName("other").mutate_dict(given)
        return [given, answer]

    async def seen(self, number):
        TOLD.append((number, id(self)))
        if number == 5:
            self.ctx.abort("five")
        await asyncio.sleep(0.01)
        TOLD.append((number, id(self)))

    async def echo(self, value):
        return value

    async def section(self):
        async def load():
            answer = await self.env.Edge.getByName("other").echo("from the section")
            await asyncio.sleep(1)
            TOLD.append(answer)

        await self.ctx.blockConcurrencyWhile(load)
        TOLD.append("section over")

    async def sleep_then_ask(self):
        asyncio.get_running_loop().call_later(0.5, self.callback)
        await asyncio.sleep(0.3)
        TOLD.append("slept")
        TOLD.append(await self.env.Edge.getByName("other").echo("answer"))

    def callback(self):
        try:
            self.ctx.storage.put("by", "a callback")
        except PerdureError as error:
            TOLD.append(type(error).__name__)

    async def note(self):
        TOLD.append("note")

    async def abort(self):
        self.ctx.abort("over")

    async def hang(self):
        try:
            await asyncio.sleep(100)
        finally:
            for use in (lambda: self.ctx.waitUntil(self.note()), lambda: self.ctx.blockConcurrencyWhile(self.note)):
                try:
                    use()
                except PerdureError as error:
                    TOLD.append((error.message, error.retryable))


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        self.ctx.passThroughOnException()
        found = await self.env.Edge.getByName("a").echo({"deep": {"list": [1]}})
        return Response(f"{type(found).__mro__[-2].__name__} {type(found['deep']).__mro__[-2].__name__}")


def edge(world, name: str = "a"):
    return world.namespace("Edge").getByName(name)


async def test_edge_30_names_of_stubs(world):
    named = edge(world, "stub_test")
    assert named.name == "stub_test"
    assert named.id.toString() == world.namespace("Edge").idFromName("stub_test").toString()
    again = world.namespace("Edge").get(world.namespace("Edge").idFromString(named.id.toString()))
    assert again.name is None
    assert again.id.toString() == named.id.toString()


async def test_edge_32_a_dict_is_a_real_dict(world):
    found = await edge(world).echo({"deep": {"list": [1]}})
    assert isinstance(found, dict)
    assert isinstance(found["deep"], dict)
    response = await world.fetch("/")
    assert (response.status, await response.text()) == (200, "dict dict")


async def test_an_exception_as_a_value_is_given_not_raised(world):
    """Ours too, whose class is that of failures."""
    for sent in (ValueError("as a value"), PerdureError("as a value", name="TypeError")):
        found = await edge(world).echo(sent)
        assert isinstance(found, PerdureError)
        assert found.message == "as a value"


async def test_edge_35_only_calls_through_stubs_copy(world):
    assert await edge(world).mutate_own() == {"mutated": True}
    assert await edge(world).mutate_through_a_stub() == [{"mutated": False}, {"mutated": True}]


async def test_one_instance_of_an_object_at_a_time(world):
    await asyncio.gather(*(edge(world).seen(number) for number in range(10)), return_exceptions=True)
    await edge(world).seen(10)
    made = [who for what, who in TOLD if what == "made"]
    assert len(made) == 2, "one for all that came at once, one after the abort"
    first_of_second = next(place for place, (what, who) in enumerate(TOLD) if what != "made" and who == made[1])
    assert all(who == made[1] for what, who in TOLD[first_of_second:])


async def test_a_section_gets_what_it_asked_for_and_keeps_everything_else_out(world):
    asked = asyncio.ensure_future(edge(world).sleep_then_ask())
    await world.settle()
    section = asyncio.ensure_future(edge(world).section())
    await world.advance(seconds=0.1)
    noted = asyncio.ensure_future(edge(world).note())
    await asyncio.gather(asked, section, noted)
    told = [what for what in TOLD if isinstance(what, str)]
    assert told[:3] == ["ProgramBug", "from the section", "section over"], (
        "a bare callback runs, but reaches no storage"
    )
    assert sorted(told[3:]) == ["answer", "note", "slept"]


async def test_an_instance_that_was_reset_says_to_take_a_new_stub(world):
    hangs = asyncio.ensure_future(edge(world).hang())
    await world.settle()
    with pytest.raises(PerdureError, match="^Error: over$"):
        await edge(world).abort()
    with pytest.raises(PerdureError, match="^Error: over$"):
        await hangs
    told = [what for what in TOLD if what[0] != "made"]
    assert len(told) == 2
    for message, retryable in told:
        assert "instance is no longer active; retry on a new stub" in message
        assert retryable


async def test_a_message_has_thirty_two_mebibytes(world):
    fits = b"x" * ((32 << 20) - 100)
    assert len(await edge(world).echo(fits)) == len(fits)
    with pytest.raises(PerdureError, match="limited to 32MiB"):
        await edge(world).echo(b"x" * (32 << 20))


LEGACY = """
from workers import DurableObject

class Old(DurableObject):
    async def arm(self, when):
        await self.ctx.storage.setAlarm(when)

    async def on_alarm(self):
        await self.ctx.storage.put("rang", True)

    async def rang(self):
        return await self.ctx.storage.get("rang")
"""


def test_programs_of_before_2025_08_14_name_their_alarm_on_alarm(tmp_path):
    (tmp_path / "legacy_main.py").write_text(LEGACY)
    (tmp_path / "wrangler.json").write_text(
        '{"name": "old", "main": "legacy_main.py", "compatibility_date": "2025-08-13",'
        ' "durable_objects": {"bindings": [{"name": "OLD", "class_name": "Old"}]},'
        ' "migrations": [{"tag": "v1", "new_sqlite_classes": ["Old"]}]}'
    )
    with World(str(tmp_path)) as world:
        old = world.namespace("Old").getByName("a")
        old.arm(world.now.timestamp() * 1000 + 5_000)
        world.advance(seconds=6)
        assert old.rang() is True
