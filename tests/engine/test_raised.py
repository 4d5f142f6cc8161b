"""What becomes of what a program raises: for its caller, its object and its process (spec: objects, exceptions)."""

from __future__ import annotations

import asyncio

import msgpack
import pytest
from perdure.engine.durable import DurableObject
from perdure.engine.errors import ObjectReset, Overloaded, PerdureError, from_wire
from perdure.engine.http import HttpResponse
from perdure.engine.raised import TEXT_MAX, as_remote
from perdure.testing.virtual import run

from .shelf import LoopClock, Shard


def travelled(error: PerdureError) -> PerdureError:
    """As the caller gets it, from another process."""
    return from_wire(msgpack.unpackb(msgpack.packb(error.to_wire())))


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words")

    __repr__ = __str__


class Misnamed(PerdureError):
    def __init__(self, first, second):
        super().__init__(f"{first} and {second}", name="Misnamed")


class Untold(PerdureError):
    def to_wire(self):
        raise RuntimeError("no wire")


class Unpicklable(Exception):
    def __reduce__(self):
        raise TypeError("not to be pickled")


def recursive():
    return recursive()


def cyclic():
    found: list[object] = []
    found.append(found)
    return found


def raising(error: BaseException):
    def body():
        raise error

    return body


GROUP_END = "+------------------------------------\n"
GROUP = ExceptionGroup("two", [ValueError("first"), KeyError("second")])
CASES = {
    # name → what the program does, name of the error at the caller, how its message begins, how it ends
    "ValueError": (
        raising(ValueError("x")),
        "Error",
        "PythonError: Traceback (most recent call last):\n",
        "\nValueError: x\n",
    ),
    "no text": (raising(ValueError()), "Error", "PythonError: Traceback", "\nValueError\n"),
    "TypeError of ours": (raising(PerdureError("m", name="TypeError")), "TypeError", "m", "m"),
    "RangeError": (raising(PerdureError("m", name="RangeError")), "RangeError", "m", "m"),
    "SyntaxError": (raising(PerdureError("m", name="SyntaxError")), "SyntaxError", "m", "m"),
    "ReferenceError": (raising(PerdureError("m", name="ReferenceError")), "ReferenceError", "m", "m"),
    "DOMException": (raising(PerdureError("m", name="NotFoundError")), "NotFoundError", "m", "m"),
    "another name": (raising(PerdureError("m", name="MyError")), "Error", "MyError: m", "MyError: m"),
    "a class of the program's": (raising(Misnamed("a", "b")), "Error", "Misnamed: a and b", "Misnamed: a and b"),
    "a class that cannot travel": (raising(Untold("m")), "Error", "PythonError: Traceback", ".Untold: Error: m\n"),
    "group": (
        raising(GROUP),
        "Error",
        "PythonError: Traceback (most recent call last):\n",
        "+------------------------------------\n",
    ),
    "cancelled": (raising(asyncio.CancelledError()), "Error", "The call was cancelled", ""),
    "KeyboardInterrupt": (raising(KeyboardInterrupt()), "Error", "PythonError: Traceback", "\nKeyboardInterrupt\n"),
    "SystemExit": (raising(SystemExit(3)), "Error", "PythonError: Traceback", "\nSystemExit: 3\n"),
    "GeneratorExit": (raising(GeneratorExit()), "Error", "GeneratorExit was raised by the program", ""),
    "BaseException": (raising(BaseException("b")), "Error", "PythonError: Traceback", "\nBaseException: b\n"),
    "StopIteration": (raising(StopIteration(1)), "Error", "PythonError: Traceback", ""),
    "str raises": (raising(Unspeakable()), "Error", "PythonError: Traceback", "<exception str() failed>\n"),
    "no pickle": (raising(Unpicklable("u")), "Error", "PythonError: Traceback", ".Unpicklable: u\n"),
    "recursion": (recursive, "Error", "PythonError: Traceback", "RecursionError: maximum recursion depth exceeded\n"),
    "half a surrogate": (raising(ValueError("\ud800")), "Error", "PythonError: Traceback", "\nValueError: \\ud800\n"),
    "a long text": (raising(ValueError("y" * 1_000_000 + "z")), "Error", "PythonError: Traceback", "yyyz\n"),
    "a result that contains itself": (cyclic, "DataCloneError", "Could not serialize", ""),
}
BODY: list[object] = []


