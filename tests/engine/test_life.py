"""Constructors, resets, shutdown, and callers that go away (spec: objects and context; edge cases 9, 36, 39, 41)."""

from __future__ import annotations

import asyncio

import pytest
from perdure.engine.context import DurableObjectContext
from perdure.engine.durable import DurableObject
from perdure.engine.errors import MethodNotFound, ObjectReset, Overloaded, PerdureError, ProgramBug
from perdure.engine.http import HttpResponse
from perdure.engine.lifecycle import State, check_move
from perdure.testing.virtual import run

from .shelf import LoopClock, Shard

SEEN: list[object] = []


@pytest.fixture(autouse=True)
def _nothing_seen():
    SEEN.clear()


def shard_of(cls: type, folder: object, **options: object) -> Shard:
    return Shard(cls, folder, clock=LoopClock(), **options)  # type: ignore[arg-type]


# ---------------------------------------------------------------- states
def test_illegal_moves_name_both_states() -> None:
    for current in (State.HIBERNATED, State.EVICTED, State.BROKEN):
        for asked in State:
            with pytest.raises(ProgramBug, match=f"from {current.name} to {asked.name}"):
                check_move("Room/lobby", current, asked)
    with pytest.raises(ProgramBug, match="RUNNING to HIBERNATED"):
        check_move("Room/lobby", State.RUNNING, State.HIBERNATED)


# ---------------------------------------------------------------- constructors
class Constructed(DurableObject):
    """Fails as often as `left` says, in the way of `kind`."""

    left = 0
    kind = ""

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        SEEN.append("constructed")
        if Constructed.left <= 0:
            return
        Constructed.left -= 1
        ctx.storage.put("from a constructor that failed", True)
        if Constructed.kind == "raises":
            raise ValueError("not now")
        if Constructed.kind == "exits":
            raise SystemExit(1)
        if Constructed.kind == "aborts":
            ctx.abort("not now")
        if Constructed.kind == "section fails":
            ctx.blockConcurrencyWhile(self.fail)
        if Constructed.kind == "section hangs":
            ctx.blockConcurrencyWhile(self.hang)

    async def fail(self):
        await asyncio.sleep(1)
        raise ValueError("not now")

    async def hang(self):
        await asyncio.sleep(1_000)

    async def hello(self):
        return await self.ctx.storage.get("from a constructor that failed")


CONSTRUCTORS = {
    "raises": "PythonError: Traceback.*ValueError: not now",
    "exits": "SystemExit: 1",
    "aborts": "not now",
    "section fails": "ValueError: not now",
    "section hangs": r"blockConcurrencyWhile\(\) in a Durable Object waited for too long.*cancelled.*reset",
}


@pytest.mark.parametrize("kind", CONSTRUCTORS)
def test_a_constructor_that_fails_fails_all_that_wait_and_the_next_event_tries_anew(tmp_path, kind: str) -> None:
    async def body() -> None:
        Constructed.left, Constructed.kind = 2, kind
        shard = shard_of(Constructed, tmp_path)
        for attempt in (1, 2):
            waiting = [shard.send("a", "hello") for _ in range(4)]
            errors = await asyncio.gather(*waiting, return_exceptions=True)
            assert len({error.message for error in errors}) == 1
            for error in errors:
                assert isinstance(error, PerdureError)
                with pytest.raises(PerdureError, match=f"(?s){CONSTRUCTORS[kind]}"):
                    raise error
                assert error.overloaded is (kind == "section hangs")
                assert error.durableObjectId == shard.key.id_from_name("a").hex()
            assert ["constructed"] * attempt == SEEN
        assert await shard.call("a", "hello") is (True if "section" in kind else None)
        assert shard.residents.statistics()["resets"] == 2
        shard.stop()

    run(body())


def test_a_constructor_that_always_fails_leaves_nothing_behind(tmp_path) -> None:
    async def body() -> None:
        Constructed.left, Constructed.kind = 1_000, "raises"
        shard = shard_of(Constructed, tmp_path)
        for _ in range(50):
            with pytest.raises(PerdureError, match="not now"):
                await shard.call("a", "hello")
        await asyncio.sleep(1)
        assert shard.residents.count == 0
        assert not shard.residents._closing
        shard.stop()

    run(body())


