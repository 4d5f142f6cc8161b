"""What is tried again, when, and what is not."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perdure.engine.calls import MadeCall
from perdure.engine.errors import (
    DeadlineExceeded,
    InvalidArgument,
    NotConnected,
    ObjectReset,
    Overloaded,
    PerdureError,
    ShardLost,
    StorageFull,
)
from perdure.engine.http import HttpRequest, HttpResponse
from perdure.engine.ids import ClassKey
from perdure.engine.retrying import again
from perdure.engine.stubs import Namespace
from perdure.router.retries import Retry, may_have_run, with_key, with_retry
from perdure.testing.virtual import run

KEY = ClassKey("retries-Thing")
REFUSED = ObjectReset("shutting down", retryable=True, reset=False)
CASES = {
    "refused": (REFUSED, True, True),
    "not connected": (NotConnected("gone"), True, True),
    "disk full, nothing ran": (StorageFull("full"), True, True),
    "lost": (ShardLost("lost"), False, True),
    "late": (DeadlineExceeded("late"), False, True),
    "reset": (ObjectReset("reset", retryable=True), False, True),
    "of the callee": (PerdureError("inner", remote=True, retryable=True), False, True),
    "overloaded": (Overloaded("full", retryable=True), False, False),
    "of the program": (PerdureError("ValueError", remote=True), False, False),
    "not retryable": (InvalidArgument("wrong"), False, False),
    "reset by abort": (ObjectReset("aborted"), False, False),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_tried_again(name: str) -> None:
    error, plain, safe = CASES[name]
    assert (Retry().delay_s(1, error, keyed=False) is not None) is plain
    assert (Retry().delay_s(1, error, keyed=True) is not None) is safe
    assert (Retry(even_if_it_may_have_run=True).delay_s(1, error, keyed=False) is not None) is safe
    assert may_have_run(error) is (not plain) or error.overloaded or not error.retryable


@given(
    st.integers(1, 200),
    st.floats(0, 1, exclude_max=True),
    st.integers(1, 200),
    st.integers(0, 1_000),
    st.integers(0, 10**5),
)
def test_the_back_off_has_full_jitter_and_a_cap(attempt, luck, attempts, base_ms, cap_ms) -> None:
    policy = Retry(attempts, base_ms, cap_ms, rng=lambda: luck)
    delay_s = policy.delay_s(attempt, REFUSED, keyed=False)
    if attempt >= attempts:
        assert delay_s is None
    else:
        assert delay_s == pytest.approx(luck * min(cap_ms, base_ms * 2 ** min(attempt - 1, 32)) / 1000)


def test_defaults_are_those_of_the_guide() -> None:
    policy = Retry(rng=lambda: 0.5)
    assert [policy.delay_s(attempt, REFUSED, keyed=False) for attempt in (1, 2, 3)] == [0.05, 0.1, None]
    assert Retry(30, rng=lambda: 1.0).delay_s(29, REFUSED, keyed=False) == 20.0


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"base_ms": -1}, {"cap_ms": -1}])
def test_what_is_no_policy(wrong) -> None:
    with pytest.raises(InvalidArgument):
        Retry(**wrong)


class Failing:
    """A Transport whose calls end with the next of `outcomes`."""

    def __init__(self, *outcomes: object) -> None:
        self.outcomes = list(outcomes)
        self.made: list[tuple[float, str, object]] = []

    def call(self, _key, _id, _name, method, _args, _deadline_s=None, on_reset=None, extras=None):
        loop = asyncio.get_running_loop()
        self.made.append((loop.time(), method, extras and extras.key))
        future = MadeCall(loop=loop)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, PerdureError):
            if outcome.durableObjectReset and on_reset is not None:
                on_reset(outcome)
            future.set_exception(outcome)
        elif outcome is not None:
            future.set_result(outcome)
        return future

    def fetch(self, _key, _id, _name, request, _deadline_s=None, on_reset=None, extras=None):
        return self.call("", b"", None, f"fetch {request.url}", b"", None, on_reset, extras)


def stub_of(transport: Failing, policy: Retry | None = None):
    namespace = with_retry(Namespace(KEY, transport, lambda send, request, _init: send(request)), policy)
    return namespace.getByName("a")


POLICY = Retry(rng=lambda: 1.0)


def test_off_by_default() -> None:
    async def script() -> None:
        transport = Failing(REFUSED, 5)
        with pytest.raises(ObjectReset):
            await stub_of(transport).go()
        assert len(transport.made) == 1

    run(script())


def test_a_namespace_a_stub_or_none() -> None:
    async def script() -> None:
        assert await stub_of(Failing(REFUSED, REFUSED, 5), POLICY).go() == 5
        assert await with_retry(stub_of(Failing(REFUSED, 5)), POLICY).go() == 5
        with pytest.raises(ObjectReset):
            await with_retry(stub_of(Failing(REFUSED, 5), POLICY), None).go()
        with pytest.raises(InvalidArgument):
            with_retry("a", POLICY)

    run(script())


def test_times_and_the_last_error() -> None:
    async def script() -> None:
        transport = Failing(REFUSED, REFUSED, NotConnected("the last"))
        with pytest.raises(NotConnected, match="the last"):
            await stub_of(transport, POLICY).go()
        assert [at for at, _, _ in transport.made] == pytest.approx([0, 0.1, 0.3])

    run(script())


def test_the_key_goes_with_each_attempt_and_makes_lost_answers_worth_it() -> None:
    async def script() -> None:
        transport = Failing(ShardLost("lost"), DeadlineExceeded("late"), 5)
        assert await with_key(stub_of(transport, POLICY), "k").go() == 5
        assert [key for _, _, key in transport.made] == ["k", "k", "k"]
        with pytest.raises(ShardLost):
            await stub_of(Failing(ShardLost("lost"), 5), POLICY).go()

    run(script())


def test_each_attempt_is_as_through_a_new_stub() -> None:
    async def script() -> None:
        reset = ObjectReset("reset", retryable=True)
        stub = stub_of(Failing(reset, 5, 6), Retry(even_if_it_may_have_run=True, rng=lambda: 0.0))
        assert await stub.go() == 5
        assert await stub.go() == 6, "it is not broken"

    run(script())


def test_the_first_attempt_is_queued_when_the_call_is_made() -> None:
    async def script() -> None:
        transport = Failing(1, 2, 3)
        stub = stub_of(transport, POLICY)
        calls = [stub.one(), stub.two(), stub.three()]
        assert [method for _, method, _ in transport.made] == ["one", "two", "three"]
        assert await asyncio.gather(*calls) == [1, 2, 3]

    run(script())


def test_fetch_is_tried_again_if_its_body_can_be() -> None:
    async def body():
        yield b"x"

    async def script() -> None:
        answer = HttpResponse(200, [], b"", "")
        request = HttpRequest("POST", "http://a/", [], b"whole")
        assert await stub_of(Failing(REFUSED, answer), POLICY).fetch(request) is answer
        with pytest.raises(ObjectReset):
            await stub_of(Failing(REFUSED, answer), POLICY).fetch(HttpRequest("POST", "http://a/", [], body()))
        with pytest.raises(InvalidArgument, match="takes no idempotency key"):
            await with_key(stub_of(Failing(answer)), "k").fetch(request)

    run(script())


def test_cancelling_ends_the_attempt_that_is_made() -> None:
    async def script() -> None:
        made = MadeCall(loop=asyncio.get_running_loop())
        task = again(POLICY, False, lambda: made)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert made.cancelled()

    run(script())
