"""How the methods of bindings take options and give answers, as the wrapper of the reference SDK does.

What always holds: an operation is on its way when its method returns, awaited or not; options are a dict, an object with
attributes or keyword arguments, and what is None or undefined counts as not given.
"""

from __future__ import annotations

import asyncio
import datetime
import json
from collections.abc import Callable, Coroutine, Generator, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from ..engine.errors import InvalidArgument, PerdureError
from ..engine.thenable import Thenable
from ..engine.values import UNDEFINED, JsDict, JsList, StandIn

T = TypeVar("T")


def read_options(given: object, more: dict[str, object], names: Iterable[str]) -> dict[str, object]:
    """The options that were given, by those of `names`; each has an alias in snake_case. Raises InvalidArgument."""
    if is_missing(given):
        found: dict[str, object] = dict(more)
    elif isinstance(given, dict):
        found = {**{str(name): value for name, value in cast("dict[object, object]", given).items()}, **more}
    elif isinstance(given, str | bytes | int | float | list | tuple | set):
        raise InvalidArgument(f"options must be an object, got {type(cast('object', given)).__name__}")
    else:
        spellings = [spelling for name in names for spelling in (name, _snake(name))]
        found = {name: getattr(given, name) for name in spellings if hasattr(given, name)} | more
    taken: dict[str, object] = {}
    for name in names:
        value = found.get(name, found.get(_snake(name)))
        if not is_missing(value):
            taken[name] = value
    return taken


def is_missing(value: object) -> bool:
    """Whether it is None, or JavaScript's `undefined` or `null`."""
    return value is None or value is UNDEFINED or (isinstance(value, StandIn) and value.plain() is None)


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


class Answer(Thenable, Generic[T]):
    """What a method gives whose operation is one call, which was sent already: await it for what `work` makes of the answer."""

    __slots__ = ("_work",)

    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._work = work

    def __await__(self) -> Generator[Any, Any, T]:
        return self._work().__await__()


def begin(work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    """Work of several steps, on its way. What runs it is a task of whoever asked: in an object, one of its event."""
    return asyncio.get_running_loop().create_task(work, name=name)


@dataclass(frozen=True, slots=True)
class Repeat:
    """For operations that do no harm when they run twice: made again while a shard restarts, never when it is overloaded."""

    attempts: int = 6
    base_ms: float = 50

    def delay_s(self, attempt: int, error: PerdureError, *, keyed: bool) -> float | None:
        """See the engine's RetryPolicy."""
        if attempt >= self.attempts or error.overloaded or not error.retryable:
            return None
        return self.base_ms * 2 ** (attempt - 1) / 1000


def to_json(value: object) -> str:
    """A value as JavaScript writes it as JSON: no spaces, no escapes that are not needed. Raises InvalidArgument."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_unknown)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"the value cannot be written as JSON: {error}") from None


def _unknown(value: object) -> object:
    if isinstance(value, StandIn):
        return value.plain()
    if value is UNDEFINED:
        return None
    if isinstance(value, datetime.datetime):
        moment = value.astimezone(datetime.UTC).isoformat(timespec="milliseconds")
        return moment.replace("+00:00", "Z")
    raise InvalidArgument(f"a {type(value).__name__} cannot be written as JSON")


def from_json(text: str | bytes) -> object:
    """JSON as programs get it: dicts with attributes too. Raises PerdureError, a SyntaxError by name."""
    try:
        return styled(json.loads(text, object_pairs_hook=JsDict))
    except (ValueError, RecursionError) as error:
        raise PerdureError(f"the value is no valid JSON: {error}", name="SyntaxError") from None


def styled(value: object) -> object:
    """The same lists and dicts, with the JavaScript style."""
    if isinstance(value, list):
        return JsList(styled(each) for each in cast("list[object]", value))
    if isinstance(value, dict):
        return JsDict((name, styled(each)) for name, each in cast("dict[str, object]", value).items())
    return value