class Raising(DurableObject):
    async def in_a_coroutine(self):
        await asyncio.sleep(0)
        return BODY[0]()

    def in_a_method(self):
        return BODY[0]()

    async def after_a_write(self):
        await self.ctx.storage.put("kept", True)
        return BODY[0]()

    async def in_a_task(self):
        async def work():
            return BODY[0]()

        task = asyncio.create_task(work())
        await asyncio.wait([task])
        return None if task.cancelled() else task.result()

    async def in_a_group(self):
        async with asyncio.TaskGroup() as group:
            group.create_task(self.in_a_coroutine())

    async def in_a_timer(self):
        asyncio.get_running_loop().call_later(1, BODY[0])

    async def abort_in_a_timer(self):
        asyncio.get_running_loop().call_later(1, self.ctx.abort, "by a timer")
        await asyncio.sleep(60)

    async def abort_in_a_group(self):
        async def work():
            self.ctx.abort("in a group")

        async with asyncio.TaskGroup() as group:
            group.create_task(work())

    async def kept(self):
        return await self.ctx.storage.get("kept")

    async def fetch(self, request):
        if request == "at once":
            return BODY[0]()

        async def body():
            yield b"first"
            BODY[0]()

        return HttpResponse(200, [], body())


def checked(error: PerdureError, case: str) -> None:
    _, name, begins, ends = CASES[case]
    error = travelled(error)
    assert error.name == name
    assert error.message.startswith(begins)
    assert error.message.endswith(ends)
    assert (error.remote, error.retryable, error.overloaded, error.durableObjectReset) == (True, False, False, False)
    assert str(error) == f"{error.name}: {error.message}"
    assert len(error.message) < TEXT_MAX + 100


@pytest.mark.parametrize("case", CASES)
def test_whatever_is_raised_the_caller_gets_an_error_and_the_object_lives_on(tmp_path, case: str) -> None:
    async def body() -> None:
        shard = Shard(Raising, tmp_path, clock=LoopClock())
        BODY[:] = [CASES[case][0]]
        await shard.call("a", "kept")
        instance = shard.instance("a")
        for method in ("in_a_coroutine", "in_a_method", "after_a_write", "in_a_coroutine"):
            with pytest.raises(PerdureError) as caught:
                await shard.call("a", method)
            if case != "StopIteration":
                checked(caught.value, case)
        if "result" not in case:
            with pytest.raises(PerdureError) as caught:
                await shard.fetch("a", "at once")  # type: ignore[arg-type]
            if case != "StopIteration":
                checked(caught.value, case)
            response = await shard.fetch("a", "streams")  # type: ignore[arg-type]
            assert await anext(response.body) == b"first"
            with pytest.raises(PerdureError):
                await anext(response.body)
            if case != "cancelled":  # which a TaskGroup takes for an end like any other
                with pytest.raises(PerdureError):
                    await shard.call("a", "in_a_group")
        assert await shard.call("a", "kept") is True, "what was written before stays"
        assert shard.instance("a") is instance
        assert not instance.events
        assert not instance.bodies
        shard.stop()

    run(body())


@pytest.mark.parametrize("case", ["SystemExit", "KeyboardInterrupt", "GeneratorExit"])
def test_nothing_that_a_task_or_a_timer_raises_ends_the_process(tmp_path, case: str) -> None:
    async def body() -> None:
        shard = Shard(Raising, tmp_path, clock=LoopClock())
        BODY[:] = [CASES[case][0]]
        with pytest.raises(PerdureError, match=case):
            await shard.call("a", "in_a_task")
        if case != "GeneratorExit":
            await shard.call("a", "in_a_timer")
            await asyncio.sleep(2)
            assert [fields["error"] for _, event, fields in shard.logs if event == "timer_raised"]
        assert await shard.call("a", "kept") is None
        shard.stop()

    run(body())


@pytest.mark.parametrize(("method", "text"), [("abort_in_a_timer", "by a timer"), ("abort_in_a_group", "in a group")])
def test_an_abort_resets_from_wherever_it_comes(tmp_path, method: str, text: str) -> None:
    async def body() -> None:
        shard = Shard(Raising, tmp_path, clock=LoopClock())
        with pytest.raises(ObjectReset) as caught:
            await shard.call("a", method)
        assert caught.value.message == text
        assert (caught.value.durableObjectReset, caught.value.remote) == (True, False)
        assert await shard.call("a", "kept") is None
        shard.stop()

    run(body())


