"""Making a call again after an error: the loop around a policy that decides.

What always holds: the first attempt is queued before `again` returns, so calls through one stub keep their order as far as they
succeed at once; each attempt is a call of its own, as through a new stub.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar, cast

from .calls import MadeCall, pass_on
from .errors import PerdureError

T = TypeVar("T")


class RetryPolicy(Protocol):
    """Decides whether and when a failed call is made again."""

    def delay_s(self, attempt: int, error: PerdureError, *, keyed: bool) -> float | None:
        """Seconds until the next attempt after the `attempt`th (from 1) has failed; None: give up.

        `keyed`: the call has an idempotency key, so that repeating it does no harm.
        """
        ...


class TriedCall(MadeCall):
    """A call that is made as often as its policy says. Cancelling it ends the attempt that is made."""

    def cancel(self, msg: object | None = None) -> bool:
        done = super().cancel(msg)
        if done and self.call_behind is not None:
            self.call_behind.cancel()
        return done


def again(policy: RetryPolicy, keyed: bool, send: Callable[[], Awaitable[T]]) -> asyncio.Future[T]:
    """Call `send()` now, and as often as the policy says. Raises at once what the first `send` raises at once."""
    work = asyncio.ensure_future(_go_on(policy, keyed, send, send()))
    made = TriedCall(loop=work.get_loop())
    pass_on(work, cast("asyncio.Future[T]", made))
    return cast("asyncio.Future[T]", made)


async def _go_on(policy: RetryPolicy, keyed: bool, send: Callable[[], Awaitable[T]], made: Awaitable[T]) -> T:
    attempt = 1
    while True:
        try:
            return await made
        except PerdureError as error:
            delay_s = policy.delay_s(attempt, error, keyed=keyed)
            if delay_s is None:
                raise
        await asyncio.sleep(delay_s)
        attempt += 1
        made = send()
