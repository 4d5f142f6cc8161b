"""A call on its way, as the side that makes it sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine.calls import MadeCall
from ..engine.stubs import OnReset
from .streams import Incoming, Outgoing
from .wire import Frame

if TYPE_CHECKING:
    from ..engine.exports import Parcel
    from .lanes import Lane
    from .links import Link


class CallFuture(MadeCall):
    """What the caller awaits. Cancelling it tells the shard."""

    call_id: int = 0
    call_lane: Lane | None = None
    call_frame: Frame = []
    """As it is sent; kept for calls that must be sent again."""
    deadline_s: float = 0.0
    call_sent = False
    call_link: Link | None = None
    """By which it was sent last: its answer comes there, and what else belongs to it goes there."""
    call_body: object = None
    """What the request streams, until it is sent."""
    on_reset: OnReset | None = None
    """Told when the call fails because the object was reset."""
    call_outgoing: Outgoing | None = None
    call_incoming: Incoming | None = None
    call_parcel: Parcel | None = None
    """What was exported for its arguments."""

    def cancel(self, msg: object | None = None) -> bool:
        """The caller does not want the answer any more."""
        done = super().cancel(msg)
        if done and self.call_lane is not None:
            self.call_lane.give_up(self)
        return done

    def send_also(self, frame: Frame) -> None:
        """A frame that belongs to the call, which was sent."""
        if self.call_link is not None:
            self.call_link.send(frame)