# ---------------------------------------------------------------- one wrapping (edge 36)
class Base(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.base_ctx = ctx


class Redundant(Base, DurableObject):
    def __init__(self, state, env):
        super().__init__(state, env)
        self.own_ctx = state

    async def look(self):
        assert DurableObjectContext(self.ctx) is self.ctx is self.base_ctx is self.own_ctx
        return [type(self.ctx).__name__, self.ctx.id.name]


class Mixin:
    """Defines a constructor and does not derive from DurableObject, as django-cf has it."""

    def __init__(self, ctx, env):
        self.mixed = (ctx, env)
        super().__init__(ctx, env)


class Mixed(Mixin, DurableObject):
    async def look(self):
        assert self.mixed[0] is self.ctx
        await self.ctx.storage.put("key", {"a": 1})
        return [type(self.ctx).__name__, (await self.ctx.storage.get("key")).to_py()["a"]]


class WithoutConstructor(DurableObject):
    async def look(self):
        return [type(self.ctx).__name__, self.env]


@pytest.mark.parametrize(
    ("cls", "second"), [(Redundant, "a"), (Mixed, 1), (WithoutConstructor, None)], ids=["redundant", "mixin", "none"]
)
def test_edge_36_ctx_and_env_are_wrapped_once_in_every_hierarchy(tmp_path, cls: type, second: object) -> None:
    async def body() -> None:
        shard = shard_of(cls, tmp_path)
        assert await shard.call("a", "look") == ["DurableObjectContext", second]
        shard.stop()

    run(body())


# ---------------------------------------------------------------- handlers
class Handlers:
    class Nothing(DurableObject):
        def fetch(self):
            return HttpResponse(200, [], b"nothing")

    class One(DurableObject):
        async def fetch(self, request):
            return HttpResponse(200, [], f"{request}".encode())

    class More(DurableObject):
        async def fetch(self, request, env=None, ctx=None):
            return HttpResponse(200, [], f"{request} {env} {ctx}".encode())

    class Any(DurableObject):
        async def fetch(self, *args):
            return HttpResponse(200, [], f"{len(args)}".encode())

    class Static(DurableObject):
        @staticmethod
        async def fetch(request):
            return HttpResponse(200, [], f"static {request}".encode())

    class Legacy(DurableObject):
        async def on_fetch(self, request):
            return HttpResponse(200, [], f"on_{request}".encode())


HANDLED = {"Nothing": b"nothing", "One": b"r", "More": b"r None None", "Any": b"1", "Static": b"static r"}


@pytest.mark.parametrize("name", HANDLED)
def test_handlers_take_what_they_need(tmp_path, name: str) -> None:
    async def body() -> None:
        shard = shard_of(getattr(Handlers, name), tmp_path)
        for _ in range(2):
            assert (await shard.fetch("a", "r")).body == HANDLED[name]  # type: ignore[arg-type]
        shard.stop()

    run(body())


def test_legacy_names_of_handlers_serve_old_programs_only(tmp_path) -> None:
    async def body() -> None:
        shard = shard_of(Handlers.Legacy, tmp_path, legacy_handler_names=True)
        assert (await shard.fetch("a", "r")).body == b"on_r"  # type: ignore[arg-type]
        shard.stop()
        shard = shard_of(Handlers.Legacy, tmp_path)
        with pytest.raises(MethodNotFound, match="^TypeError: Method fetch does not exist"):
            await shard.fetch("a", "r")  # type: ignore[arg-type]
        shard.stop()

    run(body())


class Strict(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.attribute = 1
        self.total = 0

    async def two(self, first, second):
        return first + second

    async def count(self):
        self.total += 1
        return self.total


REFUSED = {
    "alarm": "is a reserved method",
    "env": "does not implement the method",
    "ctx": "does not implement the method",
    "attribute": "does not implement the method",
    "missing": "does not implement the method",
    "__init__": "does not implement the method",
}


def test_edge_39_remote_methods_are_strict(tmp_path) -> None:
    async def body() -> None:
        shard = shard_of(Strict, tmp_path)
        for name, phrase in REFUSED.items():
            with pytest.raises(PerdureError, match=phrase):
                await shard.call("a", name)
        for arguments in ([], [1], [1, 2, 3]):
            with pytest.raises(PerdureError, match="TypeError: .*two\\(\\)") as caught:
                await shard.call("a", "two", *arguments)
            assert caught.value.remote
        assert await asyncio.gather(*[shard.send("a", "count") for _ in range(6)]) == [1, 2, 3, 4, 5, 6]
        shard.stop()

    run(body())


# ---------------------------------------------------------------- abort and reset
class Reset(DurableObject):
    async def hang(self):
        try:
            await asyncio.sleep(1_000)
        finally:
            SEEN.append("finally")

    async def ping(self):
        return "pong"

    async def abort(self, reason=None):
        await self.ctx.storage.put("counter", 888)
        try:
            self.ctx.abort(reason) if reason is not None else self.ctx.abort()
        except Exception:
            SEEN.append("swallowed")

    async def swallow(self):
        await self.ctx.storage.put("counter", 888)
        try:
            self.ctx.abort("even so")
        except BaseException:
            return "swallowed"

    async def section(self):
        async def fails():
            await asyncio.sleep(1)
            raise ValueError("in the section")

        await self.ctx.blockConcurrencyWhile(fails)
        SEEN.append("went on")

    async def nested(self, depth):
        async def inner(left):
            if left:
                await self.ctx.blockConcurrencyWhile(lambda: inner(left - 1))

        await inner(depth)
        return depth

    async def value(self):
        return await self.ctx.storage.get("counter")

    async def put(self, value):
        await self.ctx.storage.put("counter", value)


def test_edge_41_an_abort_fails_everything_that_runs_or_waits(tmp_path) -> None:
    async def body() -> None:
        shard = shard_of(Reset, tmp_path)
        await shard.call("a", "put", 1)
        pending = [shard.send("a", "hang"), shard.send("a", "hang")]
        await asyncio.sleep(1)
        pending += [shard.send("a", "abort", "edge 41"), shard.send("a", "ping"), shard.send("a", "abort", "later")]
        for error in await asyncio.gather(*pending, return_exceptions=True):
            assert isinstance(error, ObjectReset)
            assert (error.message, error.durableObjectReset, error.remote) == ("edge 41", True, False)
        assert SEEN == ["finally", "finally"], "edge 9a: except Exception does not see it"
        assert await shard.call("a", "value") == 1
        shard.stop()

    run(body())


def test_edge_41_a_failing_section_fails_everything_with_its_exception(tmp_path) -> None:
    async def body() -> None:
        shard = shard_of(Reset, tmp_path)
        pending = [shard.send("a", "hang")]
        await asyncio.sleep(1)
        pending += [shard.send("a", "section"), shard.send("a", "ping"), shard.send("a", "section")]
        for error in await asyncio.gather(*pending, return_exceptions=True):
            assert isinstance(error, PerdureError)
            assert error.message.endswith("ValueError: in the section\n")
            assert error.durableObjectReset
        assert "went on" not in SEEN
        assert await shard.call("a", "ping") == "pong"
        shard.stop()

    run(body())


def test_the_text_of_an_abort(tmp_path) -> None:
    async def body() -> None:
        shard = shard_of(Reset, tmp_path)
        with pytest.raises(ObjectReset, match="Application called abort\\(\\).*reset"):
            await shard.call("a", "abort")
        with pytest.raises(ObjectReset) as caught:
            await shard.call("a", "abort", 7)
        assert caught.value.message == "7"
        with pytest.raises(ObjectReset) as caught:
            await shard.call("a", "swallow")
        assert caught.value.message == "even so"
        assert await shard.call("a", "value") is None
        shard.stop()

    run(body())


def test_sections_nest_to_64_levels(tmp_path) -> None:
    async def body() -> None:
        shard = shard_of(Reset, tmp_path)
        assert await shard.call("a", "nested", 64) == 64
        with pytest.raises(PerdureError, match="calls are nested too deeply"):
            await shard.call("a", "nested", 65)
        assert await shard.call("a", "ping") == "pong"
        shard.stop()

    run(body())


# ---------------------------------------------------------------- preShutdown
class Ending(DurableObject):
    async def preShutdown(self, info):
        SEEN.append((self.ctx.id.name, info.reason))
        if self.ctx.id.name == "hangs":
            await asyncio.sleep(1_000)
        if self.ctx.id.name == "fails":
            raise ValueError("at the end")
        await self.ctx.storage.put("saved", info.reason)

    async def touch(self):
        return await self.ctx.storage.get("saved")

    async def work(self, seconds):
        await asyncio.sleep(seconds)
        return "done"


class EndingShort(Ending):
    async def preShutdown(self):
        SEEN.append("short")


@pytest.mark.parametrize("reason", ["inactive", "codeUpdated"])
def test_pre_shutdown_is_told_and_what_it_writes_is_kept(tmp_path, reason: str) -> None:
    async def body() -> None:
        shard = shard_of(Ending, tmp_path)
        for name in ("a", "fails", "hangs"):
            await shard.call(name, "touch")
        working = shard.send("b", "work", 5)
        await asyncio.sleep(0.1)
        began = asyncio.get_running_loop().time()
        draining = asyncio.ensure_future(shard.residents.drain(30, reason))  # type: ignore[arg-type]
        await asyncio.sleep(0.1)
        with pytest.raises(ObjectReset, match="shutting down") as caught:
            await shard.call("a", "touch")
        assert caught.value.retryable
        assert await draining is True
        assert asyncio.get_running_loop().time() - began < 10.5
        assert await working == "done"
        assert sorted(SEEN) == [(name, reason) for name in ("a", "b", "fails", "hangs")]
        assert sorted(event for _, event, _ in shard.logs) == ["pre_shutdown_late", "raised"]
        shard.residents.take_all_meters()
        shard.stop()
        shard = shard_of(Ending, tmp_path)
        assert await shard.call("a", "touch") == reason
        shard.stop()

    run(body())


def test_pre_shutdown_is_a_handler_like_others_and_costs_nothing_without_one(tmp_path) -> None:
    async def body() -> None:
        shard = shard_of(EndingShort, tmp_path)
        await shard.call("a", "touch")
        assert await shard.residents.tell_shutdown("inactive", 10) == 1
        assert SEEN == ["short"]
        assert shard.instance("a").meters.requests == 1, "it is no request"
        shard.stop()
        shard = shard_of(Reset, tmp_path)
        await shard.call("a", "ping")
        assert await shard.residents.tell_shutdown("inactive", 10) == 0
        shard.stop()

    run(body())


@pytest.mark.parametrize("name", ["a", "fails", "hangs"])
def test_pre_shutdown_is_told_before_an_idle_object_leaves_memory(tmp_path, name: str) -> None:
    async def body() -> None:
        shard = shard_of(Ending, tmp_path)
        assert await shard.call(name, "touch") is None
        await asyncio.sleep(9)
        assert SEEN == []
        await asyncio.sleep(2.5)
        assert [(name, "inactive")] == SEEN
        if name == "hangs":
            assert shard.residents.count == 1
            await asyncio.sleep(10)
        assert shard.residents.count == 0
        assert [event for _, event, _ in shard.logs] == {"a": [], "fails": ["raised"], "hangs": ["pre_shutdown_late"]}[
            name
        ]
        assert await shard.call(name, "touch") == ("inactive" if name == "a" else None)
        await asyncio.sleep(60)
        assert [(name, "inactive")] * 2 == SEEN, "once a sleep"
        shard.stop()

    run(body())


class Anything(DurableObject):
    def __getattr__(self, name):
        if name == "preShutdown":
            SEEN.append("asked for by name")
        return lambda *_: SEEN.append(name)

    async def touch(self):
        return None


def test_a_class_that_has_every_attribute_has_no_pre_shutdown_for_that(tmp_path) -> None:
    async def body() -> None:
        shard = shard_of(Anything, tmp_path)
        await shard.call("a", "touch")
        await asyncio.sleep(12)
        assert shard.residents.count == 0
        assert SEEN == []
        shard.stop()

    run(body())


class EndingSlowly(Ending):
    async def preShutdown(self, info):
        SEEN.append(info.reason)
        await asyncio.sleep(1)


def test_an_idle_object_that_is_called_while_it_is_told_stays_and_is_told_again(tmp_path) -> None:
    async def body() -> None:
        shard = shard_of(EndingSlowly, tmp_path)
        await shard.call("a", "touch")
        instance = shard.instance("a")
        while not SEEN:
            await asyncio.sleep(0.05)
        assert await shard.call("a", "work", 3) == "done"
        assert shard.instance("a") is instance
        await asyncio.sleep(13)
        assert SEEN == ["inactive", "inactive"]
        assert shard.residents.count == 0
        shard.stop()

    run(body())


# ---------------------------------------------------------------- callers that go away
class Cancelled(DurableObject):
    async def steps(self):
        await self.ctx.storage.put("step", 1)
        await asyncio.sleep(10)
        await self.ctx.storage.put("step", 2)
        try:
            await asyncio.sleep(10)
            SEEN.append("not cancelled")
        except asyncio.CancelledError:
            SEEN.append("cancelled")
            raise
        finally:
            SEEN.append("finally")

    async def section(self, seconds):
        async def body():
            await self.ctx.storage.put("step", "begun")
            await asyncio.sleep(seconds)
            await self.ctx.storage.put("step", "whole")

        try:
            await self.ctx.blockConcurrencyWhile(body)
            await asyncio.sleep(5)
            SEEN.append("not cancelled")
        except asyncio.CancelledError:
            SEEN.append("cancelled")
            raise

    async def transaction(self, seconds):
        async def body(txn):
            await txn.put("step", "begun")
            await asyncio.sleep(seconds)
            await txn.put("step", "whole")

        try:
            await self.ctx.storage.transaction(body)
            await asyncio.sleep(5)
        finally:
            SEEN.append("finally")

    async def step(self):
        return await self.ctx.storage.get("step")


def test_a_caller_that_goes_away_cancels_its_event_and_what_was_committed_stays(tmp_path) -> None:
    async def body() -> None:
        shard = shard_of(Cancelled, tmp_path)
        future = shard.send("a", "steps")
        await asyncio.sleep(15)
        shard.residents.cancel(future.call)
        with pytest.raises(PerdureError, match="cancelled"):
            await future
        assert SEEN == ["cancelled", "finally"]
        assert await shard.call("a", "step") == 2
        shard.stop()

    run(body())


@pytest.mark.parametrize("kind", ["section", "transaction"])
def test_inside_a_critical_section_the_cancellation_waits_for_its_end(tmp_path, kind: str) -> None:
    async def body() -> None:
        shard = shard_of(Cancelled, tmp_path)
        future = shard.send("a", kind, 10)
        other = shard.send("a", "step")
        await asyncio.sleep(5)
        shard.residents.cancel(future.call)
        await asyncio.sleep(1)
        assert SEEN == []
        assert not future.done()
        assert await other == "whole"
        with pytest.raises(PerdureError, match="cancelled"):
            await future
        assert (["cancelled"] if kind == "section" else ["finally"]) == SEEN
        shard.stop()

    run(body())


def test_an_event_that_another_one_s_section_keeps_out_is_cancelled_when_it_ends(tmp_path) -> None:
    async def body() -> None:
        shard = shard_of(Cancelled, tmp_path)
        first = shard.send("a", "steps")
        await asyncio.sleep(1)
        section = shard.send("a", "section", 3)
        await asyncio.sleep(1)
        shard.residents.cancel(first.call)
        with pytest.raises(PerdureError, match="cancelled"):
            await first
        assert asyncio.get_running_loop().time() < 5
        await section
        assert await shard.call("a", "step") == "whole"
        shard.stop()

    run(body())


def test_a_section_of_a_constructor_that_hangs_is_overload(tmp_path) -> None:
    async def body() -> None:
        Constructed.left, Constructed.kind = 1, "section hangs"
        shard = shard_of(Constructed, tmp_path)
        began = asyncio.get_running_loop().time()
        with pytest.raises(Overloaded, match="waited for too long.*was cancelled.*was reset"):
            await shard.call("a", "hello")
        assert 29.99 < asyncio.get_running_loop().time() - began < 30.5
        shard.stop()

    run(body())


class Members(DurableObject):
    async def look(self):
        return [
            self.ctx.container,
            self.ctx.version,
            self.ctx.primaryStub,
            self.ctx.configureReadReplication,
            self.ctx.id.name,
        ]


def test_what_is_out_of_scope_is_none(tmp_path) -> None:
    async def body() -> None:
        shard = shard_of(Members, tmp_path)
        assert await shard.call("a", "look") == [None, None, None, None, "a"]
        shard.stop()

    run(body())


def test_a_class_of_another_base_does_not_support_rpc(tmp_path) -> None:
    class Other:
        def __init__(self, ctx: object, env: object) -> None:
            self.ctx = ctx

        async def method(self) -> int:
            return 1

    async def script() -> None:
        shard = Shard(Other, tmp_path)
        for method in ("method", "=method", "method.deeper"):
            with pytest.raises(PerdureError, match="does not support RPC.*must extend DurableObject"):
                await shard.call("a", method)
        shard.stop()

    run(script())
