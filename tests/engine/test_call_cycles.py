"""Calls that come back to an object: let in where they may go on, refused at once where they wait for themselves."""

from __future__ import annotations

import asyncio
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perdure.engine.calls import CHAIN_LENGTH_MAX
from perdure.engine.durable import DurableObject
from perdure.engine.errors import CallChainTooLong, CallCycle, Overloaded
from perdure.testing.virtual import run

from .world import World


class Node(DurableObject):
    """`do(steps)` runs a list of steps; outcomes go to the world's results by the number of the step."""

    async def do(self, steps):
        for step in steps:
            await getattr(self, f"_{step[0]}")(*step[1:])
        return self.ctx.id.name

    async def back(self):
        return "in"

    async def _call(self, number, target, how, steps):
        stub = self.env.stub(target)
        try:
            if how == "wait_for":
                await asyncio.wait_for(stub.do(steps), 100)
            elif how == "task":
                await asyncio.ensure_future(stub.do(steps))
            elif how == "group":
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._quietly(number, stub.do(steps)))
                return
            else:
                await stub.do(steps)
            self.env.results[number] = "answered"
        except Exception as error:
            self.env.results[number] = type(error)

    async def _quietly(self, number, call):
        try:
            await call
            self.env.results[number] = "answered"
        except Exception as error:
            self.env.results[number] = type(error)

    async def _section(self, kind, steps):
        if kind == "block":
            await self.ctx.blockConcurrencyWhile(lambda: self.do(steps))
        else:
            await self.ctx.storage.transaction(lambda _txn: self.do(steps))

    async def _parallel(self, first, second):
        await asyncio.gather(self.do(first), self.do(second))

    async def _sleep(self, seconds):
        await asyncio.sleep(seconds)

    # ------------------------------------------------------------------ single cases
    async def ask(self, path):
        """Call along the path, the last one `back`."""
        if not path:
            return "in"
        return await self.env.stub(path[0]).ask(path[1:])

    async def ask_in_section(self, path):
        return await self.ctx.blockConcurrencyWhile(lambda: self.caught(path))

    async def caught(self, path):
        try:
            return await self.env.stub(path[0]).ask(path[1:])
        except CallCycle as error:
            return error.message

    async def section_later(self, path):
        """The call is made first, then a section waits for it."""
        made = self.env.stub(path[0]).ask(path[1:])
        await asyncio.sleep(0.1)
        return await self.ctx.blockConcurrencyWhile(lambda: self.caught_from(made))

    async def caught_from(self, made):
        try:
            return await made
        except CallCycle as error:
            return error.message

    async def section_beside(self, path, seconds):
        """A section that has nothing to do with the call."""
        made = asyncio.ensure_future(self.caught(path))
        await self.ctx.blockConcurrencyWhile(lambda: asyncio.sleep(seconds))
        return await made

    async def slow_then(self, path, seconds):
        await asyncio.sleep(seconds)
        return await self.ask(path)

    async def delayed(self, seconds):
        await asyncio.sleep(seconds)
        await asyncio.sleep(0)
        return "went on"

    async def section_after_it_began(self):
        """The section opens when the inner call runs already, and waits for it."""
        made = self.env.stub(self.ctx.id.name).delayed(1)
        await asyncio.sleep(0.5)
        return await self.ctx.blockConcurrencyWhile(lambda: self.caught_from(made))

    async def recurse(self):
        return await self.env.stub("other" if self.ctx.id.name == "a" else "a").recurse()


class Constructing(Node):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.found = None
        if ctx.id.name == "a":
            ctx.blockConcurrencyWhile(self._ask)

    async def _ask(self):
        self.found = await self.caught(["other", "a"])

    async def found_in_constructor(self):
        return self.found


def answer(tmp_path, kind: type, name: str, method: str, *args: object) -> tuple[object, float]:
    """What the call gives and how long it takes, in virtual seconds."""

    async def script() -> tuple[object, float]:
        async with World.of(kind, tmp_path) as world:
            result = await getattr(world.outside(name), method)(*args)
            return result, asyncio.get_running_loop().time()

    return run(script())


def test_a_call_that_comes_back_interleaves(tmp_path) -> None:
    assert answer(tmp_path, Node, "a", "ask", ["b", "a", "b", "a"])[0] == "in"


def test_an_object_may_call_itself(tmp_path) -> None:
    assert answer(tmp_path, Node, "a", "ask", ["a", "a"])[0] == "in"


def test_behind_a_section_that_waits_for_it_the_call_fails_at_once_and_names_the_cycle(tmp_path) -> None:
    message, seconds = answer(tmp_path, Node, "a", "ask_in_section", ["b", "c", "a"])
    assert "Node/a → Node/b → Node/c → Node/a" in message
    assert seconds < 0.1


def test_a_section_that_calls_its_own_object(tmp_path) -> None:
    message, seconds = answer(tmp_path, Node, "a", "ask_in_section", ["a"])
    assert "Node/a → Node/a" in message
    assert seconds < 0.1


