"""Chains: each call that an object makes names the events that led to it.

What always holds: a number is given once, also over restarts of the process, so an event of a dead instance is never taken
for a living one; events that make no calls have no number and cost nothing.
"""

from __future__ import annotations

from math import inf

from .calls import CHAIN_LENGTH_MAX, LABEL_CHARACTERS_MAX, Extras
from .errors import CallChainTooLong
from .turns import Event


def extras_of(event: Event, given: Extras | None, within_s: float | None = None) -> Extras:
    """What a call carries that this event makes now; `within_s`: what is left for it. Raises CallChainTooLong."""
    instance, call = event.instance, event.call
    before, trail = ((), ()) if call is None else (call.chain, call.trail)
    if len(before) >= CHAIN_LENGTH_MAX:
        raise CallChainTooLong(
            f"a call of {instance} would be the {CHAIN_LENGTH_MAX + 1}th inside one another",
            object_id=instance.object_id.hex(),
            hint="objects that call one another in a circle without end; let the first caller make the calls one by one",
        )
    turns = instance.turns
    if not event.number:
        turns.numbered += 1
        event.number = turns.numbered
    turns.numbered += 1
    chain = (*before, (instance.object_id, event.number))
    step = (turns.numbered, repr(instance)[:LABEL_CHARACTERS_MAX])
    if given is None:
        return Extras(chain, (*trail, step), within_s=inf if within_s is None else within_s)
    return Extras(chain, (*trail, step), given.key, given.parcel)
