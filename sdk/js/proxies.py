"""What values in JavaScript's style have in common: the classes that `isinstance(x, JsProxy)` asks for, `null`, texts, numbers.

What always holds: a value in JavaScript's style is a Python value of ours; there is no engine behind it. Plain dicts and lists
that calls and storage return are none (`isinstance` says no), although they answer the style.
"""

from __future__ import annotations

import math
from abc import ABCMeta
from collections.abc import Mapping
from typing import Any, cast

from ...engine.errors import InvalidArgument
from ...engine.handlers import call_relaxed
from ...engine.values import UNDEFINED, Buffer, StandIn


class JsProxy(metaclass=ABCMeta):  # noqa: B024 - it has no methods to be written, only kinds to be registered
    """Base of values in JavaScript's style."""

    __slots__ = ()

    @property
    def js_id(self) -> int:
        """Equal for the same value."""
        return id(self)

    @property
    def typeof(self) -> str:
        return "function" if callable(self) else "object"

    def destroy(self) -> None:  # noqa: B027
        """Nothing to let go: memory is Python's."""

    def to_py(self, *, depth: int = -1, default_converter: object = None) -> object:
        """The value in Python's style; what has none is itself."""
        return self

    def to_string(self) -> str:
        return to_text(self)

    toString = to_string


class JsBuffer(metaclass=ABCMeta):  # noqa: B024
    """Buffers and their views."""

    __slots__ = ()


JsBuffer.register(Buffer)


class JsNull(StandIn):
    """JavaScript's `null`: it travels, and is stored, as None."""

    __slots__ = ()

    def plain(self) -> None:
        return None

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "jsnull"


jsnull = JsNull()


def missing(value: object) -> bool:
    """Whether it is JavaScript's `undefined` or `null`."""
    return value is None or value is UNDEFINED or value is jsnull


def number_text(number: float) -> str:
    """A number as JavaScript writes it."""
    if isinstance(number, bool):
        return "true" if number else "false"
    if isinstance(number, int):
        return str(number) if abs(number) < 10**21 else number_text(float(number))
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    if not number:
        return "0"
    if number.is_integer() and abs(number) < 2**53:
        return str(int(number))
    text = repr(number)
    mantissa, _, exponent = text.partition("e")
    if number.is_integer() and abs(number) < 1e21:  # the digits that tell it from its neighbours, then zeros
        digits = mantissa.replace(".", "") if exponent else text.removesuffix(".0")
        return digits.ljust(int(exponent) + 1 + (number < 0), "0") if exponent else digits
    if not exponent:
        return text
    power = int(exponent)
    if -7 < power < 0:  # Python turns to exponents a little earlier
        return f"{number:.{len(mantissa.lstrip('-').replace('.', '')) - 1 - power}f}"
    return f"{mantissa.removesuffix('.0')}e{'+' if power > 0 else '-'}{abs(power)}"


def to_text(value: object) -> str:
    """`String(value)`."""
    if isinstance(value, str):
        return value
    if value is None or value is UNDEFINED:
        return "undefined"
    if value is jsnull:
        return "null"
    if isinstance(value, int | float):
        return number_text(value)
    if isinstance(value, list):
        return ",".join("" if missing(each) else to_text(each) for each in cast("list[object]", value))
    if isinstance(value, JsProxy) and isinstance(value, Mapping):
        return "[object Object]"
    own = getattr(type(value), "toString", None)
    if own is not None and own is not JsProxy.to_string:
        return str(own(value))
    return str(value)


def to_number(value: object) -> float:
    """`Number(value)`; what is no number is NaN."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return value
    if value is jsnull:
        return 0
    if value is None or value is UNDEFINED:
        return math.nan
    value_of = getattr(value, "valueOf", None)
    if value_of is not None:
        return to_number(value_of())
    text = to_text(value).strip()
    if not text:
        return 0
    try:
        return whole(float(int(text, 0))) if text[:2].lower() in ("0x", "0b", "0o") else _number(text)
    except ValueError:
        return math.nan


def _number(text: str) -> float:
    if text in ("Infinity", "+Infinity", "-Infinity"):
        return float(text)
    if not set(text.lower()) <= set("0123456789+-.e"):
        return math.nan
    return whole(float(text))


def whole(number: float) -> float:
    """An int where the number is one: JavaScript knows no difference, programs that index with it do."""
    return int(number) if isinstance(number, float) and number.is_integer() and abs(number) < 2**53 else number


def options(positional: object, named: Mapping[str, object]) -> dict[str, object]:
    """An options argument: a dict or an object with attributes, and keyword arguments beside it. Raises TypeError."""
    found: dict[str, object] = {}
    if isinstance(positional, Mapping):
        found.update({str(key): value for key, value in cast("Mapping[object, object]", positional).items()})
    elif not missing(positional):
        fields = getattr(positional, "__dict__", None)
        if fields is None:
            raise InvalidArgument(f"options must be an object, not {type(positional).__name__}")
        found.update(cast("dict[str, object]", fields))
    found.update(named)
    return {key: value for key, value in found.items() if value is not UNDEFINED}


def call(function: object, *args: object) -> Any:
    """Call a function of the program with as many of the arguments as it takes, as JavaScript does."""
    if not callable(function):
        raise InvalidArgument(f"{to_text(function)} is not a function")
    try:
        return call_relaxed(function, *args)
    except ValueError:
        if hasattr(function, "__code__") or hasattr(function, "__func__"):
            raise
        return function(*args)  # a builtin whose parameters cannot be looked at
