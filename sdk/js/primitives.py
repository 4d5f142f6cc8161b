"""`Number`, `String`, `Boolean`, `BigInt`, `Math`, `Symbol` and the functions about numbers: their values are Python's own."""

from __future__ import annotations

import math
import random as random_module
import re
from collections.abc import Callable
from urllib.parse import quote, unquote_to_bytes

from ...engine.errors import InvalidArgument, OutOfRange, PerdureError
from .proxies import missing, number_text, to_number, to_text, whole

_SAFE_MAX = 2**53 - 1
_INT = re.compile(r"\s*[+-]?\d+")
_FLOAT = re.compile(r"\s*[+-]?(Infinity|(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?)")


def parseInt(text: object, radix: object = None) -> float:
    """The whole number that the text begins with; NaN when it begins with none."""
    found = to_text(text).strip()
    base = 10 if missing(radix) or not radix else int(to_number(radix))
    sign = -1 if found[:1] == "-" else 1
    found = found.lstrip("+-")
    if found[:2].lower() == "0x" and (missing(radix) or base == 16):
        found, base = found[2:], 16
    if not 2 <= base <= 36:
        return math.nan
    digits = ""
    for character in found:
        if not character.isascii() or not character.isalnum() or int(character, 36) >= base:
            break
        digits += character
    return sign * int(digits, base) if digits else math.nan


def parseFloat(text: object) -> float:
    """The number that the text begins with; NaN when it begins with none."""
    match = _FLOAT.match(to_text(text))
    return whole(float(match.group().strip())) if match else math.nan


def isNaN(value: object) -> bool:
    return math.isnan(to_number(value))


def isFinite(value: object) -> bool:
    return math.isfinite(to_number(value))


class NumberObject(float):
    """What `Number.new(1.5)` gives."""

    def valueOf(self) -> float:
        return float(self)

    def to_py(self, **_options: object) -> float:
        return float(self)

    def toString(self) -> str:
        return number_text(float(self))


class WholeNumberObject(int):
    """What `Number.new(12)` gives."""

    def valueOf(self) -> int:
        return int(self)

    def to_py(self, **_options: object) -> int:
        return int(self)

    def toString(self) -> str:
        return number_text(int(self))


class Number:
    """`Number("12")` is 12; a number of JavaScript is an int where it is whole."""

    MAX_SAFE_INTEGER = _SAFE_MAX
    MIN_SAFE_INTEGER = -_SAFE_MAX
    MAX_VALUE = 1.7976931348623157e308
    MIN_VALUE = 5e-324
    EPSILON = 2.220446049250313e-16
    NaN = math.nan
    POSITIVE_INFINITY = math.inf
    NEGATIVE_INFINITY = -math.inf
    parseInt = staticmethod(parseInt)
    parseFloat = staticmethod(parseFloat)

    def __new__(cls, value: object = 0) -> float:  # type: ignore[misc]
        return to_number(value)

    @staticmethod
    def new(value: object = 0) -> float:
        """A number object: the number, with `valueOf` and `to_py`."""
        number = to_number(value)
        return NumberObject(number) if isinstance(number, float) else WholeNumberObject(number)

    @staticmethod
    def isInteger(value: object) -> bool:
        return (
            not isinstance(value, bool)
            and isinstance(value, int | float)
            and math.isfinite(value)
            and value == int(value)
        )

    @staticmethod
    def isSafeInteger(value: object) -> bool:
        return Number.isInteger(value) and abs(to_number(value)) <= _SAFE_MAX

    @staticmethod
    def isFinite(value: object) -> bool:
        return isinstance(value, int | float) and math.isfinite(value)

    @staticmethod
    def isNaN(value: object) -> bool:
        return isinstance(value, float) and math.isnan(value)


class String:
    """`String(value)`: a Python text."""

    def __new__(cls, value: object = "") -> str:  # type: ignore[misc]
        return to_text(value)

    @staticmethod
    def new(value: object = "") -> str:
        return to_text(value)

    @staticmethod
    def fromCharCode(*codes: object) -> str:
        units = b"".join((int(to_number(code)) & 0xFFFF).to_bytes(2, "little") for code in codes)
        return units.decode("utf-16-le", "surrogatepass")

    @staticmethod
    def fromCodePoint(*codes: object) -> str:
        try:
            return "".join(chr(int(to_number(code))) for code in codes)
        except ValueError as error:
            raise OutOfRange(f"Invalid code point: {error}") from None


class Boolean:
    """`Boolean(value)`: empty objects are true, as in JavaScript."""

    def __new__(cls, value: object = False) -> bool:  # type: ignore[misc]
        return not (missing(value) or value is False or value == 0 or value == "" or value != value)


class BigInt:
    """`BigInt("12")`: a Python int."""

    def __new__(cls, value: object) -> int:  # type: ignore[misc]
        if isinstance(value, float) and not value.is_integer():
            raise OutOfRange(
                f"The number {number_text(value)} cannot be converted to a BigInt because it is not an integer"
            )
        try:
            return int(value, 0) if isinstance(value, str) else int(to_number(value))
        except ValueError:
            raise PerdureError(f"Cannot convert {to_text(value)} to a BigInt", name="SyntaxError") from None