def test_a_section_opened_while_the_call_is_on_its_way(tmp_path) -> None:
    message, seconds = answer(tmp_path, Node, "a", "section_later", ["b", "c", "a"])
    assert message == "in", "it was back before the section began"
    assert seconds < 1


def test_a_section_opened_while_the_call_waits_elsewhere(tmp_path) -> None:
    class Slow(Node):
        async def ask(self, path):
            await asyncio.sleep(0.5)
            return await super().ask(path)

    message, seconds = answer(tmp_path, Slow, "a", "section_later", ["b", "a"])
    assert "Slow/a → Slow/b → Slow/a" in message
    assert seconds < 0.7


def test_a_section_that_waits_for_an_inner_call_that_has_begun(tmp_path) -> None:
    message, seconds = answer(tmp_path, Node, "a", "section_after_it_began")
    assert "Node/a → Node/a" in message
    assert seconds < 1.2


def test_a_section_that_goes_on_without_the_call_is_waited_for(tmp_path) -> None:
    result, seconds = answer(tmp_path, Node, "a", "section_beside", ["b", "a"], 10)
    assert result == "in"
    assert 9.9 < seconds < 11


def test_a_section_of_the_constructor(tmp_path) -> None:
    message, seconds = answer(tmp_path, Constructing, "a", "found_in_constructor")
    assert "Constructing/a → Constructing/other → Constructing/a" in message
    assert seconds < 0.1


def test_calls_of_others_wait_for_the_section(tmp_path) -> None:
    async def script() -> None:
        async with World.of(Node, tmp_path) as world:
            first = asyncio.ensure_future(world.outside("a").section_beside(["b"], 5))
            await asyncio.sleep(0.1)
            assert await world.outside("b").ask(["a"]) == "in"
            assert asyncio.get_running_loop().time() > 4.9
            await first

    run(script())


def test_two_chains_that_wait_for_each_other_end_at_the_bound_of_sections(tmp_path) -> None:
    class Slow(Node):
        async def caught(self, path):
            await asyncio.sleep(0.5)
            return await super().caught(path)

    async def script() -> None:
        async with World.of(Slow, tmp_path) as world:
            made = [world.outside("a").ask_in_section(["b"]), world.outside("b").ask_in_section(["a"])]
            results = await asyncio.gather(*made, return_exceptions=True)
            assert any(isinstance(result, Overloaded) and "waited for too long" in result.message for result in results)
            assert asyncio.get_running_loop().time() < 31

    run(script())


def test_a_chain_has_an_end(tmp_path) -> None:
    async def script() -> None:
        async with World.of(Node, tmp_path) as world:
            with pytest.raises(CallChainTooLong, match=f"{CHAIN_LENGTH_MAX + 1}th"):
                await world.outside("a").recurse()
            assert max(len(call.chain) for call in world.wires.sent) == CHAIN_LENGTH_MAX

    run(script())


# ---------------------------------------------------------------- any program
NAMES = "abc"


@st.composite
def programs(draw, depth: int = 3, sections: bool = True):
    steps = []
    for _ in range(draw(st.integers(1, 2))):
        kinds = ["sleep"]
        if depth:
            kinds += ["call", "call", "parallel"] + (["section"] * 2 if sections else [])
        kind = draw(st.sampled_from(kinds))
        if kind == "sleep":
            steps.append(["sleep", draw(st.sampled_from([0, 0.01, 0.2]))])
        elif kind == "call":
            how = draw(st.sampled_from(["await", "await", "task", "wait_for", "group"]))
            steps.append(["call", 0, draw(st.sampled_from(NAMES)), how, draw(programs(depth - 1, sections))])
        elif kind == "section":
            steps.append(["section", draw(st.sampled_from(["block", "transaction"])), draw(programs(depth - 1, True))])
        else:  # sections on one side only: two sides may wait for each other's sections, as two chains do
            steps.append(["parallel", draw(programs(depth - 1, sections)), draw(programs(depth - 1, False))])
    return steps


def expect(steps, here: str, closed: frozenset[str], found: dict[int, object]) -> None:
    """Number the calls, and say of each whether a section that waits for it keeps it out."""
    for step in steps:
        if step[0] == "section":
            expect(step[2], here, closed | {here}, found)
        elif step[0] == "parallel":
            expect(step[1], here, closed, found)
            expect(step[2], here, closed, found)
        elif step[0] == "call":
            step[1] = number = len(found)
            found[number] = CallCycle if step[2] in closed else "answered"
            if step[2] not in closed:
                expect(step[4], step[2], closed, found)


@settings(max_examples=300, deadline=None)
@given(programs(4))
def test_a_call_is_refused_if_and_only_if_a_section_waits_for_it(steps) -> None:
    expected: dict[int, object] = {}
    expect(steps, "a", frozenset(), expected)

    async def script() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with World.of(Node, folder) as world:
                await world.outside("a").do(steps)
                assert world.results == expected
                assert asyncio.get_running_loop().time() < 25

    run(script())
