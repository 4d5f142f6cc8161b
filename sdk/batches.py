"""What a Worker's `queue` gets (spec: sdk, queue batch).

What always holds: of `ack` and `retry` of a message the first one counts; they win over `ackAll` and `retryAll`, of which the
first one counts too; a message of which nothing is said is acknowledged when the handler ends well.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import cast

from ..engine.values import JsDict, JsList


class Message:
    """`id`, `body`, `attempts` (1 at first), `timestamp` (naive local time)."""

    def __init__(self, id: str, body: object, attempts: int, timestamp: datetime.datetime) -> None:
        self.id = id
        self.body = body
        self.attempts = attempts
        self.timestamp = timestamp
        self.decided: bool | None = None
        """True: acknowledged, False: to be delivered again; None: neither was said."""
        self.delay_s: int | None = None

    def ack(self) -> None:
        """It was dealt with, whatever becomes of the rest of the batch."""
        if self.decided is None:
            self.decided = True

    def retry(self, options: object = None, **more: object) -> None:
        """Deliver it again; `delaySeconds` later."""
        if self.decided is None:
            self.decided = False
            self.delay_s = _delay_s(options, more)


class MessageBatch:
    """`queue`: its name, `messages`."""

    def __init__(self, queue: str, messages: Sequence[Message]) -> None:
        self.queue = queue
        self.messages = JsList(messages)
        self.decided: bool | None = None
        """True: all acknowledged, False: all to be delivered again; None: neither was said."""
        self.delay_s: int | None = None

    @classmethod
    def of_plain(cls, queue: str, messages: Sequence[dict[str, object]]) -> MessageBatch:
        """Of `{id, timestamp, attempts, body}`, as `env.X.queue(…)` is given them. Raises TypeError."""
        made: list[Message] = []
        for each in messages:
            when = each.get("timestamp")
            if isinstance(when, int | float):
                when = datetime.datetime.fromtimestamp(when / 1000)
            elif not isinstance(when, datetime.datetime):
                when = datetime.datetime.now()
            made.append(
                Message(str(each.get("id") or ""), each.get("body"), cast("int", each.get("attempts") or 1), when)
            )
        return cls(queue, made)

    def ackAll(self) -> None:
        """All messages of which nothing else was said are dealt with."""
        if self.decided is None:
            self.decided = True

    def retryAll(self, options: object = None, **more: object) -> None:
        """Deliver all messages of which nothing else was said again; `delaySeconds` later."""
        if self.decided is None:
            self.decided = False
            self.delay_s = _delay_s(options, more)

    def outcome(self) -> JsDict:
        """What was said, as `env.X.queue(…)` gives it."""
        messages = cast("list[Message]", self.messages)
        return JsDict(
            outcome="ok",
            ackAll=self.decided is True,
            retryBatch=JsDict(retry=self.decided is False, delaySeconds=self.delay_s),
            explicitAcks=JsList(each.id for each in messages if each.decided is True),
            retryMessages=JsList(
                JsDict(msgId=each.id, delaySeconds=each.delay_s) for each in messages if each.decided is False
            ),
        )

    ack_all = ackAll
    retry_all = retryAll


def _delay_s(options: object, more: dict[str, object]) -> int | None:
    given = more.get("delaySeconds", more.get("delay_seconds"))
    if given is None and options is not None:
        given = (
            cast("dict[str, object]", options).get("delaySeconds")
            if isinstance(options, dict)
            else getattr(options, "delaySeconds", None)
        )
    return None if given is None else int(cast("int", given))