class Symbol:
    """A key that is equal to nothing else."""

    iterator = "Symbol.iterator"
    asyncIterator = "Symbol.asyncIterator"

    def __init__(self, description: str = "") -> None:
        self.description = description

    def __repr__(self) -> str:
        return f"Symbol({self.description})"


def _number_of(function: Callable[[float], float]) -> Callable[[object], float]:
    def compute(value: object) -> float:
        number = to_number(value)
        try:
            return whole(function(number))
        except (ValueError, OverflowError):
            return math.inf if function in (math.exp, math.sinh, math.cosh) and number > 0 else math.nan

    return staticmethod(compute)


def _round(number: float) -> float:
    return math.floor(number + 0.5) if math.isfinite(number) else number


def _kept(function: Callable[[float], int]) -> Callable[[float], float]:
    """For what is not finite: itself."""
    return lambda number: function(number) if math.isfinite(number) else number


class Math:
    """Numbers as JavaScript computes them: NaN instead of an error. `random` is Python's, which a world of testing seeds."""

    E, PI = math.e, math.pi
    LN2, LN10, LOG2E, LOG10E = math.log(2), math.log(10), math.log2(math.e), math.log10(math.e)
    SQRT2, SQRT1_2 = math.sqrt(2), math.sqrt(0.5)
    floor, ceil, trunc = (_number_of(_kept(each)) for each in (math.floor, math.ceil, math.trunc))
    round = _number_of(_round)
    abs, sqrt, cbrt = _number_of(abs), _number_of(math.sqrt), _number_of(math.cbrt)
    sin, cos, tan = _number_of(math.sin), _number_of(math.cos), _number_of(math.tan)
    asin, acos, atan = _number_of(math.asin), _number_of(math.acos), _number_of(math.atan)
    sinh, cosh, tanh = _number_of(math.sinh), _number_of(math.cosh), _number_of(math.tanh)
    exp, expm1, log1p = _number_of(math.exp), _number_of(math.expm1), _number_of(math.log1p)
    log, log2, log10 = (
        _number_of(lambda number, of=each: -math.inf if number == 0 else of(number))
        for each in (math.log, math.log2, math.log10)
    )
    sign = _number_of(lambda number: number if number == 0 or number != number else math.copysign(1, number))

    @staticmethod
    def random() -> float:
        return random_module.random()

    @staticmethod
    def max(*numbers: object) -> float:
        found = [to_number(number) for number in numbers]
        return math.nan if any(number != number for number in found) else max(found, default=-math.inf)

    @staticmethod
    def min(*numbers: object) -> float:
        found = [to_number(number) for number in numbers]
        return math.nan if any(number != number for number in found) else min(found, default=math.inf)

    @staticmethod
    def pow(base: object, exponent: object) -> float:
        try:
            return whole(math.pow(to_number(base), to_number(exponent)))
        except OverflowError:
            return math.inf
        except ValueError:
            return math.nan

    @staticmethod
    def hypot(*numbers: object) -> float:
        return whole(math.hypot(*(to_number(number) for number in numbers)))

    @staticmethod
    def atan2(y: object, x: object) -> float:
        return math.atan2(to_number(y), to_number(x))


_COMPONENT = "-_.!~*'()"
_URI = _COMPONENT + ";/?:@&=+$,#"


def encodeURIComponent(value: object) -> str:
    """Percent-encoded as UTF-8. Raises PerdureError (URIError) for half a surrogate pair."""
    return _encoded(value, _COMPONENT)


def encodeURI(value: object) -> str:
    return _encoded(value, _URI)


def _encoded(value: object, safe: str) -> str:
    try:
        return quote(to_text(value), safe=safe)
    except UnicodeEncodeError:
        raise PerdureError("URI malformed", name="URIError") from None


def decodeURIComponent(value: object) -> str:
    """Raises PerdureError (URIError) for what is no percent-encoded UTF-8."""
    text = to_text(value)
    if re.search(r"%(?![0-9a-fA-F]{2})", text):
        raise PerdureError("URI malformed", name="URIError")
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise PerdureError("URI malformed", name="URIError") from None


decodeURI = decodeURIComponent


class Reflect:
    """A few of its functions."""

    @staticmethod
    def has(target: object, name: str) -> bool:
        return hasattr(target, name) or (isinstance(target, dict) and name in target)

    @staticmethod
    def get(target: object, name: str) -> object:
        return getattr(target, name, None)

    @staticmethod
    def ownKeys(target: object) -> object:
        from .objects import Object

        return Object.keys(target)

    @staticmethod
    def construct(kind: object, args: object) -> object:
        make = getattr(kind, "new", kind)
        if not callable(make) or not isinstance(args, list | tuple):
            raise InvalidArgument("Reflect.construct takes a class and an array")
        return make(*args)
