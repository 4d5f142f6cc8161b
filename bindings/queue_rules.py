"""What queues take and refuse: bodies, options, what a configuration says of producers and consumers.

What always holds: nothing here knows where messages are stored; a body is encoded when it is sent, so the consumer gets what it
was then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from ..engine.errors import BindingError, ConfigError, InvalidArgument
from ..engine.values import Buffer, StandIn, pack, unpack
from ..sdk.config import Config
from ..sdk.stream_members import as_bytes
from . import sections
from .arguments import from_json, read_options, to_json

MESSAGE_BYTES_MAX = 128_000
BATCH_BYTES_MAX = 256_000
BATCH_MESSAGES_MAX = 100
DELAY_S_MAX = 86_400
CONTENT_TYPES = ("json", "text", "bytes", "v8")
SECTION = "queues"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message as it is sent: its content type, the encoded body, the seconds after which it may be delivered."""

    kind: str
    body: bytes
    delay_s: int


@dataclass(frozen=True, slots=True)
class Consumer:
    """Who gets a queue's messages, and how."""

    program: str
    batch_size_max: int = 10
    batch_timeout_s: int = 5
    retries_max: int = 3
    dead_letters: str | None = None
    """The queue for what was retried too often; None: it is dropped."""
    concurrency_max: int | None = None
    """Batches at once, over all processes; None: as many as each storage shard takes on."""
    retry_delay_s: int = 0


# ---------------------------------------------------------------------- what is sent
def encode(body: object, given: object, more: dict[str, object], default_delay_s: int) -> Outgoing:
    """One message of `send(body, options)`. Raises InvalidArgument, BindingError."""
    options = read_options(given, more, ("contentType", "delaySeconds"))
    return _encoded("send", body, options, default_delay_s)


def encode_many(messages: object, given: object, more: dict[str, object], default_delay_s: int) -> list[Outgoing]:
    """The messages of `sendBatch([{body, contentType, delaySeconds}], options)`. Raises InvalidArgument, BindingError."""
    if isinstance(messages, StandIn):
        messages = messages.plain()
    if isinstance(messages, str | bytes | dict) or not hasattr(messages, "__iter__"):
        raise InvalidArgument("sendBatch() takes a list of messages, each {body, contentType, delaySeconds}")
    delay_s = _delay_s("sendBatch", read_options(given, more, ("delaySeconds",)).get("delaySeconds"), default_delay_s)
    found: list[Outgoing] = []
    for each in cast("list[object]", messages):
        options = read_options(each, {}, ("body", "contentType", "delaySeconds"))
        found.append(_encoded("sendBatch", options.get("body"), options, delay_s))
    if not found:
        raise InvalidArgument("sendBatch() requires at least one message")
    if len(found) > BATCH_MESSAGES_MAX:
        raise _too_large("sendBatch", f"bulk message count of {len(found)} exceeds limit of {BATCH_MESSAGES_MAX}")
    size = sum(len(each.body) for each in found)
    if size > BATCH_BYTES_MAX:
        raise _too_large("sendBatch", f"bulk message size of {size} bytes exceeds limit of {BATCH_BYTES_MAX}")
    return found


def _too_large(operation: str, why: str) -> BindingError:
    return BindingError(f"Queue {operation} failed: Payload Too Large: {why}")


def _encoded(operation: str, body: object, options: Mapping[str, object], default_delay_s: int) -> Outgoing:
    kind = options.get("contentType", "json")
    if kind not in CONTENT_TYPES:
        raise InvalidArgument(f"Unsupported queue message content type: {kind}")
    kind = str(kind)
    delay_s = _delay_s(operation, options.get("delaySeconds"), default_delay_s)
    data = _to_bytes(body, kind)
    if len(data) > MESSAGE_BYTES_MAX:
        raise _too_large(operation, f"message length of {len(data)} bytes exceeds limit of {MESSAGE_BYTES_MAX}")
    return Outgoing(kind, data, delay_s)