# ---------------------------------------------------------------- properties
class Told(ValueError):
    pass


def with_properties() -> Told:
    error = Told("x")
    error.abc = 123
    error.more = {"list": [1, 2.5, None, "three", b"4"], "set": {1}}
    error._private = 1
    error.unable = object()
    error.message = "not to be replaced"
    error.retryable = True
    return error


def test_what_the_program_set_on_its_exception_arrives(tmp_path) -> None:
    error = travelled(as_remote(with_properties()))
    assert error.abc == 123
    assert error.more == {"list": [1, 2.5, None, "three", b"4"], "set": {1}}
    assert not hasattr(error, "_private")
    assert not hasattr(error, "unable")
    assert error.message.endswith("Told: x\n")
    assert error.retryable is False
    again = travelled(as_remote(error))
    assert again.abc == 123, "also through a second object"
    assert not hasattr(travelled(as_remote(with_properties(), with_properties=False)), "abc")


def test_a_code_of_the_program_s_own_arrives() -> None:
    """Our classes have one too: which class it is still crosses."""
    error = ValueError("x")
    error.code = "E_FULL"
    found = travelled(as_remote(error))
    assert (type(found), found.code, travelled(found).code) == (PerdureError, "E_FULL", "E_FULL")
    ours = Overloaded("full")
    ours.code = 429
    again = travelled(travelled(as_remote(ours)))
    assert (type(again), again.code, again.overloaded) == (Overloaded, 429, True)


def test_an_exception_names_the_object_that_raised_it(tmp_path) -> None:
    async def body() -> None:
        shard = Shard(Raising, tmp_path, clock=LoopClock())
        with pytest.raises(PerdureError) as caught:
            await shard.send("a", "missing")
        assert caught.value.durableObjectId == shard.key.id_from_name("a").hex()
        shard.stop()

    run(body())
    passed_on = as_remote(PerdureError("x", object_id="ab" * 32), object_id=bytes(32))
    assert passed_on.durableObjectId == "ab" * 32


def test_of_many_and_large_properties_some_arrive() -> None:
    error = ValueError("x")
    for number in range(1_000):
        setattr(error, f"p{number}", number)
    assert sum(name.startswith("p") for name in vars(travelled(as_remote(error)))) == 64
    large = ValueError("x")
    large.small, large.large = 1, "y" * (1 << 20)
    found = travelled(as_remote(large))
    assert found.small == 1
    assert not hasattr(found, "large")


def test_a_python_exception_has_no_stack_of_the_other_side() -> None:
    assert travelled(as_remote(PerdureError("m", stack="of the callee"))).stack == ""


# ---------------------------------------------------------------- through a second object
def test_flags_of_an_error_that_is_passed_on() -> None:
    """It is remote for the second caller, and says which object it was about."""
    first = Overloaded("Durable Object is overloaded. Too many requests queued.", object_id="ab" * 32)
    found = travelled(as_remote(first))
    assert type(found) is Overloaded
    assert (found.remote, found.overloaded, found.durableObjectId) == (True, True, "ab" * 32)


def test_an_error_told_to_several_objects_names_each(tmp_path) -> None:
    async def body() -> None:
        shard = Shard(Raising, tmp_path, clock=LoopClock())
        waiting = [shard.send(name, "abort_in_a_timer") for name in "ab"]
        await asyncio.sleep(0.1)
        shard.residents.begin_anew(shard.key.unique, ObjectReset("all of them", retryable=True))
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert [error.durableObjectId for error in found] == [shard.key.id_from_name(name).hex() for name in "ab"]
        shard.stop()

    run(body())


def test_causes_travel_as_a_chain_that_has_a_bound():
    def chain(length: int) -> Exception:
        error: Exception = KeyError("the first")
        for number in range(length):
            try:
                raise ValueError(number) from error
            except ValueError as raised:
                error = raised
        return error

    made = from_wire(as_remote(chain(2)).to_wire())
    assert isinstance(made.__cause__, PerdureError)
    assert made.__cause__ is made.cause
    assert made.cause.message == "ValueError: 0"
    assert made.cause.cause is not None
    assert made.cause.cause.message == "KeyError: 'the first'"
    assert made.cause.cause.cause is None
    depth, error = 0, as_remote(chain(100))
    while error.cause is not None:
        depth, error = depth + 1, error.cause
    assert depth == 8
    around = chain(1)
    around.__cause__ = around
    assert as_remote(around).cause is not None
