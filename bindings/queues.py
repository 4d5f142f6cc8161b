"""Queues: what programs see of them in `env`, and the kind that binds producers and consumers.

What always holds: a message was accepted when its storage shard has it on disk; sending may be repeated without harm, so it is
made again while a shard restarts; which of a queue's storage shards gets a message is chance, and makes no difference.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Awaitable, Mapping
from typing import cast

from ..engine.durable import DurableObject
from ..engine.errors import ConfigError
from ..engine.stubs import Namespace
from ..sdk.config import Config
from . import queue_rules
from .arguments import Answer, Repeat
from .queue_rules import Outgoing
from .queue_shard import QueueShard, shard_name
from .surroundings import Surroundings


class Queue:
    """`env.NAME`: send, sendBatch."""

    def __init__(self, shards: Namespace, name: str, delay_s: int) -> None:
        self._shards = shards
        self._name = name
        self._delay_s = delay_s
        self._count = 1
        """Storage shards, as far as their answers have told."""

    def send(self, body: object, options: object = None, **more: object) -> Awaitable[None]:
        """Send a message; `contentType`: json, text, bytes, v8; `delaySeconds`. Raises InvalidArgument, BindingError."""
        return self._send([queue_rules.encode(body, options, more, self._delay_s)])

    def sendBatch(self, messages: object, options: object = None, **more: object) -> Awaitable[None]:
        """Send up to 100 messages at once, all or none: each `{body, contentType, delaySeconds}`; `delaySeconds` for all."""
        return self._send(queue_rules.encode_many(messages, options, more, self._delay_s))

    def _send(self, messages: list[Outgoing]) -> Awaitable[None]:
        number = random.randrange(self._count)
        stub = self._shards.getByName(shard_name(self._name, number))
        patient = stub._with_retry(Repeat())  # pyright: ignore[reportPrivateUsage]
        sent = patient.accept([[uuid.uuid4().hex, each.kind, each.body, each.delay_s, 0] for each in messages])

        async def work() -> None:
            count = cast("int", await sent)
            if count:
                self._count = count

        return Answer(work)

    send_batch = sendBatch

    def __repr__(self) -> str:
        return f"<Queue {self._name}>"


class Queues:
    """The kind: `queues` {producers: [{binding, queue, delivery_delay}], consumers: [{queue, …}]}."""

    section = queue_rules.SECTION
    classes: Mapping[str, type[DurableObject]] = {"queue": QueueShard}

    def check(self, config: Config) -> None:
        """Raises ConfigError."""
        queue_rules.producers(config)
        queue_rules.consumers(config)

    def bind(self, config: Config, around: Surroundings) -> dict[str, object]:
        """Name → Queue; the consumers are in `around` then. Raises ConfigError: two programs consume one queue."""
        for queue, consumer in queue_rules.consumers(config).items():
            other = around.consumers.setdefault(queue, consumer)
            if other.program != config.name:
                raise ConfigError(
                    f"{config.path}: queues.consumers: the queue '{queue}' is consumed by {other.program} already",
                    hint="a queue has one consumer; let it send on what others need",
                )
        shards = around.namespace("queue")
        return {name: Queue(shards, queue, delay_s) for name, queue, delay_s in queue_rules.producers(config)}