def _to_bytes(body: object, kind: str) -> bytes:
    if kind == "json":
        return to_json(body).encode("utf-8", "surrogatepass")
    if kind == "v8":
        return pack(body)
    if kind == "text":
        if not isinstance(body, str):
            raise InvalidArgument(f"Content Type 'text' requires a value of type string, but received: {_type(body)}")
        return body.encode("utf-8", "replace")
    try:
        if isinstance(body, str):
            raise TypeError("a text is no buffer")
        return as_bytes(body)
    except TypeError:
        raise InvalidArgument(
            f"Content Type 'bytes' requires a value of type ArrayBufferView, but received: {_type(body)}"
        ) from None


def _type(value: object) -> str:
    return type(value).__name__


def decode(kind: str, data: bytes) -> object:
    """A body as its consumer gets it."""
    if kind == "json":
        return from_json(data)
    if kind == "v8":
        return unpack(data)
    return data.decode() if kind == "text" else Buffer(data)


def _delay_s(operation: str, value: object, default: int) -> int:
    if value is None:
        return default
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= DELAY_S_MAX:
        raise BindingError(
            f"Queue {operation} failed: Bad Request: delaySeconds must be between 0 and {DELAY_S_MAX}, got {value!r}"
        )
    return int(value)


# ---------------------------------------------------------------------- what is configured
def producers(config: Config) -> list[tuple[str, str, int]]:
    """(Name in `env`, queue, seconds that its messages wait unless they say otherwise). Raises ConfigError."""
    found: list[tuple[str, str, int]] = []
    for item in _items(config, "producers"):
        name = sections.text(config, "queues.producers", item, "binding")
        queue = sections.text(config, "queues.producers", item, "queue")
        found.append((name, queue, _whole(config, "producers", item, "delivery_delay", 0, 0, DELAY_S_MAX)))
    return found


def consumers(config: Config) -> dict[str, Consumer]:
    """Queue → what the program says of its consumption. Raises ConfigError."""
    found: dict[str, Consumer] = {}
    for item in _items(config, "consumers"):
        queue = sections.text(config, "queues.consumers", item, "queue")
        if queue in found:
            raise ConfigError(f"{config.path}: queues.consumers: the queue '{queue}' has two consumers")
        if item.get("type") not in (None, "worker"):
            raise ConfigError(
                f"{config.path}: queues.consumers: a consumer of type {item['type']!r} cannot be served by perdure",
                hint="consume it in the program: `async def queue(self, batch)` in its `Default` WorkerEntrypoint",
            )
        letters = item.get("dead_letter_queue")
        if letters is not None:
            sections.text(config, "queues.consumers", item, "dead_letter_queue")
        if letters == queue:
            raise ConfigError(f"{config.path}: queues.consumers: '{queue}' cannot be its own dead_letter_queue")
        bounded = item.get("max_concurrency") is not None
        found[queue] = Consumer(
            config.name,
            _whole(config, "consumers", item, "max_batch_size", 10, 1, BATCH_MESSAGES_MAX),
            _whole(config, "consumers", item, "max_batch_timeout", 5, 0, 60),
            _whole(config, "consumers", item, "max_retries", 3, 0, 100),
            cast("str | None", letters),
            _whole(config, "consumers", item, "max_concurrency", 1, 1, 250) if bounded else None,
            _whole(config, "consumers", item, "retry_delay", 0, 0, DELAY_S_MAX),
        )
    return found


def _items(config: Config, part: str) -> list[sections.Item]:
    section = config.sections.get(SECTION) or {}
    if not isinstance(section, dict):
        raise ConfigError(f"{config.path}: queues must be a table")
    return sections.items(config, f"queues.{part}", cast("sections.Item", section).get(part) or [])


def _whole(config: Config, part: str, item: sections.Item, key: str, default: int, least: int, most: int) -> int:
    value = item.get(key)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ConfigError(
            f"{config.path}: queues.{part}: {key} must be a whole number from {least} to {most}, got {value!r}"
        )
    return value
