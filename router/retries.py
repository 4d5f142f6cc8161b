"""When a failed call is worth making again, and idempotency keys for calls that must not run twice.

    client = await perdure.connect(retry=perdure.Retry())
    counter = client.namespace("Counter").getByName("a")
    await counter.value()                                             # may be tried three times
    await perdure.with_key(counter, "order 17").increment()           # also after an error that leaves open whether it ran

What always holds: an error that leaves open whether the call ran is retried only for calls with a key, or where the program said
that it may be; overload is never retried.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, Self, TypeVar, cast

from ..engine.errors import DeadlineExceeded, InvalidArgument, PerdureError, ShardLost
from ..engine.retrying import RetryPolicy

_DOUBLINGS_MAX = 32


def may_have_run(error: PerdureError) -> bool:
    """Whether the call that failed with it may have had effects: its answer was lost or late, a reset, the callee's own error."""
    return isinstance(error, ShardLost | DeadlineExceeded) or error.durableObjectReset or error.remote


@dataclass(frozen=True, slots=True)
class Retry:
    """A policy: up to `attempts` calls, between them a random time up to a bound that doubles (full jitter).

    `base_ms`: the first bound; `cap_ms`: the greatest. `even_if_it_may_have_run`: retry also where nobody knows whether the call
    has run, without a key; right for calls that do no harm when they run twice. Raises InvalidArgument.
    """

    attempts: int = 3
    base_ms: float = 100
    cap_ms: float = 20_000
    even_if_it_may_have_run: bool = False
    rng: Callable[[], float] = field(default=random.random, repr=False, compare=False)
    """Numbers from 0 up to 1."""

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.base_ms < 0 or self.cap_ms < 0:
            raise InvalidArgument(f"{self} is no policy", hint="attempts from 1 up, times not below 0")

    def delay_s(self, attempt: int, error: PerdureError, *, keyed: bool) -> float | None:
        """See `RetryPolicy`. Retried is what is retryable and no overload; of calls that may run twice also a lost answer."""
        if attempt >= self.attempts or error.overloaded:
            return None
        if may_have_run(error) and not (keyed or self.even_if_it_may_have_run):
            return None
        if not (error.retryable or isinstance(error, DeadlineExceeded)):
            return None
        bound_ms = min(self.cap_ms, self.base_ms * 2 ** min(attempt - 1, _DOUBLINGS_MAX))
        return self.rng() * bound_ms / 1000


class _Adjustable(Protocol):
    def _with_retry(self, policy: RetryPolicy | None) -> Self: ...


class _Bounded(Protocol):
    def _with_deadline(self, seconds: float) -> Self: ...


class _Keyed(Protocol):
    def _with_key(self, key: str) -> Self: ...


T = TypeVar("T")


def with_retry(of: T, retry: RetryPolicy | None) -> T:
    """The same stub or namespace with another policy; None: without. Works in programs, async and blocking clients.

    The stub that it gives does not stay broken after a reset: each attempt is made as through a new stub.
    """
    if not hasattr(type(of), "_with_retry"):
        raise InvalidArgument(f"with_retry takes a stub or a namespace, got {type(of).__name__}")
    return cast("T", cast("_Adjustable", of)._with_retry(retry))  # pyright: ignore[reportPrivateUsage]


def with_key(stub: T, key: str) -> T:
    """The same stub, for ONE call with an idempotency key: the object answers a repeat with what it answered first.

    `key`: 1 to 256 characters, never used for another call of that object. Raises InvalidArgument.
    """
    if not hasattr(type(stub), "_with_key"):
        raise InvalidArgument(f"with_key takes a stub, got {type(stub).__name__}")
    return cast("T", cast("_Keyed", stub)._with_key(key))  # pyright: ignore[reportPrivateUsage]


def with_deadline(stub: T, seconds: float) -> T:
    """The same stub, whose calls fail with DeadlineExceeded after so many seconds, instead of 30. Raises InvalidArgument.

    What the object calls in its turn has what is left of that.
    """
    if not hasattr(type(stub), "_with_deadline"):
        raise InvalidArgument(f"with_deadline takes a stub, got {type(stub).__name__}")
    return cast("T", cast("_Bounded", stub)._with_deadline(seconds))  # pyright: ignore[reportPrivateUsage]
